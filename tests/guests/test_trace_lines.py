"""Lines of the trace say what a hypercall was asked and what it answered."""

from __future__ import annotations

from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.trace import HypercallRecord
from tests.guests.harness import boot

KERNEL = """
    .include "runtime.inc"
    XEN_NOTES
main:
    movl $EVTCHNOP_bind_virq, %ebx
    movl $bind, %ecx
    HYPERCALL event_channel_op
    movl $EVTCHNOP_bind_virq, %ebx
    movl $bind, %ecx
    HYPERCALL event_channel_op              # a second time: refused
    xorl %ebx, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $0x8 << 16 | DOMID_SELF, %esi
    HYPERCALL mmu_update
    xorl %ebx, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $DOMID_IO, %esi
    HYPERCALL mmu_update
    movl $requests, %ebx
    movl $6, %ecx
    movl $DOMID_SELF, %esi
    HYPERCALL mmu_update                    # the first is refused
    movl $0xFF000000, %ebx
    HYPERCALL mmu_update                    # the requests cannot be read
    ret
    .data
    .balign 4
bind: .long VIRQ_TIMER, 0, 0xDEAD
requests: .long 0x1003, 0, 0x2000, 0
    .skip 5 * MMU_UPDATE_sizeof
"""


def calls(name: str) -> list[str]:
    """The trace's lines about a hypercall, from its name to its result."""
    records = boot(write_elf(assemble_text(KERNEL, name="kernel.S")), memory=4 << 20).records
    lines = [f"{r.call} = {r.result}" for r in records if isinstance(r, HypercallRecord)]
    return [line for line in lines if line.startswith(name)]


def test_a_struct_that_comes_back_is_shown_as_it_came_back() -> None:
    first, again = calls("event_channel_op.bind_virq")
    assert first == (
        "event_channel_op.bind_virq(arg={virq=TIMER vcpu=0 port=0xdead}) = 0 {virq=TIMER vcpu=0 port=3}"
    )
    assert again == "event_channel_op.bind_virq(arg={virq=TIMER vcpu=0 port=3}) = -17"


def test_foreign_domains_are_shown_by_name() -> None:
    other, own, *_ = calls("mmu_update")
    assert other == "mmu_update(ureqs=0x0, count=0, pdone=0x0, foreigndom=DOMID_SELF (tables of d7)) = -3"
    assert own == "mmu_update(ureqs=0x0, count=0, pdone=0x0, foreigndom=DOMID_IO) = 0"


def test_the_first_requests_of_a_list_are_shown_and_how_many_more_there_are() -> None:
    *_, readable, unreadable = calls("mmu_update")
    shown = "{ptr=0x1003 val=0x2000} {ptr=0 val=0} {ptr=0 val=0} {ptr=0 val=0} +2"
    assert f"[{shown}], count=6," in readable
    assert unreadable == "mmu_update(ureqs=0xff000000[+6], count=6, pdone=0x0, foreigndom=DOMID_SELF) = -14"
