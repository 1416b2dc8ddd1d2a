"""The symbol table that BSD kernels find after their last byte (XEN_ELFNOTE_BSD_SYMTAB, public/elfnote.h).

In memory, from the first 4-byte boundary after the kernel: one word with the size of what follows, then
a small ELF file of three sections: none, .symtab, .strtab. Xen's loader gives the headers of both word sizes
the space of the larger one, and kernels find the section headers through e_shoff; the gaps are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.image.elf import (
    EV_CURRENT,
    HEADER_SIZE,
    SECTION_HEADER_SIZE,
    SHT_NULL,
    SectionHeader,
    pack_header,
    pack_section,
)

if TYPE_CHECKING:
    from paravane.image.elf import Elf

SIZE_WORD: Final = 4
SECTIONS_OFFSET: Final = 64
"""Of the section headers in the small ELF file: a 64-bit ELF header would end there."""

CONTENTS_OFFSET: Final = 256
"""Of the symbols in it: three 64-bit section headers would end there."""

_STRTAB_INDEX, _SECTION_COUNT = 2, 3
_EMPTY = SectionHeader(0, SHT_NULL, 0, 0, 0, 0, 0, 0, 0, 0)


def bsd_symtab(elf: Elf) -> bytes | None:
    """The bytes to place after the kernel; None when the file has no symbol table."""
    tables = elf.symbol_table()
    if tables is None:
        return None
    symtab, strtab = tables
    strings_offset = CONTENTS_OFFSET + (symtab.sh_size + 3 & ~3)
    size = strings_offset + strtab.sh_size
    header = elf.header._replace(
        e_version=EV_CURRENT,
        e_phoff=0,
        e_shoff=SECTIONS_OFFSET,
        e_ehsize=HEADER_SIZE,
        e_phentsize=0,
        e_phnum=0,
        e_shentsize=SECTION_HEADER_SIZE,
        e_shnum=_SECTION_COUNT,
        e_shstrndx=0,
    )
    sections = (
        _EMPTY,
        symtab._replace(sh_offset=CONTENTS_OFFSET, sh_link=_STRTAB_INDEX),
        strtab._replace(sh_offset=strings_offset),
    )
    image = bytearray(SIZE_WORD + size)
    image[:SIZE_WORD] = size.to_bytes(SIZE_WORD, "little")
    small = memoryview(image)[SIZE_WORD:]
    small[:HEADER_SIZE] = pack_header(header)
    headers = b"".join(pack_section(section) for section in sections)
    small[SECTIONS_OFFSET : SECTIONS_OFFSET + len(headers)] = headers
    small[CONTENTS_OFFSET : CONTENTS_OFFSET + symtab.sh_size] = elf.contents(*symtab[4:6], "symbol table")
    small[strings_offset:] = elf.contents(*strtab[4:6], "string table")
    return bytes(image)
