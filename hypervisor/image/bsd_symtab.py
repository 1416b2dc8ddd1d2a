"""The symbol table that BSD kernels find behind their last byte (XEN_ELFNOTE_BSD_SYMTAB, public/elfnote.h).

In memory, from the first 4-byte boundary behind the kernel: one word with the size of what follows, then
a small ELF file of three sections: none, .symtab, .strtab. Xen's loader gives the headers of both word sizes
the room of the larger one, and kernels find the section headers through e_shoff; the gaps are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypervisor.image.elf import ELF_HEADER, SECTION_HEADER, SHT_STRTAB, SHT_SYMTAB, SectionHeader

if TYPE_CHECKING:
    from hypervisor.image.elf import Elf

SIZE_WORD: Final = 4
SECTIONS_OFFSET: Final = 64
"""Of the section headers in the small ELF file: a 64-bit ELF header would end there."""

CONTENTS_OFFSET: Final = 256
"""Of the symbols in it: three 64-bit section headers would end there."""

_STRTAB_INDEX, _SECTION_COUNT = 2, 3
_EMPTY = SectionHeader(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def bsd_symtab(elf: Elf) -> bytes | None:
    """The bytes to place behind the kernel; None when the file has no symbol table."""
    tables = elf.symbol_table()
    if tables is None:
        return None
    symtab, strtab = tables
    strings_offset = CONTENTS_OFFSET + (symtab.sh_size + 3 & ~3)
    size = strings_offset + strtab.sh_size
    header = elf.header._replace(
        e_version=1,
        e_phoff=0,
        e_shoff=SECTIONS_OFFSET,
        e_ehsize=ELF_HEADER.size,
        e_phentsize=0,
        e_phnum=0,
        e_shentsize=SECTION_HEADER.size,
        e_shnum=_SECTION_COUNT,
        e_shstrndx=0,
    )
    sections = (
        _EMPTY,
        symtab._replace(sh_type=SHT_SYMTAB, sh_offset=CONTENTS_OFFSET, sh_link=_STRTAB_INDEX),
        strtab._replace(sh_type=SHT_STRTAB, sh_offset=strings_offset),
    )
    image = bytearray(SIZE_WORD + size)
    image[:SIZE_WORD] = size.to_bytes(SIZE_WORD, "little")
    small = memoryview(image)[SIZE_WORD:]
    ELF_HEADER.pack_into(small, 0, header)
    for index, section in enumerate(sections):
        SECTION_HEADER.pack_into(small, SECTIONS_OFFSET + index * SECTION_HEADER.size, section)
    small[CONTENTS_OFFSET : CONTENTS_OFFSET + symtab.sh_size] = elf.contents(*symtab[4:6], "symbol table")
    small[strings_offset:] = elf.contents(*strtab[4:6], "string table")
    return bytes(image)
