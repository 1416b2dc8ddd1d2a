"""How many prefixes an `int n` had: the processor reports the instruction after it and tells no length."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from paravane.cpu import PageFault, instructions
from paravane.cpu.instructions import SEGMENTS
from paravane.traps.emulate.dispatch import readable, runs_32_bit_code

if TYPE_CHECKING:
    from paravane.traps.state import TrapState

_INT: Final = 0xCD
_SIZE: Final = 2
_PREFIXES: Final = frozenset((0x66, 0x67, 0xF2, 0xF3, *SEGMENTS))
_MOST: Final = instructions.MAX_LENGTH - _SIZE
_WINDOW: Final = 48
"""Bytes before the instruction that are looked at: code that is read from anywhere falls into step soon."""


def interrupt_prefixes(state: TrapState, vector: int) -> int:
    """Bytes of prefixes of the `int vector` that ends at EIP.

    A byte before it that is no prefix settles it. Else it may also be the end of the instruction before:
    the code is read from every byte of a window, and where most readings come to an instruction is its start.
    """
    linear = state.cpu.segment_base("cs") + state.cpu.eip & 0xFFFFFFFF
    try:
        nearest = state.cpu.read(linear - _SIZE - 1, _SIZE + 1) if linear > _SIZE else b""
    except PageFault:
        nearest = _before(state, linear, _SIZE + 1)
    if nearest[-_SIZE:] != bytes((_INT, vector)) or nearest[0] not in _PREFIXES:
        return 0
    code = _before(state, linear, _WINDOW)[:-_SIZE]
    run = 0
    while run < min(_MOST, len(code)) and code[-1 - run] in _PREFIXES:
        run += 1
    if run == len(code):
        return run
    big = runs_32_bit_code(state)
    arrivals = (_arrival(code, start, len(code) - run, big=big) for start in range(len(code) - run))
    starts = Counter(at for at in arrivals if at is not None)
    return len(code) - max(starts, key=starts.__getitem__) if starts else 0


def _arrival(code: bytes, start: int, first: int, *, big: bool) -> int | None:
    """Where code read from `start` on begins an instruction at or after `first`; None if it is cut off."""
    at = start
    try:
        while at < first:
            at += instructions.decode(code, at, big=big).length
    except IndexError:
        return None
    return at


def _before(state: TrapState, end: int, size: int) -> bytes:
    """Up to `size` bytes before linear `end`, without those of a page before that cannot be read."""
    start = max(end - size, 0)
    code = readable(state, start, end - start)
    if len(code) == end - start:
        return code
    page = end - 1 & ~0xFFF
    return readable(state, page, end - page)
