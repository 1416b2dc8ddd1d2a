"""What an image's ELF tables may say, and the wrappings an image may come in."""

import bz2
import gzip
import lzma
import struct
import sys

import lz4.block
import pytest
import zstandard

from paravane.abi.elfnote import ElfNote
from paravane.image import ImageError, load_image
from paravane.image.unpack import unpack
from tests.support.elfwriter import (
    PAGE,
    PF_R,
    ElfImage,
    ElfSection,
    ElfSegment,
    ElfSymbol,
    kernel,
    legacy_kernel,
    xen_notes,
)
from tests.support.needs import GRUB, require

SHT_DYNAMIC = 6
SHF_COMPRESSED = 0x800
DYNAMIC = {"p_type": 2}


def refusal(data: bytes | ElfImage) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(data if isinstance(data, bytes) else data.pack())
    sentence = str(caught.value)
    assert sentence
    assert "\n" not in sentence
    return sentence


def lz4_blocks(data: bytes, size: int) -> bytes:
    """An older lz4 frame with blocks of `size` bytes unpacked."""
    packed = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), size):
        block = lz4.block.compress(data[at : at + size], store_size=False)
        packed += struct.pack("<I", len(block)) + block
    return packed


def bzimage(payload: bytes, *, version: int = 0x20F, length: int | None = None, offset: int = 0x40) -> bytes:
    """A bzImage with two setup sectors around a compressed kernel."""
    setup = bytearray(3 * 512 + offset)
    setup[0x1F1] = 2
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, version)
    struct.pack_into("<II", setup, 0x248, offset, len(payload) if length is None else length)
    return bytes(setup) + payload


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ({"e_ident": b"\x7fELF\x02\x01\x01".ljust(16, b"\0")}, "64-bit image"),
        ({"e_machine": 62}, "64-bit image"),
        ({"e_machine": 40}, "little-endian, machine EM_ARM"),
        ({"e_ident": b"\x7fELF\x01\x02\x01".ljust(16, b"\0")}, "big-endian, machine 768"),
        ({"e_ident": b"\x7fELF\x03\x01\x01".ljust(16, b"\0")}, "its class is 3"),
        ({"e_type": 1}, "relocatable object"),
        ({"e_type": 4}, "core dump"),
        ({"e_type": 0}, "of type ET_NONE"),
        ({"e_type": 0x1234}, "of type 4660"),
        ({"e_phnum": 0xFFFF}, "truncated"),
        ({"e_phoff": 0xFFFFFFF0}, "truncated"),
        ({"e_phentsize": 8}, "8 bytes apart"),
        ({"e_shnum": 3, "e_shoff": 0xFFFFFFF0}, "truncated"),
        ({"e_ident": b"MZ".ljust(16, b"\0")}, "not an ELF file"),
    ],
)
def test_a_file_that_is_no_i386_executable_is_refused(header: dict[str, int | bytes], part: str) -> None:
    image = kernel()
    image.header |= header
    assert part in refusal(image)


@pytest.mark.parametrize(
    ("data", "part"), [(b"", "empty"), (b"\x7fELF", "truncated"), (b"#!/bin/sh\n", "not an ELF")]
)
def test_short_files_are_refused(data: bytes, part: str) -> None:
    assert part in refusal(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part"), [("grub-x86_64-xen.bin", "64-bit image"), ("grub-i386-xen_pvh.bin", "PVH domain only")]
)
def test_grubs_other_images_are_refused_by_their_kind(name: str, part: str) -> None:
    assert part in refusal(require(GRUB).with_name(name).read_bytes())


@pytest.mark.slow
def test_every_truncation_of_an_image_is_refused_or_still_whole() -> None:
    data = kernel(bytes(range(256))).pack()
    for size in range(len(data)):
        assert refusal(data[:size])


def test_sections_that_make_no_sense_do_not_matter() -> None:
    image = kernel()
    damage = {"sh_link": 99, "sh_entsize": 0, "sh_offset": 0xFFFFFFF0, "sh_size": 0xFFFFFFFF}
    image.sections = [
        ElfSection(".odd", kind, b"", damage | {"sh_flags": SHF_COMPRESSED}) for kind in range(1, 20)
    ]
    assert bytes(load_image(image.pack()).segments[0].data) == b"\xf4" * 64


@pytest.mark.slow
def test_tables_of_thousands_of_dynamic_entries_are_read_once() -> None:
    image = ElfImage([ElfSegment(0, bytes(64)), *(ElfSegment(0, b"", header=DYNAMIC) for _ in range(5000))])
    image.sections = [ElfSection(".dynamic", SHT_DYNAMIC, b"") for _ in range(5000)]
    assert "neither Xen ELF notes" in refusal(image)


