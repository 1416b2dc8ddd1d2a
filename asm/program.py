"""What the assembler hands to the ELF writer: placed sections, symbols and line rows.

Addresses are guest virtual addresses; sizes and offsets are bytes. The numbers in `flags`, `kind` and
`binding` are ELF's own (System V ABI, Intel386 supplement: SHF_*, SHT_*, STT_*, STB_*).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHF_MERGE, SHF_STRINGS, SHF_LINK_ORDER, SHF_GROUP, SHF_TLS = 0x10, 0x20, 0x80, 0x200, 0x400
SHF_GNU_RETAIN, SHF_EXCLUDE = 0x200000, 0x80000000
SHT_PROGBITS, SHT_NOTE, SHT_NOBITS = 1, 7, 8
SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY = 14, 15, 16
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Section:
    """One output section at its final address. `data` is empty for SHT_NOBITS, where `size` counts."""

    name: str
    kind: int
    flags: int
    align: int
    address: int
    data: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol; `section` is an index into `Program.sections`, or None for an absolute value."""

    name: str
    value: int
    size: int
    section: int | None
    binding: int
    kind: int


@dataclass(frozen=True, slots=True)
class LineRow:
    """The instruction at `address`, `size` bytes long, came from `line` (1-based) of `files[file]`."""

    address: int
    size: int
    file: int
    line: int


@dataclass(frozen=True, slots=True)
class Program:
    """A linked kernel: everything an ELF32 executable says about it.

    `contents` are the files it was made from, sources and what they include, each with the SHA-256 of what
    was read. `absent` are those that would have been included instead, had they been there.
    """

    entry: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    files: tuple[str, ...] = ()
    lines: tuple[LineRow, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    contents: tuple[tuple[Path, str], ...] = field(default=(), compare=False)
    absent: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files it was made from, once each."""
        return tuple(dict.fromkeys(path for path, _ in self.contents))
