"""Source lines for addresses, from the image's DWARF line tables."""

from __future__ import annotations

from bisect import bisect_right
from io import BytesIO
from typing import TYPE_CHECKING, Final

from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elftools.dwarf.lineprogram import LineProgram

    from hypervisor.image.elf import Elf

MAX_DEBUG_BYTES: Final = 32 << 20
"""Larger line and unit tables are not read: it would take minutes."""

MAX_UNITS, MAX_ROWS, MAX_SECTIONS = 20_000, 2_000_000, 1024

Location = tuple[str, int]


class Lines:
    """Source lines by address. `problem` says in one sentence why not all line tables could be used."""

    def __init__(self, rows: dict[int, Location | None], problem: str = "") -> None:
        """`rows`: where each location starts to apply; None where a sequence of instructions ends."""
        self._starts = sorted(rows)
        self._rows = rows
        self.problem = problem

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, address: int) -> Location | None:
        """File and line (from 1) of the instruction at `address`."""
        index = bisect_right(self._starts, address) - 1
        return None if index < 0 else self._rows[self._starts[index]]


class _TooLarge(Exception):
    """A table is beyond what is read."""


def read_lines(elf: Elf) -> Lines:
    """The line tables of a file. Never raises: they are a convenience, and damage is told in `problem`."""
    sizes = {elf.section_name(section): section.sh_size for section in elf.sections[1 : MAX_SECTIONS + 1]}
    if ".debug_line" not in sizes or ".debug_info" not in sizes:
        return Lines({})
    if len(elf.sections) > MAX_SECTIONS or sizes[".debug_line"] + sizes[".debug_info"] > MAX_DEBUG_BYTES:
        return Lines({}, f"its line tables are larger than {MAX_DEBUG_BYTES >> 20} MiB")
    rows: dict[int, Location | None] = {}
    try:
        for address, location in _rows(elf.data):
            # The end of one sequence may be the start of the next, which then counts.
            if location is not None or rows.get(address) is None:
                rows[address] = location
            if len(rows) > MAX_ROWS:
                raise _TooLarge(f"its line tables have more than {MAX_ROWS} rows")
    except _TooLarge as limit:
        return Lines(rows, str(limit))
    except (
        Exception
    ) as error:  # the DWARF reader lets through whatever its parsers meet: KeyError, struct.error, ...
        return Lines(rows, f"its line tables are damaged ({type(error).__name__})")
    return Lines(rows)


def _rows(data: bytes) -> Iterator[tuple[int, Location | None]]:
    dwarf = ELFFile(BytesIO(data)).get_dwarf_info(relocate_dwarf_sections=False)
    for number, unit in enumerate(dwarf.iter_CUs()):
        if number >= MAX_UNITS:
            raise _TooLarge(f"its line tables have more than {MAX_UNITS} units")
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        files = _file_names(program)
        for entry in program.get_entries():
            state = entry.state
            if state is not None:
                known = not state.end_sequence and state.file < len(files)
                yield state.address, (files[state.file], state.line) if known else None


def _file_names(program: LineProgram) -> list[str]:
    """Names by file number. Numbers, those of directories too, start at 1 before DWARF 5 and at 0 since."""
    header = program.header
    entries = list(header["file_entry"])
    directories = [_text(item) for item in header["include_directory"]]
    if header["version"] < 5:
        directories.insert(0, "")
    names = [] if header["version"] >= 5 else ["?"]
    for entry in entries:
        name, index = _text(entry.name), entry.dir_index
        # Directory 0 is the one the compiler ran in: names relative to it are left as they were given.
        directory = directories[index] if 0 < index < len(directories) else ""
        names.append(f"{directory}/{name}" if directory and not name.startswith("/") else name)
    return names


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