def test_file_data_beyond_the_end_is_refused() -> None:
    image = ElfImage([ElfSegment(0, bytes(64), header={"p_offset": 0x10000})], xen_notes())
    assert "segment for 0x0 at 0x10000" in refusal(image)


def test_more_file_bytes_than_memory_is_refused() -> None:
    assert "only 0x10 in memory" in refusal(kernel(bytes(64), memory_size=16))


def test_overlapping_segments_are_refused() -> None:
    image = ElfImage([ElfSegment(0x1000, bytes(64)), ElfSegment(0, bytes(64), 0x1001)], xen_notes())
    assert "0x0 and 0x1000 overlap" in refusal(image)


def test_touching_segments_and_ones_without_permissions_are_accepted() -> None:
    segments = [
        ElfSegment(0x1000, b"b" * 16),
        ElfSegment(0, b"a" * 16, 0x1000),
        ElfSegment(0x500, bytes(8), flags=0),
        ElfSegment(0x800, b"", 0, flags=PF_R),
    ]
    image = load_image(ElfImage(segments, xen_notes()).pack())
    assert [(s.address, s.memory_size) for s in image.segments] == [(0x1000, 16), (0, 0x1000), (0x800, 0)]


@pytest.mark.parametrize(
    ("extra", "segment", "part"),
    [
        ({ElfNote.ENTRY: 0x40}, ElfSegment(0, bytes(64)), "entry point 0x40 is outside"),
        (
            {ElfNote.VIRT_BASE: 0x1000, ElfNote.PADDR_OFFSET: 0x2000},
            ElfSegment(0, bytes(64)),
            "below its VIRT_BASE",
        ),
        ({}, ElfSegment(0, bytes(64), 0xF5800001), "in the hypervisor's hole from 0xf5800000"),
        ({ElfNote.PAE_MODE: "no"}, ElfSegment(0, bytes(64), 0xFC000001), "hole from 0xfc000000"),
        ({ElfNote.VIRT_BASE: 0xF0000000}, ElfSegment(0x10000000, bytes(64)), "hole from 0xf5800000"),
        ({ElfNote.ENTRY: 0x10}, ElfSegment(0x10, bytes(64)), "not a page boundary"),
    ],
)
def test_a_kernel_outside_its_limits_is_refused(
    extra: dict[int, int | str | bytes], segment: ElfSegment, part: str
) -> None:
    assert part in refusal(ElfImage([segment], xen_notes(extra)))


def test_an_image_with_nothing_to_load_is_refused() -> None:
    assert "nothing to load" in refusal(ElfImage([ElfSegment(0, bytes(8), flags=0)], xen_notes()))


def test_segments_go_where_the_physical_address_says() -> None:
    segment = ElfSegment(0xC0100000, b"kernel", header={"p_paddr": 0x100000})
    notes = xen_notes({ElfNote.VIRT_BASE: 0xC0000000, ElfNote.ENTRY: 0xC0100000})
    image = load_image(ElfImage([segment], notes).pack())
    assert image.segments[0].address == 0xC0100000
    assert bytes(image.segments[0].data) == b"kernel"


