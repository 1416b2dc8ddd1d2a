"""The multiboot loader, shown sound and hostile kernels."""

from __future__ import annotations

import random
import struct

import pytest

from paravane.full import multiboot
from paravane.image.errors import ImageError
from tests.support.elfwriter import ElfImage, ElfSection, ElfSegment

MEMORY = 16 << 20
HEADER = struct.pack("<3I", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF)


def _elf(code: bytes = HEADER + b"\xf4" * 20, **header: int) -> bytes:
    image = ElfImage(segments=[ElfSegment(0x100000, code)])
    image.header.update({"e_entry": 0x10000C, **header})
    return image.pack()


def _flat(
    load: int, load_end: int, bss_end: int, entry: int, *, own: int | None = None, flags: int = 1 << 16
) -> bytes:
    """A file that is no ELF: `own` is where its header claims to be."""
    head = struct.pack("<3I", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)
    return (
        head
        + struct.pack("<5I", load if own is None else own, load, load_end, bss_end, entry)
        + b"\xf4" * 100
    )


def test_elf_kernel_goes_where_its_segments_say() -> None:
    loaded = multiboot.load(_elf(), MEMORY)
    assert loaded.pieces[0].address == 0x100000
    assert bytes(loaded.pieces[0].data[:12]) == HEADER
    assert loaded.entry == 0x10000C


def test_entry_is_a_virtual_address() -> None:
    image = ElfImage(segments=[ElfSegment(0xC0100000, HEADER + b"\xf4" * 20, header={"p_paddr": 0x100000})])
    image.header["e_entry"] = 0xC010000C
    assert multiboot.load(image.pack(), MEMORY).entry == 0x10000C


def test_flat_kernel_goes_where_its_header_says() -> None:
    loaded = multiboot.load(_flat(0x200000, 0, 0x201000, 0x200020), MEMORY)
    piece = loaded.pieces[0]
    assert (piece.address, piece.size, loaded.entry) == (0x200000, 0x1000, 0x200020)
    assert len(piece.data) == 132


def test_information_tells_memory_and_command_line() -> None:
    loaded = multiboot.load(_elf(), MEMORY, "root=none quiet")
    piece = loaded.pieces[-1]
    assert piece.address == loaded.info
    data = bytes(piece.data)
    flags, low, high, _, line = struct.unpack_from("<5I", data)
    assert (flags & 0x45, low, high) == (0x45, 640, 15 * 1024)
    assert data[line - loaded.info :].split(b"\0")[0] == b"root=none quiet"
    size, at = struct.unpack_from("<2I", data, 44)
    regions = [struct.unpack_from("<I2QI", data, at - loaded.info + step) for step in range(0, size, 24)]
    assert regions == [(20, 0, 0xA0000, 1), (20, 0x100000, 15 << 20, 1)]


@pytest.mark.parametrize(
    ("kernel", "address"),
    [
        (_elf(), 0x101000),
        (_flat(0x200000, 0, 0x201000, 0x200020), 0x201000),
        (_flat(0x20000, 0, 0, 0x20020), 1 << 20),
    ],
)
def test_module_is_on_a_page_after_the_kernel_and_the_devices(kernel: bytes, address: int) -> None:
    loaded = multiboot.load(kernel, MEMORY, module=b"a module")
    information = bytes(next(piece.data for piece in loaded.pieces if piece.address == loaded.info))
    flags, count, at = struct.unpack_from("<I16x2I", information)
    assert (flags & 8, count) == (8, 1)
    start, end, text, reserved = struct.unpack_from("<4I", information, at - loaded.info)
    assert (start, end, reserved) == (address, address + 8, 0)
    assert information[text - loaded.info] == 0
    assert [bytes(piece.data) for piece in loaded.pieces if piece.address == start] == [b"a module"]


def test_module_that_does_not_fit_is_refused_with_a_sentence() -> None:
    whole = MEMORY - 0x101000
    multiboot.load(_elf(), MEMORY, module=bytes(whole))
    with pytest.raises(ImageError, match="ramdisk of 15724545 bytes does not fit .* 16 MiB of memory"):
        multiboot.load(_elf(), MEMORY, module=bytes(whole + 1))


