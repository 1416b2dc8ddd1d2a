"""What a UNIX costs its processes: system call, context switch, fork and exec, next to the traps they need.

The floor of an operation is the number of its traps times one trap into an empty hook of the bare engine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.tools.bench import bare
from tests.support.unix_archive import archive, kernel, program

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = 8 << 20

_SYSTEM_CALL = """
    movl ${count}, %esi
    jmp 2f
1:  movl $20, %eax                  # getpid
    int $0x80
    decl %esi
2:  testl %esi, %esi
    jnz 1b
    quit $0
"""

# Parent and child yield to each other: two switches for one turn of both.
_CONTEXT_SWITCH = """
    movl $2, %eax
    int $0x80
    movl %eax, %edi
    movl ${count} / 2, %esi
    jmp 2f
1:  movl $158, %eax                 # sched_yield
    int $0x80
    decl %esi
2:  testl %esi, %esi
    jnz 1b
    testl %edi, %edi
    jz 3f
    movl $7, %eax
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
3:  quit $0
"""

_CHILDREN = """
    movl ${count}, %esi
    jmp 2f
1:  movl $2, %eax
    int $0x80
    testl %eax, %eax
    jz 3f
    movl $7, %eax                   # waitpid
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
    decl %esi
2:  testl %esi, %esi
    jnz 1b
    quit $0
3:  {child}
    quit $0
    .data
path:
    .asciz "/bin/nothing"
    .balign 4
arguments:
    .long path, 0
"""

_EXEC = """movl $11, %eax
    movl $path, %ebx
    movl $arguments, %ecx
    xorl %edx, %edx
    int $0x80"""

OPERATIONS: Mapping[str, tuple[str, int]] = {
    "null system call": (_SYSTEM_CALL, 20_000),
    "context switch": (_CONTEXT_SWITCH, 2_000),
    "fork, exit, wait": (_CHILDREN.replace("{child}", ""), 100),
    "fork, exec, exit, wait": (_CHILDREN.replace("{child}", _EXEC), 100),
}


@dataclass(frozen=True, slots=True)
class Run:
    """Host seconds and traps of one boot."""

    seconds: float
    traps: int


def _boot(source: str, count: int) -> Run:
    files: dict[str, bytes | str] = {
        "bin/bench": program(source.replace("{count}", str(count))),
        "bin/nothing": program("quit $0"),
    }
    ramdisk = archive(files, with_busybox=False)
    with Machine(Machine.size_for(MEMORY)) as machine:
        machine.create(load_image(kernel()), DomainConfig(memory=MEMORY, cmdline="bench", ramdisk=ramdisk))
        start = time.perf_counter()
        assert machine.run(timeout=60).reason is StopReason.DONE
        return Run(time.perf_counter() - start, machine.platform.traps)


@pytest.mark.parametrize("name", OPERATIONS)
def test_cost_of_an_operation(name: str, benchmark: Any) -> None:
    """The cost is the difference between boots with and without the operations, divided by their number."""
    source, count = OPERATIONS[name]
    idle = min((_boot(source, 0) for _ in range(3)), key=lambda run: run.seconds)
    busy: list[Run] = []
    benchmark.pedantic(lambda: busy.append(_boot(source, count)), rounds=3)
    best = min(busy, key=lambda run: run.seconds)
    cost = (best.seconds - idle.seconds) / count
    traps = (best.traps - idle.traps) / count
    floor = traps * bare.least("trap")
    benchmark.extra_info |= {
        "operation": name,
        "microseconds": round(cost * 1e6, 2),
        "traps": round(traps, 2),
        "floor_microseconds": round(floor * 1e6, 2),
        "times_floor": round(cost / floor, 1),
    }
    # A tick more or less in either boot is no operation.
    assert traps > 0.9, "the operation did not happen"