@pytest.mark.parametrize(
    "wrap",
    [
        gzip.compress,
        lambda data: bzimage(gzip.compress(data, mtime=0)),
        lambda data: bzimage(bz2.compress(data) + b"size"),
        lambda data: bzimage(lzma.compress(data, check=lzma.CHECK_CRC32) + b"size"),
        lambda data: bzimage(lzma.compress(data, format=lzma.FORMAT_ALONE) + b"size"),
        lambda data: bzimage(lz4_blocks(data, 100) + b"size"),
        lambda data: bzimage(lz4_blocks(data, 1 << 20)),
        lambda data: bzimage(zstandard.compress(data) + b"size"),
        lambda data: gzip.compress(bzimage(gzip.compress(data, mtime=0))),
    ],
    ids=[
        "gzip",
        "bzimage-gzip",
        "bzimage-bzip2",
        "bzimage-xz",
        "bzimage-lzma",
        "bzimage-lz4",
        "bzimage-lz4-one-block",
        "bzimage-zstd",
        "gzip-bzimage",
    ],
)
def test_a_wrapped_kernel_is_found(wrap: "object") -> None:
    data = kernel(b"wrapped kernel").pack()
    assert callable(wrap)
    assert bytes(load_image(wrap(data)).segments[0].data) == b"wrapped kernel"


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (gzip.compress(bytes(100), mtime=0)[:-9], "gzip file is truncated"),
        (b"\x1f\x8b" + bytes(64), "gzip file is damaged"),
        (bzimage(b"\x28\xb5\x2f\xfd" + b"\xff" * 64), "zstd payload is damaged"),
        (bzimage(zstandard.compress(bytes(range(256)) * 9)[:-9]), "zstd payload is truncated"),
        (bzimage(b"\x89LZO" + bytes(64)), "compressed with lzo"),
        (bzimage(b"\x02\x21\x4c\x18\x08\0\0\0" + b"\xff" * 64), "lz4 payload is damaged"),
        (bzimage(b"\x02\x21\x4c\x18\x80\0\0\0" + bytes(64)), "lz4 payload is truncated"),
        (bzimage(b"plain"), "unknown way"),
        (bzimage(b"BZh9" + bytes(64)), "bzip2 payload of the bzImage is damaged"),
        (bzimage(b"\xfd7zXZ\0" + bytes(64)), "xz payload of the bzImage is damaged"),
        (bzimage(gzip.compress(b"x", mtime=0), length=0x10000), "bzImage is truncated"),
        (bzimage(gzip.compress(b"x", mtime=0), version=0x207), "protocol 2.07"),
        (gzip.compress(b"no kernel", mtime=0), "not an ELF"),
    ],
)
def test_a_broken_wrapping_is_refused(data: bytes, part: str) -> None:
    assert part in refusal(data)


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(bytes(8 << 20), mtime=0),
        bzimage(lz4_blocks(bytes(8 << 20), 1 << 20)),
        bzimage(zstandard.compress(bytes(64 << 20))),
    ],
    ids=["gzip", "lz4", "zstd"],
)
def test_a_bomb_stops_at_the_limit(packed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paravane.image.unpack.MAX_UNPACKED", 1 << 20)
    with pytest.raises(ImageError, match="unpacks to more than 1 MiB"):
        unpack(packed)


@pytest.mark.parametrize(
    ("magic", "module"), [(b"\x28\xb5\x2f\xfd", "zstandard"), (b"\x02\x21\x4c\x18", "lz4.block")]
)
def test_a_missing_library_is_named(magic: bytes, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert "install `paravane[kernels]`" in refusal(bzimage(magic + bytes(64)))


def test_bsd_symbols_lie_after_the_kernel_as_a_small_elf_file() -> None:
    text = "XEN_VER=xen-3.0,LOADER=generic,BSD_SYMTAB"
    elf = legacy_kernel(text, bytes(PAGE + 1))
    elf.symbols = [ElfSymbol("start", 0), ElfSymbol("panic", 0x20)]
    image = load_image(elf.pack())
    symtab = image.bsd_symtab
    assert symtab is not None
    assert (symtab.address, image.virt_end) == (PAGE + 4, symtab.end)
    blob = bytes(symtab.data)
    assert int.from_bytes(blob[:4], "little") == len(blob) - 4
    small = blob[4:]
    assert small[:4] == b"\x7fELF"
    e_phoff, e_shoff, _, e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx = (
        struct.unpack_from("<III6H", small, 28)
    )
    assert (e_phoff, e_phentsize, e_phnum, e_shstrndx) == (0, 0, 0, 0)
    assert (e_ehsize, e_shentsize, e_shnum) == (52, 40, 3)
    headers = [struct.unpack_from("<10I", small, e_shoff + 40 * index) for index in range(e_shnum)]
    assert headers[0] == (0,) * 10
    assert (headers[1][1], headers[1][6], headers[2][1]) == (2, 2, 3)
    strings = small[headers[2][4] : headers[2][4] + headers[2][5]]
    assert strings == b"\0start\0panic\0"
    names = [
        strings[struct.unpack_from("<I", small, headers[1][4] + 16 * index)[0] :].split(b"\0")[0]
        for index in range(headers[1][5] // 16)
    ]
    assert names == [b"", b"start", b"panic"]


def test_bsd_symbols_repeat_every_byte_that_identifies_the_kernels_file() -> None:
    ident = b"\x7fELF\x01\x01\x01" + bytes(range(9, 18))
    elf = kernel(extra={ElfNote.BSD_SYMTAB: "yes"})
    elf.header |= {"e_ident": ident, "e_flags": 5, "e_version": 77}
    elf.symbols = [ElfSymbol("start", 0)]
    symtab = load_image(elf.pack()).bsd_symtab
    assert symtab is not None
    header = bytes(symtab.data)[4:56]
    assert header[:16] == ident
    assert struct.unpack_from("<HHIIIII", header, 16) == (2, 3, 1, 0, 0, 64, 5)


def test_wanted_bsd_symbols_that_are_not_there_are_left_out() -> None:
    image = load_image(legacy_kernel("XEN_VER=xen-3.0,LOADER=generic,BSD_SYMTAB", bytes(16)).pack())
    assert image.bsd_symtab is None
    assert image.virt_end == 16
