"""The tables of an ELF32 file for i386 (System V ABI, Intel386 supplement).

Every byte of the file is hostile: counts, offsets and links are checked before anything is read by them, and
what nobody asks for is not looked at, odd links between sections that Xen never follows for one. A library
that knows all of ELF would be loaded longer than a small kernel runs.
"""

from __future__ import annotations

from functools import cached_property
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeVar

from paravane.classes import NamedTuple
from paravane.image.errors import ImageError
from paravane.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = TypeVar("Record")

MAX_STRING: Final = 4096
"""Longest text the file may hold in one piece, its NUL not counted: Xen's own limit."""

MAX_SYMBOLS: Final = 1 << 18
"""Entries of a symbol table that are read: each one takes some microseconds."""

MAX_SYMBOL_NAME: Final = 256
"""Longest name in bytes; the rest is cut off. Many symbols may share one string table's bytes."""

_HEADER: Final = Struct("<16s2H5I6H")
_FOREIGN_HEADER: Final = Struct(">16s2H5I6H")
_PROGRAM_HEADER: Final = Struct("<8I")
_SECTION_HEADER: Final = Struct("<10I")
_SYMBOL: Final = Struct("<3I2BH")

HEADER_SIZE: Final = _HEADER.size
PROGRAM_HEADER_SIZE: Final = _PROGRAM_HEADER.size
SECTION_HEADER_SIZE: Final = _SECTION_HEADER.size
SYMBOL_SIZE: Final = _SYMBOL.size

_EI_CLASS, _EI_DATA = 4, 5
_ELFCLASS32, _ELFCLASS64 = 1, 2
_ELFDATA2MSB = 2

ET_NONE, ET_REL, ET_EXEC, ET_DYN, ET_CORE = 0, 1, 2, 3, 4
EM_386, EM_X86_64 = 3, 62
EV_CURRENT = 1

PT_LOAD, PT_NOTE = 1, 4
PF_X, PF_W, PF_R = 1, 2, 4

SHT_NULL, SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_NOBITS = 0, 2, 3, 7, 8
SHF_EXECINSTR = 4

_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1
_STB_LOCAL = 0
_STT_SECTION, _STT_FILE = 3, 4

_TYPES: Final = {
    ET_NONE: "of type ET_NONE",
    ET_REL: "a relocatable object that still has to be linked",
    ET_CORE: "a core dump",
}
_MACHINES: Final = {
    2: "EM_SPARC",
    EM_386: "EM_386",
    4: "EM_68K",
    8: "EM_MIPS",
    20: "EM_PPC",
    21: "EM_PPC64",
    22: "EM_S390",
    40: "EM_ARM",
    EM_X86_64: "EM_X86_64",
    183: "EM_AARCH64",
    243: "EM_RISCV",
    258: "EM_LOONGARCH",
}


class ElfHeader(NamedTuple):
    """Start of the file. Offsets are bytes into the file, sizes bytes."""

    e_ident: bytes
    e_type: int
    e_machine: int
    e_version: int
    e_entry: int
    e_phoff: int
    e_shoff: int
    e_flags: int
    e_ehsize: int
    e_phentsize: int
    e_phnum: int
    e_shentsize: int
    e_shnum: int
    e_shstrndx: int


class ProgramHeader(NamedTuple):
    """One segment."""

    p_type: int
    p_offset: int
    p_vaddr: int
    p_paddr: int
    p_filesz: int
    p_memsz: int
    p_flags: int
    p_align: int


class SectionHeader(NamedTuple):
    """One section."""

    sh_name: int
    sh_type: int
    sh_flags: int
    sh_addr: int
    sh_offset: int
    sh_size: int
    sh_link: int
    sh_info: int
    sh_addralign: int
    sh_entsize: int

    def packed(self) -> bytes:
        """As it stands in a file."""
        return _SECTION_HEADER.pack(*self)


class ElfSymbol(NamedTuple):
    """A place in the program that has a name; `local` when other files of the program cannot see it."""

    name: str
    address: int
    local: bool


