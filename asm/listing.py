"""A listing of a program: address, bytes and source line of every instruction."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from paravane.asm.program import SHF_ALLOC, STT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from paravane.asm.program import LineRow, Program, Section

_INCLUDE_DIR = Path(__file__).parent / "include"
_BYTES_PER_LINE = 8


def listing(program: Program, sources: Mapping[str, str] | None = None) -> str:
    """The listing as text; `sources` gives the text of files that are not on disk."""
    texts = _Texts(dict(sources or {}))
    lines: list[str] = []
    for section in program.sections:
        if section.flags & SHF_ALLOC:
            lines += _section(program, section, texts)
    return "\n".join(lines) + "\n"


class _Texts:
    """Source lines by file, read once."""

    def __init__(self, given: dict[str, str]) -> None:
        self._lines = {name: text.split("\n") for name, text in given.items()}

    def line(self, file: str, number: int) -> str:
        if file not in self._lines:
            self._lines[file] = _read(file)
        lines = self._lines[file]
        return lines[number - 1] if 0 < number <= len(lines) else ""


def _read(file: str) -> list[str]:
    for path in (Path(file), _INCLUDE_DIR / file):
        try:
            return path.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError):  # ValueError: not UTF-8, or a NUL in the name
            continue
    return []


def _section(program: Program, section: Section, texts: _Texts) -> Iterator[str]:
    end = section.address + section.size
    yield f"section {section.name}: 0x{section.address:08x}-0x{end:08x}"
    labels = _labels(program)
    rows = [row for row in program.lines if section.address <= row.address < end] if section.data else []
    if not rows:
        yield from (
            f"{address:08x} <{name}>:" for address, name in labels if section.address <= address < end
        )
        return
    names = {
        address: [name for _, name in group] for address, group in groupby(labels, lambda label: label[0])
    }
    for row in rows:
        yield from (f"{row.address:08x} <{name}>:" for name in names.get(row.address, []))
        yield from _instruction(section, row, texts.line(program.files[row.file], row.line), program)


def _labels(program: Program) -> list[tuple[int, str]]:
    found = [(s.value, s.name) for s in program.symbols if s.section is not None and s.kind != STT_FILE]
    return sorted(found)


def _instruction(section: Section, row: LineRow, source: str, program: Program) -> Iterator[str]:
    start = row.address - section.address
    data = section.data[start : start + row.size]
    where = f"{Path(program.files[row.file]).name}:{row.line}"
    first = data[:_BYTES_PER_LINE].hex(" ")
    yield f"{row.address:08x}  {first:<{3 * _BYTES_PER_LINE}} {where:<16} {source.strip()}".rstrip()
    for pos in range(_BYTES_PER_LINE, len(data), _BYTES_PER_LINE):
        yield f"{row.address + pos:08x}  {data[pos : pos + _BYTES_PER_LINE].hex(' ')}"
