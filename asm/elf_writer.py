"""Turns an assembled `Program` into an ELF32 executable for i386 (System V ABI, Intel386 supplement).

The file is: ELF header, program headers, loadable bytes, the other sections, section headers. The same
program always gives the same bytes: nothing depends on the time, the machine or a path it was not given.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.asm.dwarf import debug_sections
from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PROGBITS,
    STB_LOCAL,
    STT_FILE,
    Section,
    Symbol,
)

if TYPE_CHECKING:
    from paravane.asm.program import Program

PAGE_SIZE = 4096
ADDRESS_LIMIT = 1 << 32
SHN_LORESERVE, SHN_ABS = 0xFF00, 0xFFF1
SHT_SYMTAB, SHT_STRTAB = 2, 3
PT_LOAD, PT_NOTE = 1, 4
PF_X, PF_W, PF_R = 1, 2, 4

EHDR = struct.Struct("<16sHHIIIIIHHHHHH")
PHDR = struct.Struct("<8I")
SHDR = struct.Struct("<10I")
SYM = struct.Struct("<IIIBBH")
IDENT = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")  # ELFCLASS32, ELFDATA2LSB, EV_CURRENT
ET_EXEC, EM_386, EV_CURRENT = 2, 3, 1


class ElfWriterError(ValueError):
    """The program cannot be an ELF32 executable; the message is one sentence that says which part and why."""


@dataclass(slots=True)
class _Segment:
    """A run of sections that one program header covers; `offset` is where its first byte lies in the file."""

    sections: list[Section]
    offset: int = 0

    @property
    def address(self) -> int:
        return self.sections[0].address

    @property
    def memory_size(self) -> int:
        return _end(self.sections[-1]) - self.address

    @property
    def file_size(self) -> int:
        return max((_end(s) - self.address for s in self.sections if s.kind != SHT_NOBITS), default=0)


@dataclass(slots=True)
class _Strings:
    """An ELF string table; the empty string is at offset 0 and equal strings share their bytes."""

    data: bytearray = field(default_factory=lambda: bytearray(1))
    _offsets: dict[str, int] = field(default_factory=lambda: {"": 0})

    def add(self, text: str) -> int:
        offset = self._offsets.get(text)
        if offset is None:
            offset = self._offsets[text] = len(self.data)
            self.data += text.encode("utf-8", "surrogateescape") + b"\0"
        return offset


def write_elf(program: Program) -> bytes:
    """The ELF32 executable of a linked program: segments, notes, symbols and DWARF line numbers.

    One PT_LOAD covers each run of sections with equal permissions, at a file offset congruent to its
    address modulo the page size; each run of note sections has a PT_NOTE. Physical addresses equal virtual
    ones, so a kernel gives XEN_ELFNOTE_PADDR_OFFSET the value of XEN_ELFNOTE_VIRT_BASE (public elfnote.h).

    Raises ElfWriterError for sections that overlap or leave the 32-bit address space, or are too many.
    """
    _check(program)
    loads = _segments(program.sections)
    notes = _note_runs(program.sections)
    image = bytearray(EHDR.size + PHDR.size * (len(loads) + len(notes)))
    offsets = _place_loads(image, program.sections, loads)
    headers, names = _append_sections(image, program, offsets)
    image += bytes(-len(image) % 4)
    section_table = len(image)
    image += b"".join(headers)
    ident = (IDENT, ET_EXEC, EM_386, EV_CURRENT, program.entry & 0xFFFFFFFF, EHDR.size, section_table, 0)
    counts = (EHDR.size, PHDR.size, len(loads) + len(notes), SHDR.size, len(headers), names)
    image[: EHDR.size] = EHDR.pack(*ident, *counts)
    table = [_load_header(segment) for segment in loads] + [_note_header(run, offsets) for run in notes]
    image[EHDR.size : EHDR.size + PHDR.size * len(table)] = b"".join(table)
    return bytes(image)


def _end(section: Section) -> int:
    return section.address + section.size


def _check(program: Program) -> None:
    if len(program.sections) + 16 >= SHN_LORESERVE:
        raise ElfWriterError(f"{len(program.sections)} sections do not fit into an ELF section table")
    if any(not 0 <= row.address <= row.address + row.size <= ADDRESS_LIMIT for row in program.lines):
        raise ElfWriterError("a line row lies outside the 32-bit address space")
    if any(not 0 <= row.file < len(program.files) for row in program.lines):
        raise ElfWriterError(f"a line row names a file beyond the {len(program.files)} files of the program")
    previous: Section | None = None
    for section in sorted(_allocated(program.sections), key=lambda s: s.address):
        if section.address < 0 or _end(section) > ADDRESS_LIMIT:
            raise ElfWriterError(
                f"section {section.name} at {section.address:#x} of {section.size:#x} bytes leaves the "
                "32-bit address space"
            )
        if previous is not None and section.address < _end(previous):
            raise ElfWriterError(
                f"section {section.name} at {section.address:#x} overlaps section {previous.name}, which "
                f"ends at {_end(previous):#x}"
            )
        previous = section


def _allocated(sections: tuple[Section, ...]) -> list[Section]:
    return [s for s in sections if s.flags & SHF_ALLOC and s.size]


def _permissions(section: Section) -> int:
    return section.flags & (SHF_WRITE | SHF_EXECINSTR)


def _segments(sections: tuple[Section, ...]) -> list[_Segment]:
    """Sections by address, cut where permissions change, file bytes follow .bss, or a page lies between."""
    segments: list[_Segment] = []
    for section in sorted(_allocated(sections), key=lambda s: s.address):
        last = segments[-1].sections[-1] if segments else None
        joins = (
            last is not None
            and _permissions(last) == _permissions(section)
            and (last.kind != SHT_NOBITS or section.kind == SHT_NOBITS)
            and section.address - _end(last) < PAGE_SIZE
        )
        if joins:
            segments[-1].sections.append(section)
        else:
            segments.append(_Segment([section]))
    return segments


def _note_runs(sections: tuple[Section, ...]) -> list[list[tuple[int, Section]]]:
    """Note sections with their index; neighbours share a run, as readers step over 4-byte padding."""
    notes = [(i, s) for i, s in enumerate(sections) if s.kind == SHT_NOTE and s.size]
    runs: list[list[tuple[int, Section]]] = []
    for index, section in sorted(notes, key=lambda pair: pair[1].address):
        last = runs[-1][-1][1] if runs else None
        touches = (
            last is not None
            and last.flags & section.flags & SHF_ALLOC
            and _permissions(last) == _permissions(section)
            and section.address == _end(last) + -_end(last) % 4
        )
        if touches:
            runs[-1].append((index, section))
        else:
            runs.append([(index, section)])
    return runs


def _place_loads(image: bytearray, sections: tuple[Section, ...], loads: list[_Segment]) -> dict[int, int]:
    """Appends every segment's bytes; returns the file offset of each allocated section by its index."""
    indices = {id(section): index for index, section in enumerate(sections)}
    offsets: dict[int, int] = {}
    for segment in loads:
        image += bytes((segment.address - len(image)) % PAGE_SIZE if segment.file_size else 0)
        segment.offset = len(image)
        image += bytes(segment.file_size)
        for section in segment.sections:
            at = segment.offset + section.address - segment.address
            offsets[indices[id(section)]] = min(at, len(image))
            if section.kind != SHT_NOBITS:
                image[at : at + section.size] = section.data.ljust(section.size, b"\0")[: section.size]
    return offsets


def _load_header(segment: _Segment) -> bytes:
    section = segment.sections[0]
    flags = PF_R | (PF_W if section.flags & SHF_WRITE else 0) | (PF_X if section.flags & SHF_EXECINSTR else 0)
    # A segment without file bytes keeps the congruence that loaders check, although nothing is read there.
    offset = segment.offset if segment.file_size else segment.address % PAGE_SIZE
    sizes = (segment.file_size, segment.memory_size)
    return PHDR.pack(PT_LOAD, offset, segment.address, segment.address, *sizes, flags, PAGE_SIZE)


def _note_header(run: list[tuple[int, Section]], offsets: dict[int, int]) -> bytes:
    (first, section), last = run[0], run[-1][1]
    loaded = bool(section.flags & SHF_ALLOC)
    address = section.address if loaded else 0
    size = _end(last) - section.address if len(run) > 1 else section.size
    align = max(4, section.align)
    return PHDR.pack(PT_NOTE, offsets[first], address, address, size, size if loaded else 0, PF_R, align)


def _append_sections(image: bytearray, program: Program, offsets: dict[int, int]) -> tuple[list[bytes], int]:
    """Appends what is not loaded; returns the section headers and the index of .shstrtab among them."""
    names = _Strings()
    headers = [bytes(SHDR.size)]
    for index, section in enumerate(program.sections):
        if index not in offsets:
            data = b"" if section.kind == SHT_NOBITS else section.data
            offsets[index] = _append(image, data, max(1, section.align))
        sizes = (offsets[index], section.size, 0, 0, max(1, section.align), 0)
        address = section.address if section.flags & SHF_ALLOC else 0
        headers.append(SHDR.pack(names.add(section.name), section.kind, section.flags, address, *sizes))
    for name, data in debug_sections(program):
        at = _append(image, data, 1)
        headers.append(SHDR.pack(names.add(name), SHT_PROGBITS, 0, 0, at, len(data), 0, 0, 1, 0))
    symbols, strings, first_global = _symbol_table(program)
    at = _append(image, symbols, 4)
    tail = (at, len(symbols), len(headers) + 1, first_global, 4, SYM.size)
    headers.append(SHDR.pack(names.add(".symtab"), SHT_SYMTAB, 0, 0, *tail))
    at = _append(image, strings, 1)
    headers.append(SHDR.pack(names.add(".strtab"), SHT_STRTAB, 0, 0, at, len(strings), 0, 0, 1, 0))
    own_name = names.add(".shstrtab")
    at = _append(image, bytes(names.data), 1)
    headers.append(SHDR.pack(own_name, SHT_STRTAB, 0, 0, at, len(names.data), 0, 0, 1, 0))
    return headers, len(headers) - 1


def _append(image: bytearray, data: bytes, align: int) -> int:
    image += bytes(-len(image) % align)
    at = len(image)
    image += data
    return at


def _symbol_table(program: Program) -> tuple[bytes, bytes, int]:
    """.symtab, .strtab and the index of the first non-local symbol, which ELF wants in sh_info."""
    symbols = list(program.symbols)
    if program.files and not any(symbol.kind == STT_FILE for symbol in symbols):
        symbols.insert(0, Symbol(program.files[0], 0, 0, None, STB_LOCAL, STT_FILE))
    local = [symbol for symbol in symbols if symbol.binding == STB_LOCAL]
    others = [symbol for symbol in symbols if symbol.binding != STB_LOCAL]
    strings = _Strings()
    table = bytearray(SYM.size)
    for symbol in local + others:
        section = SHN_ABS if symbol.section is None else symbol.section + 1
        info = symbol.binding << 4 | symbol.kind
        value, size = symbol.value & 0xFFFFFFFF, symbol.size & 0xFFFFFFFF
        table += SYM.pack(strings.add(symbol.name), value, size, info, 0, section)
    return bytes(table), bytes(strings.data), 1 + len(local)