class Elf:
    """A file that is an ELF32 executable for i386; `segments` and `sections` are its tables in file order."""

    def __init__(self, data: bytes) -> None:
        """Raises ImageError when `data` is something else or its tables do not lie in it."""
        if not data.startswith(b"\x7fELF"):
            raise ImageError("this is not an ELF file" if data else "the file is empty")
        if len(data) < HEADER_SIZE:
            raise ImageError(f"the ELF file is truncated: {len(data)} bytes do not hold its header")
        if data[_EI_CLASS] == _ELFCLASS64:
            raise ImageError("this is a 64-bit image; only 32-bit x86 kernels run here")
        if data[_EI_CLASS] != _ELFCLASS32:
            raise ImageError(f"the ELF file is damaged: its class is {data[_EI_CLASS]}")
        self.data = data
        self._foreign = data[_EI_DATA] == _ELFDATA2MSB
        layout = _FOREIGN_HEADER if self._foreign else _HEADER
        self.header = header = ElfHeader(*layout.unpack_from(data))
        self._check_kind()
        self._check_table("program", PROGRAM_HEADER_SIZE, header.e_phoff, header.e_phentsize, header.e_phnum)
        self._check_table("section", SECTION_HEADER_SIZE, header.e_shoff, header.e_shentsize, header.e_shnum)

    def _check_kind(self) -> None:
        header = self.header
        if header.e_machine == EM_X86_64:
            raise ImageError("this is a 64-bit image; only 32-bit x86 kernels run here")
        if self._foreign or header.e_machine != EM_386:
            order = "big" if self._foreign else "little"
            machine = _MACHINES.get(header.e_machine, header.e_machine)
            raise ImageError(
                f"this ELF file is for another processor ({order}-endian, machine {machine}); "
                "i386 is little-endian, machine EM_386"
            )
        if header.e_type not in (ET_EXEC, ET_DYN):
            kind = _TYPES.get(header.e_type, f"of type {header.e_type}")
            raise ImageError(f"this ELF file is no executable: it is {kind}")

    def _check_table(self, name: str, size: int, offset: int, stride: int, count: int) -> None:
        if count and stride < size:
            raise ImageError(f"the ELF {name} headers are {stride} bytes apart but {size} bytes long")
        if count and offset + stride * count > len(self.data):
            raise ImageError(
                f"the ELF file is truncated: its {count} {name} headers at {offset:#x} end beyond its "
                f"{len(self.data):#x} bytes"
            )

    @cached_property
    def segments(self) -> tuple[ProgramHeader, ...]:
        header = self.header
        return self._table(ProgramHeader, _PROGRAM_HEADER, header.e_phoff, header.e_phentsize, header.e_phnum)

    @cached_property
    def sections(self) -> tuple[SectionHeader, ...]:
        header = self.header
        return self._table(SectionHeader, _SECTION_HEADER, header.e_shoff, header.e_shentsize, header.e_shnum)

    def _table(
        self, record: Callable[..., Record], layout: Struct, offset: int, stride: int, count: int
    ) -> tuple[Record, ...]:
        """One that lies in the file."""
        places = range(offset, offset + stride * count, stride) if count else ()
        return tuple(record(*layout.unpack_from(self.data, at)) for at in places)

    def contents(self, offset: int, size: int, what: str) -> memoryview:
        """Bytes of the file. Raises ImageError, which names them `what`, unless all of them are there."""
        if offset + size > len(self.data):
            raise ImageError(
                f"the ELF file is truncated: its {what} at {offset:#x}, {size:#x} bytes long, ends beyond "
                f"its {len(self.data):#x} bytes"
            )
        return memoryview(self.data)[offset : offset + size]

    def text_at(self, offset: int) -> str | None:
        """The text that starts at `offset` of the file; None when no NUL ends it soon enough."""
        end = self.data.find(b"\0", offset, offset + MAX_STRING + 1)
        return None if end < 0 else printable(self.data[offset:end], MAX_STRING)

    def section_name(self, section: SectionHeader) -> str:
        """Name of a section; empty when the file does not tell."""
        index = self.header.e_shstrndx
        if index >= len(self.sections):
            return ""
        return self.text_at(self.sections[index].sh_offset + section.sh_name) or ""

    def section_named(self, name: str) -> SectionHeader | None:
        """The first section of that name."""
        return next((section for section in self.sections[1:] if self.section_name(section) == name), None)

    def symbol_table(self) -> tuple[SectionHeader, SectionHeader] | None:
        """The first symbol table and its strings, both within the file; None when there is no such pair."""
        for section in self.sections[1:]:
            if section.sh_type != SHT_SYMTAB or not 0 < section.sh_link < len(self.sections):
                continue
            strings = self.sections[section.sh_link]
            pair = (section, strings)
            if strings.sh_type == SHT_STRTAB and all(self._holds(part) for part in pair):
                return pair
        return None

    def _holds(self, section: SectionHeader) -> bool:
        return section.sh_offset + section.sh_size <= len(self.data)

    def symbols(self) -> list[ElfSymbol]:
        """The symbols that name a place in the program, in file order; none without a symbol table.

        Raises ImageError when the table is damaged or has more than MAX_SYMBOLS entries.
        """
        tables = self.symbol_table()
        if tables is None:
            return []
        # Like Xen, this goes by the size that the ABI gives an entry, whatever the section says.
        table, strings = (self.data[one.sh_offset : one.sh_offset + one.sh_size] for one in tables)
        count = len(table) // SYMBOL_SIZE
        if count > MAX_SYMBOLS:
            raise ImageError(f"the symbol table has more than {MAX_SYMBOLS} entries")
        found = []
        for name, value, _, info, _, section in _SYMBOL.iter_unpack(table[: count * SYMBOL_SIZE]):
            if info & 0xF in (_STT_SECTION, _STT_FILE) or section in (_SHN_UNDEF, _SHN_ABS):
                continue
            raw = strings[name : name + MAX_SYMBOL_NAME].partition(b"\0")[0]
            if text := printable(raw, MAX_SYMBOL_NAME):
                found.append(ElfSymbol(text, value, info >> 4 == _STB_LOCAL))
        return found


def pack_header(header: ElfHeader) -> bytes:
    """The bytes of a file header. Its `e_ident` goes out as it came, padding included."""
    return _HEADER.pack(*header)


def pack_section(section: SectionHeader) -> bytes:
    """The bytes of a section header."""
    return _SECTION_HEADER.pack(*section)
