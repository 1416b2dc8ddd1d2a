"""`bench traps`: entries into the hypervisor and the return from them (kernels/traps.S)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from paravane.tools.bench.bare import IN_C, IN_PYTHON, bare
from paravane.tools.bench.gateways import PYTHON
from paravane.tools.bench.row import Routine, Row, engine, guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TRAP: Final = engine("trap", "trap")
_TRAP_IRET: Final = engine("trap, iret", "trap_iret")
_TWO_TRAPS_IRET: Final = engine("2 traps, iret", "traps_2_iret")


def _routine(name: str, operations: int = 1, traps: int = 1, *, sleeps: bool = False) -> Routine:
    return Routine("traps", name, operations, traps, sleeps)


@contextmanager
def _empty_hook(which: str) -> Iterator[Callable[[], float]]:
    """The bare engine's trap into a hook in that language."""
    with bare("trap", IN_PYTHON if which == PYTHON else IN_C) as measure:
        yield measure


ROWS: Final = (
    Row("empty-hook", "a trap into a hook that does nothing, in Python and in C", _TRAP, _empty_hook),
    guest("hypercall", "xen_version, whose answer is always the same", _TRAP, _routine("hypercall")),
    guest("multicall", "a multicall of 32 times that", _TRAP, _routine("multicall")),
    guest(
        "int80-direct",
        "int $0x80 of ring 3 by its direct gate, and iret",
        _TRAP_IRET,
        _routine("direct"),
    ),
    guest("int81-bounced", "int $0x81 of ring 3, bounced, and iret", _TRAP_IRET, _routine("bounced")),
    guest(
        "hypercall-iret",
        "int $0x83 of ring 3, bounced, and HYPERVISOR_iret",
        _TWO_TRAPS_IRET,
        _routine("hypercall_iret", traps=2),
    ),
    guest(
        "divide-error",
        "#DE in ring 1, to its handler and back",
        _TRAP_IRET,
        _routine("divide_error"),
    ),
    guest("page-fault", "#PF in ring 1, to its handler and back", _TRAP_IRET, _routine("page_fault")),
    guest(
        "user-page-fault",
        "#PF in ring 3, to its handler and back",
        _TRAP_IRET,
        _routine("user_page_fault"),
    ),
    guest("read-cr0", "mov %cr0, %eax, emulated", _TRAP, _routine("read_cr0")),
    guest("rdtsc", "rdtsc, emulated", _TRAP, _routine("read_tsc")),
    guest("port-read", "in %dx, %al, emulated", _TRAP, _routine("port_read")),
    guest("cpuid", "cpuid with the prefix that forces its emulation", _TRAP, _routine("forced_cpuid")),
    guest(
        "taskswitch",
        "fpu_taskswitch, which sets TS or clears it",
        _TRAP,
        _routine("taskswitch", operations=2, traps=2),
    ),
    guest("yield", "SCHEDOP_yield with nobody else to run", _TRAP, _routine("yields", sleeps=True)),
    guest(
        "event",
        "an event to itself: sent, its upcall handled, HYPERVISOR_iret",
        _TWO_TRAPS_IRET,
        _routine("event", traps=2),
    ),
)
"""In the order of the table."""
