"""Any byte string is an Image or an ImageError, soon: 10,000 mutated kernels, the same ones on every run."""

import gzip
import lzma
import random
import struct
from collections import Counter

from paravane.abi.elfnote import ElfNote
from paravane.asm.elf_writer import write_elf
from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_NOTE,
    SHT_PROGBITS,
    LineRow,
    Program,
    Section,
    Symbol,
)
from paravane.builder import plan_layout
from paravane.image import Image, ImageError, load_image
from tests.support.elfwriter import PAGE, ElfSymbol, kernel, legacy_kernel, xen_notes
from tests.support.needs import GRUB, require
from tests.unit.test_image_elf import bzimage

IMAGES = 10_000
GRUB_IMAGES = 1_500

MIB_32 = 8192
EHDR_SIZE, PHDR_SIZE = 52, 32
NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    8,
    16,
    0x1000,
    0x10000,
    0x400000,
    0x7FFFFFFF,
    0x80000000,
    0xF5800000,
    0xFFFFF000,
    0xFFFFFFFF,
)


def full_kernel() -> bytes:
    """An image with everything: every kind of note, symbols, line tables."""
    extra: dict[int, int | str | bytes] = {
        ElfNote.VIRT_BASE: 0xC0000000,
        ElfNote.PADDR_OFFSET: 0xC0000000,
        ElfNote.ENTRY: 0xC0100000,
        ElfNote.HYPERCALL_PAGE: 0xC0100000,
        ElfNote.FEATURES: "!writable_page_tables|pae_pgdir_above_4gb",
        ElfNote.MOD_START_PFN: 1,
        ElfNote.INIT_P2M: 0x80000000,
        ElfNote.L1_MFN_VALID: bytes(32),
        ElfNote.BSD_SYMTAB: "yes",
    }
    notes = xen_notes(extra)
    start = 0xC0100000
    sections = (
        Section(".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, PAGE, start, bytes(PAGE), PAGE),
        Section(".note.Xen", SHT_NOTE, SHF_ALLOC, 4, start + PAGE, notes, len(notes)),
    )
    symbols = tuple(Symbol(f"function_{i}", start + 16 * i, 16, 0, i % 2, 2) for i in range(20))
    lines = tuple(LineRow(start + 4 * i, 4, 0, i + 1) for i in range(20))
    return write_elf(Program(start, sections, symbols, ("kernel.S",), lines))


def corpus() -> list[bytes]:
    """Sound images, small ones first; GRUB is the last."""
    plain = kernel(bytes(range(256)), extra={ElfNote.GUEST_VERSION: "1"})
    plain.symbols = [ElfSymbol("start", 0), ElfSymbol("end", 0x80)]
    in_section = kernel(bytes(64))
    in_section.notes_as_section = True
    keys = "XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=0xc0000000,VIRT_ENTRY=0xc0000000,HYPERCALL_PAGE=0x0"
    text = f"GUEST_OS=NetBSD,{keys},BSD_SYMTAB,PAE=yes"
    legacy = legacy_kernel(text, bytes(PAGE), 0xC0000000)
    legacy.symbols = plain.symbols
    small = [plain.pack(), in_section.pack(), legacy.pack(), full_kernel()]
    packed = gzip.compress(small[0], mtime=0)
    wrapped = [packed, bzimage(packed), bzimage(lzma.compress(small[0]))]
    return [*small, *wrapped, require(GRUB).read_bytes()]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four defects, most of them where they matter: headers, tables, notes."""
    image = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice((_flip, _number, _program_number, _table_number, _copy, _cut, _grow))(image, rng)
    return bytes(image)


def _spot(image: bytearray, rng: random.Random) -> int:
    """A place in the file: the first 512 bytes, its end (GRUB's notes, most section headers), or anywhere."""
    size = max(1, len(image))
    edge = min(512, size)
    return rng.choice((rng.randrange(edge), size - 1 - rng.randrange(edge), rng.randrange(size)))


def _flip(image: bytearray, rng: random.Random) -> None:
    at = _spot(image, rng)
    image[at : at + 1] = bytes((rng.randrange(256),))


def _poke(image: bytearray, at: int, value: int, width: int = 4) -> None:
    if 0 <= at <= len(image) - width:
        image[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")


def _interesting(image: bytearray, rng: random.Random) -> int:
    return rng.choice((*NUMBERS, len(image), len(image) - 1, rng.getrandbits(32))) + rng.choice((0, 0, -1, 1))


def _number(image: bytearray, rng: random.Random) -> None:
    _poke(image, _spot(image, rng) & ~3, _interesting(image, rng), rng.choice((2, 4)))


def _program_number(image: bytearray, rng: random.Random) -> None:
    """A field of the ELF header or of one of the first program headers."""
    if rng.random() < 0.3:
        _poke(image, rng.randrange(16, EHDR_SIZE, 2), _interesting(image, rng), 2)
    else:
        _poke(image, EHDR_SIZE + rng.randrange(0, 4 * PHDR_SIZE, 4), _interesting(image, rng))


def _table_number(image: bytearray, rng: random.Random) -> None:
    """A field of a section header."""
    if len(image) >= EHDR_SIZE:
        (at,) = struct.unpack_from("<I", image, 32)
        (count,) = struct.unpack_from("<H", image, 48)
        _poke(image, at + 4 * rng.randrange(10 * min(max(count, 1), 12)), _interesting(image, rng))


def _copy(image: bytearray, rng: random.Random) -> None:
    size, source, target = rng.randrange(1, 64), _spot(image, rng), _spot(image, rng)
    image[target : target + size] = image[source : source + size]


def _cut(image: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.3:
        del image[_spot(image, rng) :]
    else:
        at = _spot(image, rng)
        del image[at : at + rng.randrange(1, 16)]


def _grow(image: bytearray, rng: random.Random) -> None:
    at = _spot(image, rng)
    image[at:at] = rng.randbytes(rng.randrange(1, 16))


def use(image: Image) -> None:
    """What others do with an image they have not made."""
    for address in (image.entry, image.virt_start, image.virt_end - 1, 0xFFFFFFFF):
        image.symbol_at(address)
        image.line_at(address)
        image.is_code(address)
    assert image.virt_base <= image.virt_start <= image.entry < image.virt_end <= 0xFC000000
    assert all(len(segment.data) <= segment.memory_size for segment in image.contents)
    plan = plan_layout(image, MIB_32)
    assert plan.kernel.end <= plan.p2m.pfn < plan.boot_stack_pfn < plan.mapped_pages <= MIB_32


def outcome(data: bytes) -> str:
    try:
        use(load_image(data))
    except ImageError as error:
        return "refused" if str(error) else "refused without a word"
    return "usable"


def test_ten_thousand_mutated_images_end_in_an_image_or_one_sentence() -> None:
    rng = random.Random(20261123)
    *small, grub = corpus()
    assert all(outcome(data) == "usable" for data in (*small, grub))
    ends: Counter[str] = Counter()
    for number in range(IMAGES):
        data = mutate(grub if number < GRUB_IMAGES else small[number % len(small)], rng)
        ends[outcome(data)] += 1
    # A mutation that never hurts, or always kills, would test nothing.
    assert ends["usable"] > IMAGES // 10
    assert ends["refused"] > IMAGES // 10
