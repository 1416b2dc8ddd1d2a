"""Floors: what the engine takes by itself, in ring 0, with a hook that does nothing (kernels/floors.S)."""

from __future__ import annotations

import ctypes
import mmap
import struct
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Self

from paravane.asm import assemble
from paravane.cpu.engine import library as api
from paravane.cpu.engine.library import Engine
from paravane.tools.bench.loops import FOLDER
from paravane.tools.bench.timing import Growing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.asm.program import Program

IN_C: Final = api.NOTHING
"""A hook that does nothing, in C: the floor of whatever traps."""

IN_PYTHON: Final = api.INTERRUPT_HOOK(lambda _engine, _vector, _user: None)
"""One in Python: below that no trap gets which Python serves."""

_BASE: Final = 0x1000
_SIZE: Final = 64 << 10


@contextmanager
def bare(routine: str, hook: Any = IN_C) -> Iterator[Callable[[], float]]:
    """What measures `routine`: seconds of the processor for one round of it."""
    with BareEngine(hook) as engine:
        yield Growing(lambda rounds: engine.execute(routine, rounds)).measure


def least(routine: str, rounds: int = 20) -> float:
    """Seconds of one round of `routine`, with a hook in C: the least of so many measurements."""
    with bare(routine) as measure:
        return min(measure() for _ in range(rounds))


class BareEngine:
    """An engine, its memory, and the program of floors in it. Use it in a `with`."""

    def __init__(self, hook: Any = IN_C) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        for section in _program().sections:
            self._memory[section.address : section.address + len(section.data)] = section.data
        self._addresses = {symbol.name: symbol.value for symbol in _program().symbols}
        self._engine = Engine()
        self._engine.map(0, _SIZE, ctypes.addressof(ctypes.c_char.from_buffer(self._memory)))
        self._engine.hook_interrupts(hook)
        self.execute("begin", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()
        self._memory.close()

    def execute(self, routine: str, rounds: int) -> int:
        """Do the work of `routine` so often; gives how often."""
        struct.pack_into("<I", self._memory, self._addresses["rounds"], rounds)
        self._engine.start(self._addresses[routine])
        return rounds


@cache
def _program() -> Program:
    return assemble([FOLDER / "floors.S"], base=_BASE)
