"""Source lines for addresses, from the image's DWARF line tables."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from paravane.image.elf import SECTION_HEADER_SIZE
from paravane.image.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.image.elf import Elf

MAX_TABLE: Final = 16 << 20
"""Bytes of line tables that are read. A larger one would take minutes."""

MAX_ROWS: Final = 1_000_000
"""Rows of line tables that are read: some seconds' worth."""

Location = tuple[str, int]


class Lines:
    """Source lines by address. `problem` says in one sentence why not all line tables could be used."""

    def __init__(self, rows: dict[int, Location | None], problem: str = "") -> None:
        """`rows`: where each location starts to apply; None where a run of instructions ends."""
        self._starts = sorted(rows)
        self._rows = rows
        self.problem = problem

    def __len__(self) -> int:
        return len(self._starts)

    def name_of(self, file: str) -> str:
        """A file's name without the folder that all files with an absolute name are in: where somebody keeps
        the sources is left out."""
        return file.removeprefix(self._folder)

    def file_of(self, name: str) -> str:
        """The file that `name_of` calls so."""
        return self._absolute.get(name, name)

    @cached_property
    def _folder(self) -> str:
        """What the absolute names have in common, with a slash at its end; empty if that is only the root."""
        files = {row[0] for row in self._rows.values() if row is not None and row[0].startswith("/")}
        folders = zip(*(file.split("/")[:-1] for file in files), strict=False)
        common = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, folders)]
        return "/".join((*common, "")) if any(common) else ""

    @cached_property
    def _absolute(self) -> dict[str, str]:
        files = {row[0] for row in self._rows.values() if row is not None}
        return {self.name_of(file): file for file in sorted(files) if file.startswith("/")}

    def starting_at(self, address: int) -> Location | None:
        """File and line whose instructions start just at `address`."""
        return self._rows.get(address)

    def rows(self) -> list[tuple[int, Location]]:
        """Where each location starts to apply, in ascending order."""
        return [(start, row) for start in self._starts if (row := self._rows[start]) is not None]

    def starting(self, file: str, line: int) -> list[int]:
        """Where code of a line starts, in ascending order; `file` may be the end of a path."""
        return [
            start
            for start, (path, number) in self.rows()
            if number == line and (path == file or path.endswith(f"/{file}"))
        ]

    def at(self, address: int) -> Location | None:
        """File and line (from 1) of the instruction at `address`."""
        index = bisect_right(self._starts, address) - 1
        return None if index < 0 else self._rows[self._starts[index]]


def read_lines(elf: Elf) -> Lines:
    """The line tables of a file. Never raises: they are a convenience, and damage is told in `problem`."""
    from paravane.image.dwarf_lines import LineTableError  # noqa: PLC0415 - loaded for who asks for it only
    from paravane.image.dwarf_lines import read_lines as read_table  # noqa: PLC0415

    rows: dict[int, Location | None] = {}
    try:
        table = _section(elf, ".debug_line")
        if len(table) > MAX_TABLE:
            return Lines({}, f"its line tables are larger than {MAX_TABLE >> 20} MiB")
        strings = _section(elf, ".debug_line_str"), _section(elf, ".debug_str")
        # All rows count, not only those that stay: a table may name one address over and over.
        for count, (address, file, line) in enumerate(read_table(table, *strings), 1):
            if count > MAX_ROWS:
                return Lines(rows, f"its line tables have more than {MAX_ROWS} rows")
            # The end of one run of instructions may be the start of the next one, which then counts.
            if line or rows.get(address) is None:
                rows[address] = (file, line) if line else None
    except LineTableError as error:
        return Lines(rows, f"its line table is damaged: {error}")
    except ImageError as error:
        return Lines(rows, f"its line tables cannot be read: {error}")
    return Lines(rows)


def with_whole_names(elf: Elf, whole: Callable[[str], str]) -> bytes:
    """The file's bytes, with a line table that calls sources what `whole` makes of their names, for who looks
    for them on his own. Never raises: a table that is damaged or of another kind stays as it is."""
    from paravane.image.dwarf_lines import LineTableError, renamed  # noqa: PLC0415 - for who asks for it only

    data = bytes(elf.data)
    section = elf.section_named(".debug_line")
    try:
        table = _section(elf, ".debug_line")
        if section is None or len(table) > MAX_TABLE or (other := renamed(table, whole)) == table:
            return data
    except (LineTableError, ImageError):
        return data
    place = elf.header.e_shoff + elf.header.e_shentsize * elf.sections.index(section)
    moved = section._replace(sh_offset=len(data), sh_size=len(other))
    return data[:place] + moved.packed() + data[place + SECTION_HEADER_SIZE :] + other


def _section(elf: Elf, name: str) -> bytes:
    section = elf.section_named(name)
    return b"" if section is None else bytes(elf.contents(section.sh_offset, section.sh_size, name))