def test_a_kernel_that_asks_is_told_of_the_screen() -> None:
    told, silent = (
        multiboot.load(_flat(0x200000, 0, 0, 0x200020, flags=1 << 16 | bit), MEMORY) for bit in (4, 0)
    )
    data = bytes(told.pieces[-1].data)
    assert struct.unpack_from("<Q3I2B", data, 88) == (0xB8000, 160, 80, 25, 16, 2)
    (flags,), (others,) = (struct.unpack_from("<I", piece.pieces[-1].data) for piece in (told, silent))
    assert flags == others | 1 << 12 != others


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no multiboot header"),
        (b"\0" * 8192 + HEADER, "no multiboot header"),
        (b"\0" * 2 + HEADER, "no multiboot header"),
        (HEADER + b"\0" * 100, "not an ELF file"),
        (_flat(0x200000, 0, 0, 0x200020, flags=1 << 16 | 8), "asks for what nobody has"),
        (_flat(0x200000, 0, 0, 0x200020)[:20], "cut off"),
        (_flat(0x200000, 0, 0, 0x200020, own=0x100000), "before the file"),
        (_flat(0x200000, 0, 0, 0x200020, own=0x200100), "before the file"),
        (_flat(0x200000, 0x300000, 0, 0x200020), "does not hold"),
        (_flat(0x200000, 0x1000, 0, 0x200020), "does not hold"),
        (_flat(0x200000, 0, 0x200001, 0x200020), "before what is loaded"),
        (_flat(0x200000, 0, 0x90000000, 0x200020), "16 MiB of memory"),
        (_flat(0xFFFFFFF0, 0, 0, 0xFFFFFFF8), "16 MiB of memory"),
        (_flat(0x9F000, 0, 0xA1000, 0x9F020), "where a PC has its devices"),
        (_flat(0x9000, 0, 0, 0x9020), "the loader has its own"),
        (_flat(0x200000, 0, 0, 0x400000), "nothing of it is loaded"),
        (_elf(e_entry=0), "nothing of it is loaded"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        multiboot.load(data, MEMORY)


def test_command_line_that_is_too_long_is_refused() -> None:
    with pytest.raises(ImageError, match="command line"):
        multiboot.load(_elf(), MEMORY, "x" * 5000)


def _flags(data: bytes, memory: int = MEMORY) -> int:
    loaded = multiboot.load(data, memory)
    (flags,) = struct.unpack_from("<I", next(at.data for at in loaded.pieces if at.address == loaded.info))
    assert isinstance(flags, int)
    return flags


def test_section_headers_that_cannot_be_loaded_are_not_there() -> None:
    """Where they are not in the file, where they do not fit, and where nothing has any."""
    whole, damaged = (
        ElfImage(
            [ElfSegment(0x100000, HEADER + b"\xf4" * 20)],
            sections=[ElfSection(".comment", 1, bytes(5000), header)],
            header={"e_entry": 0x10000C},
        ).pack()
        for header in ({}, {"sh_size": 6000})
    )
    assert _flags(whole) & 0x20
    assert not _flags(damaged) & 0x20
    assert not _flags(whole, 0x101000) & 0x20
    assert not _flags(_elf()) & 0x20
    assert not _flags(_flat(0x200000, 0, 0x201000, 0x200020)) & 0x20


@pytest.mark.parametrize("whole", [_elf(), _flat(0x200000, 0, 0x201000, 0x200020)])
def test_damaged_kernels_load_within_memory_or_not_at_all(whole: bytes) -> None:
    chance = random.Random(7)
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(12, len(damaged))] = chance.randrange(256)
        try:
            loaded = multiboot.load(bytes(damaged[: chance.randrange(len(damaged)) or None]), MEMORY)
        except ImageError:
            continue
        for piece in loaded.pieces:
            assert 0 <= len(piece.data) <= piece.size
            assert piece.address + piece.size <= MEMORY
