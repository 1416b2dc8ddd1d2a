"""A kernel as a multiboot loader finds it, and the memory that such a loader leaves behind.

Source: the Multiboot Specification 0.6.96. What it leaves open is done as GRUB and QEMU do it. Every byte of
the file is hostile, as that of any image.
"""

from __future__ import annotations

from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.full.section_headers import place_sections
from paravane.full.text_screen import COLUMNS, LINES, PAGE
from paravane.image.elf import PT_LOAD, SECTION_HEADER_SIZE, Elf
from paravane.image.errors import ImageError
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.full.section_headers import PlacedSections

MAGIC: Final = 0x1BADB002
"""What a kernel's header begins with."""

BOOT_MAGIC: Final = 0x2BADB002
"""EAX as the kernel is entered."""

SEARCHED: Final = 8192
"""The header lies within so many bytes of the file."""

MOST_COMMAND_LINE: Final = 4095
"""Bytes of a command line."""

INFO_ADDRESS: Final = 0x9000
"""Where the loader's structures are: below all that a kernel is loaded to, as a rule."""

_LOADER_GDT: Final = (0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF)
"""Flat code at selector 8 and flat data at 16, both of ring 0. The specification promises no GDT; kernels
that reload a segment before they have one find a loader's."""

_GDT_SIZE: Final = 0x100
GDT_ADDRESS: Final = INFO_ADDRESS - _GDT_SIZE

_INFO_END: Final = 0xB000
_MAP_OFFSET, _NAME_OFFSET, _MODULE_OFFSET, _LINE_OFFSET = 0x80, 0xC0, 0xE0, 0x100
_LOW_MEMORY: Final = 0xA0000
_HIGH_MEMORY: Final = 0x100000
_LOADER_NAME: Final = b"paravane\0"

_MUST: Final = 0xFFFF
_PAGE_ALIGNED, _MEMORY_INFO, _VIDEO_INFO, _HAS_ADDRESSES = 1 << 0, 1 << 1, 1 << 2, 1 << 16
_KNOWN: Final = _PAGE_ALIGNED | _MEMORY_INFO | _VIDEO_INFO

_HAS_MEMORY, _HAS_COMMAND_LINE, _HAS_MODULES, _HAS_MAP, _HAS_NAME = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 9
_HAS_SECTIONS, _HAS_FRAMEBUFFER = 1 << 5, 1 << 12
_FLAGS: Final = Struct("<I")
_HEADER: Final = Struct("<3I")
_ADDRESSES: Final = Struct("<5I")
_INFO: Final = Struct("<7I16x2I12xI")
_FRAMEBUFFER: Final = Struct("<Q3I2B")
_FRAMEBUFFER_OFFSET: Final = 88
_TEXT: Final = 2
"""The kind of a screen that shows characters."""

_CELL: Final = 2
"""Bytes of a character and its colours."""

_REGION: Final = Struct("<I2QI")
_AVAILABLE: Final = 1

_SECTION_FIELDS: Final = Struct("<4I")
_SECTION_FIELDS_OFFSET: Final = 28

_MODULE: Final = Struct("<4I")
_MODULE_FIELDS: Final = Struct("<2I")
_MODULE_FIELDS_OFFSET: Final = 20


class Piece(NamedTuple):
    """`data` at a physical address, followed by zeroes up to `size` bytes."""

    address: int
    data: memoryview | bytes | bytearray
    size: int


class Loaded(NamedTuple):
    """What is in memory when the kernel is entered at physical `entry`, EBX being `info`."""

    pieces: tuple[Piece, ...]
    entry: int
    info: int


class _Header(NamedTuple):
    offset: int
    flags: int


