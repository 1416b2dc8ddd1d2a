"""Damaged kernels of a bare PC, the same ones on every run: each is refused in one sentence, or is loaded
within memory, and runs in a bounded number of traps and slices."""

from __future__ import annotations

import random
import struct
from collections import Counter

import pytest

from paravane import BareMachine, ImageError, StopReason
from paravane.full import multiboot
from tests.support.elfwriter import ElfImage, ElfSegment
from tests.support.hostile_bare import EXITS, MEMORY, SLICE, SLICES, end_after, end_of, kernel

pytestmark = pytest.mark.slow

LOADED = 4_000
RUN = 60
"""Of those that are loaded, of each kind."""

NUMBERS = (0, 1, 2, 3, 12, 0x20, 0x34, 0x1000, 0x9000, 0x9FFFC, 0xA0000, 0x100000, MEMORY - 1, MEMORY,
           0x7FFFFFFF, 0x80000000, 0xFFFFF000, 0xFFFFFFFF)  # fmt: skip
_EXIT = b"\xb0\x00\xe6\xf4\xf4"  # mov $0, %al; outb %al, $0xf4; hlt
_EHDR, _PHDR = 52, 32


def _header(flags: int = 0, *addresses: int) -> bytes:
    return struct.pack(
        f"<{3 + len(addresses)}I", multiboot.MAGIC, flags, -(multiboot.MAGIC + flags) & 0xFFFFFFFF, *addresses
    )


def _segments() -> bytes:
    """An ELF file with three segments, one of which is only partly in the file."""
    head = _header()
    image = ElfImage(
        segments=[
            ElfSegment(0x100000, head + _EXIT),
            ElfSegment(0x101000, bytes(range(64)), 0x3000),
            ElfSegment(0xC0110000, bytes(16), header={"p_paddr": 0x110000}),
        ]
    )
    image.header["e_entry"] = 0x100000 + len(head)
    return image.pack()


def _flat() -> bytes:
    """No ELF file: its header says where it goes."""
    return _header(1 << 16, 0x100000, 0x100000, 0, 0x104000, 0x100020) + _EXIT + bytes(64)


KINDS = {"assembled": kernel("jmp exit"), "segments": _segments(), "flat": _flat()}


def _numbers(chance: random.Random, image: bytearray) -> None:
    """A word of the headers is a number that is bad somewhere, or another word of them."""
    last = min(len(image), _EHDR + 3 * _PHDR + 256) - 4
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(0, last, 2)
        other = chance.randrange(0, last, 4)
        image[at : at + 4] = chance.choice(
            (struct.pack("<I", chance.choice(NUMBERS)), image[other : other + 4])
        )


def _bits(chance: random.Random, image: bytearray) -> None:
    for _ in range(chance.randrange(1, 8)):
        image[chance.randrange(min(len(image), 512))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, image: bytearray) -> None:
    del image[chance.randrange(len(image)) :]


def _flags(chance: random.Random, image: bytearray) -> None:
    """Any flags, with the checksum that they have; sometimes addresses that follow."""
    at = image.find(struct.pack("<I", multiboot.MAGIC))
    flags = chance.choice(
        (1 << chance.randrange(32), 1 << 16 | chance.randrange(8), chance.randrange(1 << 32))
    )
    addresses = [0x100000 + chance.randrange(0x2000) for _ in range(chance.choice((0, 5)))]
    new = _header(flags, *addresses)
    image[at : at + len(new)] = new


def _moved(chance: random.Random, image: bytearray) -> None:
    """The header is further back, up to where nobody looks."""
    at = image.find(struct.pack("<I", multiboot.MAGIC))
    edge = max(0, multiboot.SEARCHED - at)
    image[at:at] = bytes(chance.choice((2, 4, 4096, max(0, edge - 12), edge, 20000)))


def _overlapping(chance: random.Random, image: bytearray) -> None:
    """A segment is another one, or most of it."""
    table = [_EHDR + _PHDR * index for index in range(3)]
    into, out = chance.choice(table), chance.choice(table)
    if len(image) >= table[-1] + _PHDR:
        image[into : into + _PHDR] = image[out : out + _PHDR]
        field = into + 4 * chance.randrange(8)
        (value,) = struct.unpack_from("<I", image, field)
        struct.pack_into("<I", image, field, value + chance.choice((0, 0, 1, 0x800, -1)) & 0xFFFFFFFF)


DAMAGES = (_numbers, _bits, _cut, _flags, _moved, _overlapping)


def _damaged(chance: random.Random, whole: bytes) -> bytes:
    image = bytearray(whole)
    for damage in chance.choices(DAMAGES, k=chance.choice((1, 1, 2))):
        if struct.pack("<I", multiboot.MAGIC) in image and len(image) > 16:
            damage(chance, image)
    return bytes(image)


def _loaded(image: bytes, refusals: Counter[str]) -> bool:
    try:
        loaded = multiboot.load(image, MEMORY)
    except ImageError as error:
        sentence = str(error)
        assert sentence
        assert "\n" not in sentence
        refusals[sentence] += 1
        return False
    ends = sorted((piece.address, piece.address + piece.size) for piece in loaded.pieces)
    assert all(0 <= start < end <= MEMORY for start, end in ends)
    assert all(before[1] <= after[0] for before, after in zip(ends, ends[1:], strict=False))
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_kernel_is_refused_or_runs(kind: str) -> None:
    chance, refusals, ran = random.Random(kind), Counter[str](), 0
    assert end_of(KINDS[kind]) == EXITS
    for _ in range(LOADED // len(KINDS)):
        image = _damaged(chance, KINDS[kind])
        if not _loaded(image, refusals) or image == KINDS[kind] or ran == RUN:
            continue
        ran += 1
        with BareMachine(image, MEMORY, sink=lambda data: None, slice_instructions=SLICE) as machine:
            end_after(SLICES, machine)
            assert machine.run(max_traps=200).reason is not StopReason.TIMEOUT
            assert "\n" not in (machine.guest.failure or "")
    assert ran == RUN
    assert len(refusals) > 5, refusals


def test_as_many_segments_as_there_can_be_are_little_work() -> None:
    """All of them the whole of memory: loading them one after the other would never end."""
    count = 0xFFFF
    segment = struct.pack("<8I", 1, 0x34, 0x100000, 0x100000, 16, MEMORY - 0x100000, 7, 1)
    head = struct.pack(
        "<16s2H5I6H", b"\x7fELF\1\1\1", 2, 3, 1, 0x100000, 0x1000, 0, 0, 52, 32, count, 0, 0, 0
    )
    image = (head + _header()).ljust(0x1000, b"\0") + segment * count
    with pytest.raises(ImageError, match="overlap"):
        multiboot.load(image, MEMORY)
