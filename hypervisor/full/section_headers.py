"""The section headers of a kernel in ELF, as a multiboot loader hands them over (bit 5 of the flags, section
3.3 of the specification): a kernel finds its symbols by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.image.elf import SECTION_HEADER_SIZE, SHT_NOBITS, SHT_NULL

if TYPE_CHECKING:
    from paravane.image.elf import Elf, SectionHeader

_TABLE_ALIGNMENT: Final = 4


class PlacedSections(NamedTuple):
    """What is loaded, at physical addresses, in their order: the sections that belong to no segment, and at
    `table` as many headers as `entries`. `end` is where all of that ends."""

    loaded: tuple[tuple[int, memoryview | bytes], ...]
    table: int
    entries: int
    end: int


def place_sections(elf: Elf, start: int, limit: int) -> PlacedSections | None:
    """All sections of a file, and their headers, from `start` on and below `limit`. None where there are
    none, where they do not fit, and where the file does not hold them: a kernel can do without."""
    at, headers, loaded = start, [], list[tuple[int, memoryview | bytes]]()
    for section in elf.sections:
        header = section
        if _is_loaded(section):
            at = _aligned(at, section.sh_addralign)
            last = section.sh_offset + section.sh_size
            if last > len(elf.data) or at + section.sh_size > limit:
                return None
            loaded.append((at, elf.contents(section.sh_offset, section.sh_size, "section")))
            header = section._replace(sh_addr=at)
            at += section.sh_size
        headers.append(header.packed())
    table = _aligned(at, _TABLE_ALIGNMENT)
    end = table + len(headers) * SECTION_HEADER_SIZE
    if not headers or end > limit:
        return None
    return PlacedSections((*loaded, (table, b"".join(headers))), table, len(headers), end)


def _is_loaded(section: SectionHeader) -> bool:
    """Those that have an address are in a segment."""
    return section.sh_type not in (SHT_NULL, SHT_NOBITS) and not section.sh_addr and section.sh_size > 0


def _aligned(address: int, alignment: int) -> int:
    return -(-address // max(1, alignment)) * max(1, alignment)
