"""Names for addresses: the image's symbol table (System V ABI, "Symbol Table")."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING

from paravane.image.errors import ImageError

if TYPE_CHECKING:
    from paravane.image.elf import Elf, ElfSymbol


class Symbols:
    """The named addresses of an image, both ways. `problem` says in one sentence why none could be read."""

    def __init__(self, symbols: list[ElfSymbol], problem: str = "") -> None:
        # Of several names for one address, or addresses of one name, the last one stays: a global one.
        ordered = sorted(symbols, key=lambda symbol: (symbol.address, not symbol.local))
        by_address = {symbol.address: symbol.name for symbol in ordered}
        globals_last = sorted(ordered, key=attrgetter("local"), reverse=True)
        self._named = {symbol.name: symbol.address for symbol in globals_last}
        self._starts = list(by_address)
        self._names = list(by_address.values())
        self.problem = problem

    def __len__(self) -> int:
        return len(self._starts)

    def address_of(self, name: str) -> int | None:
        """Where `name` lies; a global symbol wins over local ones of that name. By it whoever looks into a
        guest from Python finds its variables."""
        return self._named.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in no particular order."""
        return tuple(self._named)

    def end_of(self, name: str, end: int) -> int:
        """Where the next symbol after `name`, which there is, begins; `end` if there is none."""
        index = bisect_right(self._starts, self._named[name])
        return self._starts[index] if index < len(self._starts) else end

    def at(self, address: int) -> tuple[str, int] | None:
        """The nearest symbol at or below `address` and the distance to it in bytes."""
        index = bisect_right(self._starts, address) - 1
        return None if index < 0 else (self._names[index], address - self._starts[index])


def read_symbols(elf: Elf) -> Symbols:
    """The symbols of a file. Never raises: they are a convenience, and damage is told in `problem`."""
    try:
        return Symbols(elf.symbols())
    except ImageError as error:
        return Symbols([], f"its symbols cannot be read: {error}")
