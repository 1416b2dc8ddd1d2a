"""Where in a guest's code something happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from paravane.image import Image

REMEMBERED = 1 << 12
"""Places a domain remembers: a guest that asks from ever new addresses makes none of them cost memory."""


class Place(NamedTuple):
    """A linear address, and what the kernel's image tells of it: symbol and distance to it in bytes, source
    file and line from 1 (empty and 0 where it does not). The file is named without the folder that all the
    kernel's sources are in: a trace is the same wherever they are."""

    address: int
    symbol: str = ""
    offset: int = 0
    file: str = ""
    line: int = 0

    @property
    def names(self) -> str:
        """` <symbol+offset> file:line`, as far as known; of the file's path the last part."""
        text = f" <{self.symbol}+{self.offset:#x}>" if self.symbol else ""
        return text + (f" {self.file.rpartition('/')[2]}:{self.line}" if self.file else "")

    def __str__(self) -> str:
        return f"{self.address:#010x}{self.names}"


class Places:
    """The places of one kernel image."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._known: dict[tuple[int, int], Place] = {}

    def at(self, address: int) -> Place:
        """The place of the instruction at `address`."""
        return self._find(address, 0)

    def before(self, address: int) -> Place:
        """The place of an instruction that ends at `address`: a call, seen from where it returns to."""
        return self._find(address, 1)

    def _find(self, address: int, back: int) -> Place:
        place = self._known.get((address, back))
        if place is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            place = self._known[address, back] = self._look_up(address, back)
        return place

    def _look_up(self, address: int, back: int) -> Place:
        symbol = self._image.symbol_at(address - back) or ("", -back)
        file, line = self._image.line_at(address - back) or ("", 0)
        name = self._image.lines.name_of(file) if file else ""
        return Place(address, symbol[0], symbol[1] + back, name, line)