def load(data: bytes, memory: int, command_line: str = "", module: bytes | None = None) -> Loaded:
    """A kernel, for a machine with `memory` bytes, and a module for it. Raises ImageError, a sentence, for a
    file that is none and for what does not fit."""
    header = _find_header(data)
    if unknown := header.flags & _MUST & ~_KNOWN:
        raise ImageError(f"the multiboot header asks for what nobody has here (its flags {unknown:#x})")
    elf = None if header.flags & _HAS_ADDRESSES else Elf(data)
    pieces, entry = _by_addresses(data, header) if elf is None else _by_elf(elf)
    for piece in pieces:
        _check(piece, memory)
    free = max(_HIGH_MEMORY, *(piece.address + piece.size for piece in pieces))
    if not any(piece.address <= entry < piece.address + piece.size for piece in pieces):
        raise ImageError(f"the kernel is entered at {entry:#x}, where nothing of it is loaded")
    information = bytearray(_info(memory, command_line))
    if header.flags & _VIDEO_INFO:
        _tell_screen(information)
    if elf is not None and (sections := place_sections(elf, free, memory)) is not None:
        _tell_sections(information, sections, elf.header.e_shstrndx)
        pieces += (Piece(address, contents, len(contents)) for address, contents in sections.loaded)
        free = sections.end
    if module is not None:
        placed = _place_module(module, free, memory)
        _tell_module(information, placed)
        pieces.append(placed)
    pieces.append(Piece(INFO_ADDRESS, information, len(information)))
    return Loaded(tuple(pieces), entry, INFO_ADDRESS)


def _find_header(data: bytes) -> _Header:
    end = min(len(data), SEARCHED) - _HEADER.size
    for offset in range(0, end + 1, 4):
        magic, flags, checksum = _HEADER.unpack_from(data, offset)
        if magic == MAGIC and not magic + flags + checksum & 0xFFFFFFFF:
            return _Header(offset, flags)
    raise ImageError(f"there is no multiboot header in the first {SEARCHED} bytes of the kernel")


def _by_addresses(data: bytes, header: _Header) -> tuple[list[Piece], int]:
    """Where the header says (3.1.3 of the specification)."""
    at = header.offset + _HEADER.size
    if at + _ADDRESSES.size > min(len(data), SEARCHED):
        raise ImageError("the multiboot header is cut off before its addresses")
    own, first, load_end, bss_end, entry = _ADDRESSES.unpack_from(data, at)
    start = header.offset - (own - first)
    if own < first or start < 0:
        raise ImageError(
            f"the multiboot header at {own:#x} says that loading starts at {first:#x}, before the file"
        )
    size = load_end - first if load_end else len(data) - start
    if size <= 0 or start + size > len(data):
        raise ImageError(
            f"the multiboot header has {first:#x} to {load_end:#x} loaded, which the file does not hold"
        )
    if bss_end and bss_end < first + size:
        raise ImageError(f"the multiboot header ends at {bss_end:#x}, before what is loaded")
    whole = bss_end - first if bss_end else size
    return [Piece(first, memoryview(data)[start : start + size], whole)], entry


def _by_elf(elf: Elf) -> tuple[list[Piece], int]:
    """Where an ELF file's segments say, by their physical addresses. The entry is a virtual address where
    those differ."""
    pieces, entry = [], elf.header.e_entry
    for segment in elf.segments:
        if segment.p_type != PT_LOAD or not segment.p_memsz:
            continue
        if segment.p_filesz > segment.p_memsz:
            raise ImageError("an ELF segment has more bytes in the file than in memory")
        contents = elf.contents(segment.p_offset, segment.p_filesz, "segment")
        pieces.append(Piece(segment.p_paddr, contents, segment.p_memsz))
        if 0 <= elf.header.e_entry - segment.p_vaddr < segment.p_memsz:
            entry = elf.header.e_entry - segment.p_vaddr + segment.p_paddr
    if not pieces:
        raise ImageError("the kernel has no segment to be loaded")
    pieces.sort(key=lambda piece: piece.address)
    for before, piece in pairwise(pieces):
        if before.address + before.size > piece.address:
            raise ImageError(f"the segments at {before.address:#x} and {piece.address:#x} overlap")
    return pieces, entry


def _check(piece: Piece, memory: int) -> None:
    end = piece.address + piece.size
    if end > memory:
        raise ImageError(
            f"the kernel reaches from {piece.address:#x} to {end:#x}; "
            f"the machine has {memory >> 20} MiB of memory"
        )
    if piece.address < _HIGH_MEMORY and end > _LOW_MEMORY:
        raise ImageError(f"the kernel reaches to {end:#x}, where a PC has its devices")
    if piece.address < _INFO_END and end > INFO_ADDRESS - _GDT_SIZE:
        raise ImageError(
            f"the kernel is loaded to {piece.address:#x}, where the loader has its own structures"
        )


def _tell_sections(information: bytearray, sections: PlacedSections, names: int) -> None:
    """Where the headers are, and the `names`th of which is of the section with the names."""
    (flags,) = _FLAGS.unpack_from(information)
    _FLAGS.pack_into(information, 0, flags | _HAS_SECTIONS)
    fields = sections.entries, SECTION_HEADER_SIZE, sections.table, names
    _SECTION_FIELDS.pack_into(information, _SECTION_FIELDS_OFFSET, *fields)


def _place_module(module: bytes, free: int, memory: int) -> Piece:
    """On the first page after the kernel, where QEMU has it, and at the start of a page whether or not the
    header asks for that. From `free` on there is nothing yet."""
    address = -(-free // PAGE_SIZE) * PAGE_SIZE
    if address + len(module) > memory:
        raise ImageError(
            f"the ramdisk of {len(module)} bytes does not fit after the kernel, at {address:#x}; "
            f"the machine has {memory >> 20} MiB of memory"
        )
    return Piece(address, module, len(module))


def _tell_module(information: bytearray, placed: Piece) -> None:
    """Where the one module begins and ends; its string is empty."""
    at = INFO_ADDRESS + _MODULE_OFFSET
    _MODULE_FIELDS.pack_into(information, _MODULE_FIELDS_OFFSET, 1, at)
    no_text = at + _MODULE.size
    _MODULE.pack_into(information, _MODULE_OFFSET, placed.address, placed.address + placed.size, no_text, 0)


def loader_gdt() -> Piece:
    """The loader's GDT, below its information."""
    table = b"".join(entry.to_bytes(8, "little") for entry in _LOADER_GDT)
    return Piece(GDT_ADDRESS, table, len(table))


def _tell_screen(information: bytearray) -> None:
    """For a kernel that asks which mode the screen is in. It is text, whatever the kernel would like: that is
    no more than a wish (3.1.4)."""
    (flags,) = _FLAGS.unpack_from(information)
    _FLAGS.pack_into(information, 0, flags | _HAS_FRAMEBUFFER)
    screen = PAGE, COLUMNS * _CELL, COLUMNS, LINES, 8 * _CELL, _TEXT
    _FRAMEBUFFER.pack_into(information, _FRAMEBUFFER_OFFSET, *screen)


def _info(memory: int, command_line: str) -> bytes:
    """The information structure (3.3), and what it points to after it."""
    line = command_line.encode("utf-8", "replace")
    if len(line) > MOST_COMMAND_LINE:
        raise ImageError(
            f"the command line takes {len(line)} bytes; a kernel is given {MOST_COMMAND_LINE} at most"
        )
    regions = [(0, _LOW_MEMORY)]
    if memory > _HIGH_MEMORY:
        regions.append((_HIGH_MEMORY, memory - _HIGH_MEMORY))
    table = b"".join(_REGION.pack(_REGION.size - 4, base, size, _AVAILABLE) for base, size in regions)
    info = bytearray(_LINE_OFFSET)
    flags = _HAS_MEMORY | _HAS_COMMAND_LINE | _HAS_MODULES | _HAS_MAP | _HAS_NAME
    _INFO.pack_into(
        info,
        0,
        flags,
        _LOW_MEMORY >> 10,
        max(0, memory - _HIGH_MEMORY) >> 10,
        0,
        INFO_ADDRESS + _LINE_OFFSET,
        0,
        0,
        len(table),
        INFO_ADDRESS + _MAP_OFFSET,
        INFO_ADDRESS + _NAME_OFFSET,
    )
    info[_MAP_OFFSET : _MAP_OFFSET + len(table)] = table
    info[_NAME_OFFSET : _NAME_OFFSET + len(_LOADER_NAME)] = _LOADER_NAME
    return bytes(info) + line + b"\0"
