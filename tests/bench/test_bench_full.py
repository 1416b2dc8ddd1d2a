"""What a bare PC is left for, beside a trap that Python does nothing about: figures in `extra_info`, no
assertion on time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from paravane.full.machine import BareMachine
from paravane.tools.bench.bare import IN_PYTHON, BareEngine
from tests.support.bare_pc import MEMORY, kernel

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 500
STORES = 1_000_000
TURNS = 5

_KERNEL = """
        movl $table + 7, directory
        mov $table, %edi
        mov $0x67, %eax
1:      stosl
        add $4096, %eax
        cmp $0x400067, %eax
        jb 1b
        mov $handle, %eax
        mov $0x8e, %dl
        mov $0x80, %ecx
        call gate
        mov $directory, %eax
        mov %eax, %cr3
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
        mov $0x10, %edx
        mov $ROUNDS, %ecx
2:      BODY
        dec %ecx
        jnz 2b
        jmp exit
handle: iret
"""

EXITS = {
    "instruction that traps": ("cli", 1),
    "instruction that is made to trap": ("pushfl; pop %eax", 1),
    "load of a segment": ("mov %edx, %es", 1),
    "system call": ("int $0x80", 2),
    "page filled in": ("invlpg 0x300000; mov 0x300000, %eax", 2),
    "flush": ("mov %cr3, %eax; mov %eax, %cr3; mov 0x300000, %eax", 4),
}
"""What is done again and again, and the exits of one time."""


@pytest.mark.parametrize("name", EXITS)
def test_exits_against_an_empty_hook(benchmark: Any, name: str) -> None:
    body, exits = EXITS[name]
    image = kernel(_KERNEL.replace("ROUNDS", str(ROUNDS)).replace("BODY", body))

    def run() -> float:
        with BareMachine(image, MEMORY, sink=lambda data: None) as machine:
            spent = _time(lambda: machine.run(timeout=300))
            assert machine.guest.exit_code == 0
            assert 0 <= machine.platform.traps - ROUNDS * exits < ROUNDS
        return spent

    benchmark.pedantic(run, rounds=1)
    if not benchmark.enabled:
        return
    spent = min(run() for _ in range(TURNS))
    with BareEngine(IN_PYTHON) as engine:
        floor = min(_time(lambda: engine.execute("trap", ROUNDS * exits)) for _ in range(TURNS))
    benchmark.extra_info["exit_us"] = round(spent / ROUNDS / exits * 1e6, 1)
    benchmark.extra_info["ratio"] = round(spent / floor, 1)


def test_stores_against_the_engine_alone(benchmark: Any) -> None:
    """To a page of the shadow that holds no code."""
    body = _KERNEL.replace("ROUNDS", str(STORES)).replace("BODY", "mov %ecx, 0x300000")

    def run() -> float:
        with BareMachine(kernel(body), MEMORY, sink=lambda data: None) as machine:
            spent = _time(lambda: machine.run(timeout=300))
            assert machine.guest.exit_code == 0
            assert machine.memory.read_number(0x300000, 4) == 1
        return spent

    benchmark.pedantic(run, rounds=1)
    if not benchmark.enabled:
        return
    spent = min(run() for _ in range(TURNS))
    with BareEngine(IN_PYTHON) as engine:
        floor = min(_time(lambda: engine.execute("store", STORES)) for _ in range(TURNS))
    benchmark.extra_info["ratio"] = round(spent / floor, 2)


def _time(function: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin
