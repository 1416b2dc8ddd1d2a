"""A view of ELF32 i386 files for reading only, from files that nobody vouches for (System V ABI, chapter 4).

Unlike a loader it wants neither a Xen kernel nor even a program. Time and memory are bounded by the size of
the file, whatever its headers claim.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

EHDR = struct.Struct("<16sHHIIIIIHHHHHH")
PHDR = struct.Struct("<8I")
SHDR = struct.Struct("<10I")
SYM = struct.Struct("<IIIBBH")

MAX_NAME = 256  # bytes of a name that are kept; many symbols may share one huge string
ET_REL, EM_386 = 1, 3
SHT_SYMTAB, SHT_NOBITS = 2, 8
SHF_ALLOC, SHF_EXECINSTR = 2, 4
PT_LOAD, PF_X = 1, 1
SHN_LORESERVE = 0xFF00
STT_SECTION, STT_FILE = 3, 4


class ElfViewError(ValueError):
    """The bytes are no ELF file of ours, or a damaged one; the message is one sentence."""


class Area(NamedTuple):
    """Bytes of the file under a name: a section, or a segment where no section says what is code."""

    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int

    @property
    def executable(self) -> bool:
        return self.flags & (SHF_ALLOC | SHF_EXECINSTR) == SHF_ALLOC | SHF_EXECINSTR


class ElfView:
    """Sections, executable code and symbols of one ELF32 i386 file. Raises ElfViewError for anything else."""

    def __init__(self, image: bytes) -> None:
        self._image = image
        if len(image) < EHDR.size or image[:4] != b"\x7fELF":
            raise ElfViewError("it is not an ELF file")
        fields = EHDR.unpack_from(image)
        if image[4] != 1 or image[5] != 1 or fields[2] != EM_386:
            raise ElfViewError("it is not a little-endian 32-bit x86 ELF file")
        self.relocatable = fields[1] == ET_REL
        phoff, shoff, phentsize, phnum, shentsize, shnum, names = *fields[5:7], *fields[9:14]
        self._program = self._table(PHDR, phoff, phentsize, phnum, "program headers")
        self.sections = self._sections(self._table(SHDR, shoff, shentsize, shnum, "section headers"), names)

    def _table(
        self, row: struct.Struct, offset: int, row_size: int, count: int, what: str
    ) -> list[tuple[int, ...]]:
        if not count:
            return []
        if row_size != row.size or offset + row.size * count > len(self._image):
            raise ElfViewError(f"its {what} are damaged or cut off")
        return list(row.iter_unpack(self._image[offset : offset + row.size * count]))

    def _sections(self, headers: list[tuple[int, ...]], names: int) -> list[Area]:
        table = Area("", 0, 0, 0, 0, 0, 0)
        if names < len(headers):
            _, kind, flags, address, offset, size, link, *_ = headers[names]
            table = Area("", kind, flags, address, offset, size, link)
        return [
            Area(self._string(table, name), kind, flags, address, offset, size, link)
            for name, kind, flags, address, offset, size, link, *_ in headers
        ]

    def _string(self, table: Area, offset: int) -> str:
        """A string-table entry made printable: a name must not move a terminal's cursor."""
        start, end = table.offset + offset, min(table.offset + table.size, table.offset + offset + MAX_NAME)
        text = self._image[start:end].partition(b"\0")[0].decode("utf-8", "backslashreplace")
        return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)

    def data(self, area: Area) -> bytes:
        """The file's bytes of an area. Raises ElfViewError when they reach beyond the end of the file."""
        if area.kind == SHT_NOBITS:
            return b""
        if area.offset + area.size > len(self._image):
            raise ElfViewError(f"section {area.name} reaches beyond the end of the file")
        return self._image[area.offset : area.offset + area.size]

    def section(self, name: str) -> bytes:
        """The bytes of the first section of that name, none when there is no such section."""
        return next((self.data(area) for area in self.sections if area.name == name), b"")

    def code(self) -> list[Area]:
        """Executable sections by address; executable segments when no section is."""
        areas = [s for s in self.sections if s.executable and s.kind != SHT_NOBITS and s.size]
        if not areas:
            areas = [
                Area(f"LOAD {index}", 1, SHF_ALLOC | SHF_EXECINSTR, vaddr, offset, filesz, 0)
                for index, (kind, offset, vaddr, _, filesz, _, flags, _) in enumerate(self._program)
                if kind == PT_LOAD and flags & PF_X and filesz
            ]
        # Sections of a sound file share no bytes; 65,000 views of the same megabyte would have no end.
        if sum(area.size for area in areas) > len(self._image):
            raise ElfViewError("its executable sections overlap in the file")
        return sorted(areas, key=lambda area: area.address)

    def symbols(self) -> Iterator[tuple[int, str]]:
        """(address, name) of every symbol that marks a place in a section."""
        table = next((area for area in self.sections if area.kind == SHT_SYMTAB), None)
        if table is None:
            return
        if table.link >= len(self.sections):
            raise ElfViewError("its symbol table has no string table")
        data = self.data(table)
        for name, value, _, info, _, index in SYM.iter_unpack(data[: len(data) - len(data) % SYM.size]):
            if name and 0 < index < SHN_LORESERVE and info & 15 not in (STT_SECTION, STT_FILE):
                yield value, self._string(self.sections[table.link], name)
