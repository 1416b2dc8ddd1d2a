"""The tables of an ELF32 file for i386 (System V ABI, Intel386 supplement), each access checked.

Every byte of the file is hostile: counts, offsets and links are bounded here, so that its readers are not
led outside the file nor round in circles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeVar

from hypervisor.abi.layout import U8, U16, U32, Chars, Layout
from hypervisor.image.errors import ImageError

if TYPE_CHECKING:
    from typing import Any

    Record = TypeVar("Record", bound=tuple[Any, ...])

MAX_STRING: Final = 4096
"""Longest text the file may hold in one piece, its NUL not counted: Xen's own limit."""

ELFCLASS32, ELFCLASS64, ELFDATA2LSB = 1, 2, 1
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
EM_386, EM_X86_64 = 3, 62
PT_LOAD, PT_NOTE = 1, 4
PF_X, PF_W, PF_R = 1, 2, 4
SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_NOBITS = 2, 3, 7, 8
SHF_EXECINSTR = 4
SHN_UNDEF, SHN_ABS = 0, 0xFFF1
STB_LOCAL = 0
STT_SECTION, STT_FILE = 3, 4


class ElfHeader(NamedTuple):
    """Start of the file. Offsets are bytes into the file, sizes bytes."""

    e_ident: Annotated[bytes, Chars(16)]
    e_type: U16
    e_machine: U16
    e_version: U32
    e_entry: U32
    e_phoff: U32
    e_shoff: U32
    e_flags: U32
    e_ehsize: U16
    e_phentsize: U16
    e_phnum: U16
    e_shentsize: U16
    e_shnum: U16
    e_shstrndx: U16


class ProgramHeader(NamedTuple):
    """One segment."""

    p_type: U32
    p_offset: U32
    p_vaddr: U32
    p_paddr: U32
    p_filesz: U32
    p_memsz: U32
    p_flags: U32
    p_align: U32


class SectionHeader(NamedTuple):
    """One section."""

    sh_name: U32
    sh_type: U32
    sh_flags: U32
    sh_addr: U32
    sh_offset: U32
    sh_size: U32
    sh_link: U32
    sh_info: U32
    sh_addralign: U32
    sh_entsize: U32


class ElfSymbol(NamedTuple):
    """One entry of a symbol table."""

    st_name: U32
    st_value: U32
    st_size: U32
    st_info: U8
    st_other: U8
    st_shndx: U16


class ElfNoteHeader(NamedTuple):
    """Start of a note; its name and then its descriptor follow, each padded to 4 bytes."""

    namesz: U32
    descsz: U32
    type: U32


ELF_HEADER = Layout("Elf32_Ehdr", ElfHeader)
PROGRAM_HEADER = Layout("Elf32_Phdr", ProgramHeader)
SECTION_HEADER = Layout("Elf32_Shdr", SectionHeader)
SYMBOL = Layout("Elf32_Sym", ElfSymbol)
NOTE_HEADER = Layout("Elf32_Nhdr", ElfNoteHeader)

_TYPES = {ET_REL: "a relocatable object that still has to be linked", ET_CORE: "a core dump"}


def readable(raw: bytes) -> str:
    """Text of the file that cannot move a terminal's cursor: what is not printable becomes an escape."""
    text = raw.decode("ascii", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class Elf:
    """A file that is an ELF32 executable for i386; `segments` and `sections` are its tables in file order."""

    def __init__(self, data: bytes) -> None:
        """Raises ImageError when `data` is something else or its tables do not lie in it."""
        if not data.startswith(b"\x7fELF"):
            raise ImageError("this is not an ELF file" if data else "the file is empty")
        if len(data) < ELF_HEADER.size:
            raise ImageError(f"the ELF file is truncated: {len(data)} bytes do not hold its header")
        self.data = data
        self.header = ELF_HEADER.unpack(data)
        self._check_kind()
        header = self.header
        self.segments = self._table(
            "program", PROGRAM_HEADER, header.e_phoff, header.e_phentsize, header.e_phnum
        )
        self.sections = self._table(
            "section", SECTION_HEADER, header.e_shoff, header.e_shentsize, header.e_shnum
        )

    def _check_kind(self) -> None:
        ident, header = self.header.e_ident, self.header
        if ident[4] == ELFCLASS64 or header.e_machine == EM_X86_64:
            raise ImageError("this is a 64-bit image; only 32-bit x86 kernels run here")
        if ident[4] != ELFCLASS32 or ident[5] != ELFDATA2LSB or header.e_machine != EM_386:
            raise ImageError(
                f"this ELF file is for another processor (class {ident[4]}, data encoding {ident[5]}, "
                f"machine {header.e_machine}); i386 is class 1, encoding 1, machine 3"
            )
        if header.e_type not in (ET_EXEC, ET_DYN):
            kind = _TYPES.get(header.e_type, f"of type {header.e_type}")
            raise ImageError(f"this ELF file is no executable: it is {kind}")

    def _table(
        self, name: str, layout: Layout[Record], offset: int, stride: int, count: int
    ) -> tuple[Record, ...]:
        if not count:
            return ()
        if stride < layout.size:
            raise ImageError(f"the ELF {name} headers are {stride} bytes apart but {layout.size} bytes long")
        if offset + stride * count > len(self.data):
            raise ImageError(
                f"the ELF file is truncated: its {count} {name} headers at {offset:#x} end beyond its "
                f"{len(self.data):#x} bytes"
            )
        return tuple(layout.unpack(self.data, offset + stride * index) for index in range(count))

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
        return None if end < 0 else readable(self.data[offset:end])

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
