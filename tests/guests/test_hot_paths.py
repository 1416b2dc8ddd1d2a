"""How much Python the hot paths take: lines executed from a guest's trap to its next instruction.

Times depend on the host, and are for tests/bench; these numbers do not, and one that has grown by a fifth was
changed with a reason, or by mistake.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from paravane import DomainConfig, Machine, StopReason
from paravane.gateway.native import SWITCH
from tests.support.boot import HOST_TIMEOUT
from tests.support.small_machines import image
from tests.support.work import lines_executed

MEMORY = 8 << 20
FEW, MANY = 20, 320
SLICE = 100_000_000
"""Instructions: more than a guest executes here, so that no slice ends meanwhile."""


@dataclass(frozen=True, slots=True)
class Path:
    """What a guest does once, what again and again, and how many lines one time takes at most."""

    once: str
    again: str
    lines: int


PATHS = {
    "hypercall": Path(
        "",
        """
    movl $__HYPERVISOR_xen_version, %eax
    xorl %ebx, %ebx
    int $0x82
""",
        52,
    ),
    "event sent and pending": Path(
        """
    call events_init
    xorl %eax, %eax
    call bind_ipi
    movl %eax, request
""",
        """
    movl $EVTCHNOP_send, %ebx
    movl $request, %ecx
    movl $__HYPERVISOR_event_channel_op, %eax
    int $0x82
""",
        98,
    ),
    "page mapped": Path(
        """
    movl $page, %eax
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    movl %eax, low
    movl %edx, high
""",
        """
    movl $page, %ebx
    movl low, %ecx
    movl high, %edx
    xorl %esi, %esi
    movl $__HYPERVISOR_update_va_mapping, %eax
    int $0x82
""",
        110,
    ),
    "exception and iret": Path(
        """
    movl $traps, %eax
    call set_trap_table
""",
        "ud2\n",
        230,
    ),
    "page fault and iret": Path(
        """
    movl $traps, %eax
    call set_trap_table
""",
        ".byte 0xa1\n.long 0xE0000000\n",  # movl 0xE0000000, %eax, however that is written
        220,
    ),
    "register read by emulation": Path("", "movl %cr0, %eax\n", 155),
    "time-stamp counter read": Path("", "rdtsc\n", 165),
    "task switched and not": Path(
        "",
        """
    movl $1, %ebx
    movl $__HYPERVISOR_fpu_taskswitch, %eax
    int $0x82
    clts
""",
        217,
    ),
    "return by hypercall": Path(
        "",
        """
    movl %esp, %ebp
    pushfl
    pushl %cs
    pushl $2f
    pushl $0
    movl $__HYPERVISOR_iret, %eax
    int $0x82
2:  movl %ebp, %esp
""",
        135,
    ),
    "base pointer loaded": Path(
        """
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    movl $MMUEXT_NEW_BASEPTR, operation
    movl %eax, operation + 4
""",
        """
    movl $operation, %ebx
    movl $1, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    movl $__HYPERVISOR_mmuext_op, %eax
    int $0x82
""",
        145,
    ),
    "list of eight hypercalls": Path(
        """
    movl $8, %ecx
    movl $list, %edi
2:  movl $__HYPERVISOR_xen_version, (%edi)
    addl $MULTICALL_ENTRY_sizeof, %edi
    loop 2b
""",
        """
    movl $list, %ebx
    movl $8, %ecx
    movl $__HYPERVISOR_multicall, %eax
    int $0x82
""",
        560,
    ),
    "batch of eight mappings made and ended": Path(
        """
    movl $table, %eax
    call make_read_only
    movl $table, %eax
    call va_to_mfn
    movl %eax, %ebp
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, $(0xD0000000 >> L2_SHIFT) & (ENTRIES - 1), %ebp, $PTE_TABLE
    MUST mmu_update
    movl %ebp, %ebx
    shll $12, %ebx
    movl $page, %eax
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    movl $list, %edi
    movl $8, %ecx
2:  movl %ebx, MMU_UPDATE_ptr(%edi)
    movl %ebx, MMU_UPDATE_ptr + MMU_UPDATE_sizeof(%edi)
    movl %eax, MMU_UPDATE_val + MMU_UPDATE_sizeof(%edi)
    movl %edx, MMU_UPDATE_val + 4 + MMU_UPDATE_sizeof(%edi)
    addl $2 * MMU_UPDATE_sizeof, %edi
    loop 2b
""",
        """
    movl $list, %ebx
    movl $16, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    movl $__HYPERVISOR_mmu_update, %eax
    int $0x82
""",
        670,
    ),
}


def kernel(path: Path, times: int) -> str:
    return f"""
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    XEN_NOTES hot
    .bss
    .balign PAGE_SIZE
page:
    .skip PAGE_SIZE
table:
    .skip PAGE_SIZE
list:
    .skip PAGE_SIZE
request:
    .skip 4
operation:
    .skip MMUEXT_OP_sizeof
low:
    .skip 4
high:
    .skip 4
    .data
    .balign 4
left:
    .long {times}
traps:
    TRAP_GATE 6, 0, past_ud2
    TRAP_GATE 14, 0, past_load
    TRAP_TABLE_END
    .text
main:
{path.once}
1:
{path.again}
    decl left
    jnz 1b
    ret
past_ud2:
    addl $2, (%esp)
    iret
past_load:
    addl $4, %esp                       # the error code
    addl $5, (%esp)
    iret
"""


def lines(path: Path, times: int) -> int:
    with Machine(Machine.size_for(MEMORY), slice_instructions=SLICE) as machine:
        machine.create(image(kernel(path, times)), DomainConfig(memory=MEMORY))

        def run() -> None:
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE

        return lines_executed(run)


@pytest.mark.both_modes
@pytest.mark.parametrize("name", PATHS)
def test_lines_of_a_hot_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")  # what is served in C takes none
    path = PATHS[name]
    lines(path, FEW)  # what is done once in a process, as for a first machine, is done now
    once = (lines(path, MANY) - lines(path, FEW)) / (MANY - FEW)
    # Far fewer would mean that the guest does something else, or that nobody counts any more.
    assert path.lines / 2 < once < path.lines
