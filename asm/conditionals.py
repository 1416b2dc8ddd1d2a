"""Conditional assembly: the stack of open `.if` blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError

if TYPE_CHECKING:
    from paravane.asm.diagnostics import Location

MAX_OPEN = 1000


@dataclass(slots=True)
class _Block:
    """`active`: this branch is read; `taken`: a branch was read before; `outer`: the code around is read."""

    active: bool
    taken: bool
    outer: bool
    opened: Location
    in_else: bool = False


class Conditionals:
    """Which statements count. Blocks nest; `skipping` is what the reading loop asks for every statement."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self.skipping = False

    def __len__(self) -> int:
        return len(self._blocks)

    def handles(self, word: str) -> bool:
        """Whether a directive matters inside code that is skipped."""
        return word.startswith(".if") or word in (".else", ".elsec", ".elseif", ".endif", ".endc")

    def open(self, condition: bool, location: Location) -> None:
        if len(self._blocks) >= MAX_OPEN:
            raise SourceError(f"more than {MAX_OPEN} open `.if` blocks")
        outer = not self.skipping
        self._blocks.append(_Block(outer and condition, condition, outer, location))
        self._update()

    def wants_condition(self) -> bool:
        """Whether the condition of an `.elseif` decides anything."""
        block = self._innermost(".elseif")
        return block.outer and not block.taken

    def elseif(self, condition: bool) -> None:
        block = self._innermost(".elseif")
        if block.in_else:
            raise SourceError("`.elseif` after `.else`")
        block.active = block.outer and not block.taken and condition
        block.taken = block.taken or condition
        self._update()

    def otherwise(self) -> None:
        block = self._innermost(".else")
        if block.in_else:
            raise SourceError("second `.else` of one `.if`")
        block.in_else = True
        block.active = block.outer and not block.taken
        block.taken = True
        self._update()

    def close(self, floor: int) -> None:
        """Ends a block; those below `floor` belong to another input."""
        if len(self._blocks) <= floor:
            raise SourceError("`.endif` without `.if`")
        self._blocks.pop()
        self._update()

    def truncate(self, count: int) -> Location:
        """Drops the blocks above `count`; returns where the first of them was opened."""
        opened = self._blocks[count].opened
        del self._blocks[count:]
        self._update()
        return opened

    def _innermost(self, word: str) -> _Block:
        if not self._blocks:
            raise SourceError(f"`{word}` without `.if`")
        return self._blocks[-1]

    def _update(self) -> None:
        self.skipping = bool(self._blocks) and not self._blocks[-1].active
