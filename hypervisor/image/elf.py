"""The tables of an ELF32 file for i386 (System V ABI, Intel386 supplement), read with pyelftools.

Every byte of the file is hostile. Counts, offsets and links are checked here before pyelftools follows them,
and whatever it raises becomes ImageError. Of its sections only the symbol table is made and of its segments
none, and strings are cut out here: it goes through all sections for each PT_DYNAMIC segment, refuses odd
links between sections that Xen never looks at, and reads a string to the next NUL however far that is.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.construct import Container
from elftools.construct.core import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import StringTableSection, SymbolTableSection

from paravane.image.errors import ImageError
from paravane.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elftools.construct import Construct
    from elftools.elf.sections import Symbol

    Record = TypeVar("Record")

MAX_STRING: Final = 4096
"""Longest text the file may hold in one piece, its NUL not counted: Xen's own limit."""

MAX_SYMBOLS: Final = 1 << 18
"""Entries of a symbol table that are read: each one takes some 25 us."""

MAX_SYMBOL_NAME: Final = 256
"""Longest name in bytes; the rest is cut off. Many symbols may share one string table's bytes."""

HEADER_SIZE: Final = 52
PROGRAM_HEADER_SIZE: Final = 32
SECTION_HEADER_SIZE: Final = 40
SYMBOL_SIZE: Final = 16

_EI_CLASS, _EI_NIDENT = 4, 16
_ELFCLASS64 = 2

PF_X, PF_W, PF_R = 1, 2, 4
SHF_EXECINSTR = 4

_TYPES = {"ET_REL": "a relocatable object that still has to be linked", "ET_CORE": "a core dump"}

_DAMAGE = (
    ELFError,
    ConstructError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What pyelftools is known, or has to be feared, to raise for a damaged file."""

Name = str | int
"""A number of the file as pyelftools gives it: by its name in the ABI, such as "PT_LOAD", if it has one."""


class ElfHeader(NamedTuple):
    """Start of the file. Offsets are bytes into the file, sizes bytes."""

    e_ident: bytes
    e_type: Name
    e_machine: Name
    e_version: Name
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

    p_type: Name
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
    sh_type: Name
    sh_flags: int
    sh_addr: int
    sh_offset: int
    sh_size: int
    sh_link: int
    sh_info: int
    sh_addralign: int
    sh_entsize: int


class ElfSymbol(NamedTuple):
    """A place in the program that has a name; `local` when other files of the program cannot see it."""

    name: str
    address: int
    local: bool


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Around every use of pyelftools: its exceptions become ImageError."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"the ELF file is damaged: its {what} cannot be read ({reason})") from error


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
        self.data = data
        with _reading("header"):
            self._file = ELFFile(BytesIO(data))
            fields = dict(self._file.header)
        self.header = ElfHeader(**fields | {"e_ident": data[:_EI_NIDENT]})
        self._check_kind()
        header = self.header
        self._check_table("program", PROGRAM_HEADER_SIZE, header.e_phoff, header.e_phentsize, header.e_phnum)
        self._check_table("section", SECTION_HEADER_SIZE, header.e_shoff, header.e_shentsize, header.e_shnum)

    def _check_kind(self) -> None:
        header = self.header
        if header.e_machine == "EM_X86_64":
            raise ImageError("this is a 64-bit image; only 32-bit x86 kernels run here")
        if not self._file.little_endian or header.e_machine != "EM_386":
            order = "little" if self._file.little_endian else "big"
            raise ImageError(
                f"this ELF file is for another processor ({order}-endian, machine {header.e_machine}); "
                "i386 is little-endian, machine EM_386"
            )
        if header.e_type not in ("ET_EXEC", "ET_DYN"):
            kind = _TYPES.get(str(header.e_type), f"of type {header.e_type}")
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
        layout = self._file.structs.Elf_Phdr
        with _reading("program headers"):
            return self._table(ProgramHeader, layout, header.e_phoff, header.e_phentsize, header.e_phnum)

    @cached_property
    def sections(self) -> tuple[SectionHeader, ...]:
        header = self.header
        layout = self._file.structs.Elf_Shdr
        with _reading("section headers"):
            return self._table(SectionHeader, layout, header.e_shoff, header.e_shentsize, header.e_shnum)

    def _table(
        self, record: Callable[..., Record], layout: Construct, offset: int, stride: int, count: int
    ) -> tuple[Record, ...]:
        stream = self._file.stream
        return tuple(record(**struct_parse(layout, stream, offset + stride * at)) for at in range(count))

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
            if section.sh_type != "SHT_SYMTAB" or not 0 < section.sh_link < len(self.sections):
                continue
            strings = self.sections[section.sh_link]
            pair = (section, strings)
            if strings.sh_type == "SHT_STRTAB" and all(self._holds(part) for part in pair):
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
        size = tables[0].sh_size - tables[0].sh_size % SYMBOL_SIZE
        table = Container(**tables[0]._replace(sh_entsize=SYMBOL_SIZE, sh_size=size)._asdict())
        strings = Container(**tables[1]._asdict())
        with _reading("symbol table"):
            names = _Strings(strings, ".strtab", self._file)
            section = SymbolTableSection(table, ".symtab", self._file, names)
            if section.num_symbols() > MAX_SYMBOLS:
                raise ImageError(f"the symbol table has more than {MAX_SYMBOLS} entries")
            return [
                ElfSymbol(symbol.name, symbol["st_value"], symbol["st_info"]["bind"] == "STB_LOCAL")
                for symbol in section.iter_symbols()
                if symbol.name and _names_a_place(symbol)
            ]

    def pack_header(self, header: ElfHeader) -> bytes:
        """The bytes of a changed file header. Its `e_ident` goes out as it came, padding included."""
        fields = header._asdict() | {"e_ident": self._file.header.e_ident}
        with _reading("header"):
            return header.e_ident + self._file.structs.Elf_Ehdr.build(Container(**fields))[_EI_NIDENT:]

    def pack_section(self, section: SectionHeader) -> bytes:
        """The bytes of a changed section header."""
        with _reading("section header"):
            return self._file.structs.Elf_Shdr.build(section)


def _names_a_place(symbol: Symbol) -> bool:
    return symbol["st_info"]["type"] not in ("STT_SECTION", "STT_FILE") and symbol["st_shndx"] not in (
        "SHN_UNDEF",
        "SHN_ABS",
    )


class _Strings(StringTableSection):
    """A string table whose strings end with the table, and at MAX_SYMBOL_NAME bytes."""

    def get_string(self, offset: int) -> str:
        left = self["sh_size"] - offset
        if left <= 0:
            return ""
        self.stream.seek(self["sh_offset"] + offset)
        raw = self.stream.read(min(left, MAX_SYMBOL_NAME))
        return printable(raw.partition(b"\0")[0], MAX_SYMBOL_NAME)
