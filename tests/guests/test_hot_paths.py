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
        58,
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
        110,
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
        120,
    ),
    "exception and iret": Path(
        """
    movl $traps, %eax
    call set_trap_table
""",
        "ud2\n",
        315,
    ),
    "register read by emulation": Path("", "movl %cr0, %eax\n", 195),
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
request:
    .skip 4
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
"""


def lines(path: Path, times: int) -> int:
    with Machine(Machine.size_for(MEMORY), slice_instructions=SLICE) as machine:
        machine.create(image(kernel(path, times)), DomainConfig(memory=MEMORY))

        def run() -> None:
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE

        return lines_executed(run)


@pytest.mark.parametrize("name", PATHS)
def test_lines_of_a_hot_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")  # what is served in C takes none
    path = PATHS[name]
    lines(path, FEW)  # what is done once in a process, as for a first machine, is done now
    once = (lines(path, MANY) - lines(path, FEW)) / (MANY - FEW)
    # Far fewer would mean that the guest does something else, or that nobody counts any more.
    assert path.lines / 2 < once < path.lines
