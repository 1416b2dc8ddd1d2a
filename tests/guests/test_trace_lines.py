"""Lines of the trace say what a hypercall was asked and what it answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import DomainConfig, Machine, load_image
from paravane.trace import Kind, Record, TrapRecord
from paravane.trace.text import body
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from paravane.testing.plugin import Boot

MEMORY = 4 << 20

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


def calls(boot: Boot, name: str) -> list[str]:
    """The trace's lines about a hypercall, from its name to its result."""
    return [body(call.record) for call in boot(KERNEL, memory=MEMORY, trace=Kind).hypercalls(name)]


def test_a_struct_that_comes_back_is_shown_as_it_came_back(boot: Boot) -> None:
    first, again = calls(boot, "event_channel_op.bind_virq")
    assert first == (
        "event_channel_op.bind_virq(arg={virq=TIMER vcpu=0 port=0xdead}) = 0 {virq=TIMER vcpu=0 port=3}"
    )
    assert again == "event_channel_op.bind_virq(arg={virq=TIMER vcpu=0 port=3}) = -EEXIST"


def test_foreign_domains_are_shown_by_name(boot: Boot) -> None:
    other, own, *_ = calls(boot, "mmu_update")
    assert other == "mmu_update(ureqs=0x0, count=0, pdone=0, foreigndom=DOMID_SELF (tables of d7)) = -ESRCH"
    assert own == "mmu_update(ureqs=0x0, count=0, pdone=0, foreigndom=DOMID_IO) = 0"


def test_the_first_requests_of_a_list_are_shown_and_how_many_more_there_are(boot: Boot) -> None:
    *_, readable, unreadable = calls(boot, "mmu_update")
    shown = "{ptr=0x1003 val=0x2000} {ptr=0 val=0} {ptr=0 val=0} {ptr=0 val=0} +2"
    assert f"[{shown}], count=6," in readable
    assert unreadable == "mmu_update(ureqs=0xff000000[+6], count=6, pdone=0, foreigndom=DOMID_SELF) = -EFAULT"


CALLERS = """
    .include "runtime.inc"
    XEN_NOTES
main:
direct:
    movl $__HYPERVISOR_xen_version, %eax
    xorl %ebx, %ebx
    int $0x82
    movl $XENVER_version, %ebx
through_the_page:
    call hypercall_page + 32 * __HYPERVISOR_xen_version
    ret
"""


def test_a_call_is_shown_where_the_guests_own_code_makes_it(boot: Boot) -> None:
    outcome = boot(load_image(kernel_image(CALLERS, "callers.S")), memory=MEMORY, trace=Kind)
    direct, page = (call.place for call in outcome.hypercalls("xen_version.version"))
    assert (direct.symbol, direct.file, direct.line) == ("direct", "callers.S", 8)
    assert (page.symbol, page.offset, page.file, page.line) == ("through_the_page", 5, "callers.S", 11)
    assert page.address == direct.address + 10


TRAPS = """
    .include "runtime.inc"
    XEN_NOTES
main:
    movl $traps, %ebx
    HYPERCALL set_trap_table
1:  int $0x21
    jmp 1b
handler:
    iret
    .data
    .balign 4
traps:
    .byte 0x21, 1
    .short FLAT_KERNEL_CS
    .long handler
    .skip TRAP_INFO_sizeof
"""


def test_subscribers_hear_of_traps_whenever_they_come_and_not_after_they_went() -> None:
    image = load_image(kernel_image(TRAPS, "traps.S"))
    records: list[Record] = []
    # No machine of the fixture's: that one is heard of all the time.
    with Machine(Machine.size_for(MEMORY)) as machine:
        machine.create(image, DomainConfig(memory=MEMORY))
        machine.run(max_traps=10)
        unsubscribe = machine.trace.subscribe(records.append, (Kind.TRAP,))
        machine.run(max_traps=10)
        seen = len(records)
        unsubscribe()
        machine.run(max_traps=10)
    assert seen == len(records) > 3
    trap = records[0]
    assert isinstance(trap, TrapRecord)
    assert (trap.vector, trap.name, trap.cpl, trap.outcome) == (0x21, "int 0x21", 1, "bounced")
    assert trap.handler is not None
    assert image.symbol_at(trap.handler[1]) == ("handler", 0)
    assert (trap.place.symbol, trap.place.file) == ("main", "traps.S")


def test_the_life_of_a_domain_is_told(machine: Machine) -> None:
    records: list[Record] = []
    machine.trace.subscribe(records.append, (Kind.DOMAIN,))
    image = load_image(kernel_image(CALLERS, "callers.S"))
    domain = machine.create(image, DomainConfig(memory=MEMORY))
    machine.run(timeout=HOST_TIMEOUT)
    machine.destroy(domain)
    assert [body(record) for record in records] == ["built: guest", "shut down: poweroff", "destroyed: guest"]
