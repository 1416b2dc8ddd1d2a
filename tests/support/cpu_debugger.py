"""A debugger outside the guest for processor tests: it writes down what it is told."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.support.cpu_bench import DATA

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu.debugger import Watched
    from tests.support.cpu_bench import Bench, Trap

END = b"\xcd\x20"
"""`int $0x20`, where `until_end` stops."""


class Recorder:
    """A debugger that writes down what it is told, and stops the guest unless told otherwise."""

    def __init__(self, bench: Bench) -> None:
        self.cpu = bench.cpu
        self.breakpoints: set[int] = set()
        self.watched: list[Watched] = []
        self.stops = True
        self.seen: list[tuple[str, int]] = []
        self.flags: list[int] = []

    def at_breakpoint(self, address: int) -> bool:
        self.seen.append(("breakpoint", address))
        self.flags.append(self.cpu.eflags)
        return self.stops

    def accessed(self, watched: Watched, before: bytes) -> bool:
        self.seen.append(("access", watched.start))
        return self.stops

    def stepped(self) -> None:
        self.seen.append(("step", self.cpu.eip))


def until_end(bench: Bench, served: Callable[[Trap], None] = lambda trap: None) -> None:
    """Serve traps by `served`, and stop at `int $0x20`."""
    bench.handler.on_trap = lambda trap: bench.cpu.stop() if trap.vector == 0x20 else served(trap)


def absolute(opcode: str, address: int = DATA) -> bytes:
    """An instruction with an absolute address: its opcode, in hex, and `address`."""
    return bytes.fromhex(opcode) + struct.pack("<I", address)
