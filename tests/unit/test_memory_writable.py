"""Writable page tables on a real processor: emulated stores do what the processor itself does."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from paravane.abi.hypercall import VmassistCmd, VmassistType
from paravane.cpu import PAE, TWO_LEVEL, Geometry
from paravane.memory import audit, fix_page_fault
from paravane.memory.instruction import StoreDecoder
from tests.unit.memory_bench import DATA, READ_ONLY
from tests.unit.memory_live import CODE, DONE, PLAIN, TABLE, Live

if TYPE_CHECKING:
    from collections.abc import Iterator

ARITHMETIC_FLAGS = 0x8D5
SLOT = 200
"""An entry of the L1 table that maps nothing."""


@pytest.fixture
def live() -> Iterator[Live]:
    live = Live()
    live.domain.set_assist(VmassistCmd.enable, VmassistType.writable_pagetables)
    yield live
    live.close()


# Each line: the instruction with AAAA where the address goes, and the bytes it may touch from it.
INSTRUCTIONS = {
    "mov %eax,m": b"\x89\x05AAAA",
    "mov %eax,moffs": b"\xa3AAAA",
    "mov %al,m": b"\x88\x05AAAA",
    "mov %ah,m": b"\x88\x25AAAA",
    "mov %dx,m": b"\x66\x89\x15AAAA",
    "movl $,m": b"\xc7\x05AAAA\x34\x12\xcd\xab",
    "movw $,m": b"\x66\xc7\x05AAAA\x34\x12",
    "movb $,m": b"\xc6\x05AAAA\x34",
    "movnti %edx,m": b"\x0f\xc3\x15AAAA",
    "add %ecx,m": b"\x01\x0dAAAA",
    "adc %ecx,m": b"\x11\x0dAAAA",
    "sub %ecx,m": b"\x29\x0dAAAA",
    "sbb %ecx,m": b"\x19\x0dAAAA",
    "and %ecx,m": b"\x21\x0dAAAA",
    "or %ecx,m": b"\x09\x0dAAAA",
    "xor %ecx,m": b"\x31\x0dAAAA",
    "add $-2,m": b"\x83\x05AAAA\xfe",
    "orl $,m": b"\x81\x0dAAAA\x78\x56\x34\x12",
    "addb $,m": b"\x80\x05AAAA\x7f",
    "subw $,m": b"\x66\x81\x2dAAAA\x01\x80",
    "inc m": b"\xff\x05AAAA",
    "dec m": b"\xff\x0dAAAA",
    "not m": b"\xf7\x15AAAA",
    "neg m": b"\xf7\x1dAAAA",
    "negb m": b"\xf6\x1dAAAA",
    "lock inc m": b"\xf0\xff\x05AAAA",
    "lock and %ecx,m": b"\xf0\x21\x0dAAAA",
    "xchg %edx,m": b"\x87\x15AAAA",
    "xchg %dh,m": b"\x86\x35AAAA",
    "xadd %edx,m": b"\x0f\xc1\x15AAAA",
    "lock xadd %dx,m": b"\xf0\x66\x0f\xc1\x15AAAA",
    "cmpxchg %edx,m": b"\x0f\xb1\x15AAAA",
    "lock cmpxchg %dl,m": b"\xf0\x0f\xb0\x15AAAA",
    "bts $7,m": b"\x0f\xba\x2dAAAA\x07",
    "btr $8,m": b"\x0f\xba\x35AAAA\x08",
    "btc $31,m": b"\x0f\xba\x3dAAAA\x1f",
    "bts %ecx,m": b"\x0f\xab\x0dAAAA",
    "btr %ecx,m": b"\x0f\xb3\x0dAAAA",
    "btc %ecx,m": b"\x0f\xbb\x0dAAAA",
    "mov %eax,(%ebx,%esi,8)": b"\x89\x04\xf3",
    "mov %eax,-8(%ebx)": b"\x89\x43\xf8",
    "stosl": b"\xab",
    "stosb": b"\xaa",
    "stosw": b"\x66\xab",
    "movsl": b"\xa5",
    "rep stosl": b"\xf3\xab",
    "rep stosb": b"\xf3\xaa",
    "std; rep stosl; cld": b"\xfd\xf3\xab\xfc",
    "rep movsl": b"\xf3\xa5",
    "std; rep movsw; cld": b"\xfd\x66\xf3\xa5\xfc",
}
STRINGS = ("stos", "movs")
SEGMENT, SEGMENT_BASE = 0x09, 0x3000
"""A data segment of ring 1, 4 GiB long, that starts at this linear address."""


def execute(live: Live, code: bytes, page: int, name: str, seed: int) -> tuple[bytes, tuple[int, ...], int]:
    """Memory around the slot, registers and flags after running at `page`, starting from what `seed` says."""
    values = random.Random(seed)
    cpu, address = live.cpu, page + SLOT * 8 + 4
    contents = bytearray(values.randbytes(128))
    contents[::8] = bytes(byte & 0xFE for byte in contents[::8])  # nothing here is present
    mfn = cpu.translate(page) >> 12
    live.ram.write((mfn << 12) + SLOT * 8 - 64, contents)
    cpu.write(PLAIN + 0x800, bytes(byte & 0xFE for byte in values.randbytes(64)))
    cpu.eax, cpu.edx, cpu.ebp = (values.getrandbits(32) & ~1 for _ in range(3))
    cpu.ecx = values.getrandbits(5) & 0x1E
    if name.startswith("cmpxchg") and seed % 2:
        cpu.eax = cpu.read_u32(address)
    cpu.ebx, cpu.esi = address, 0
    if any(word in name for word in STRINGS):
        cpu.edi, cpu.esi = address, PLAIN + 0x820
        cpu.ecx = min(cpu.ecx, 12)
    cpu.eflags = 0x202 | values.getrandbits(12) & ARITHMETIC_FLAGS
    before = live.faults.mended
    assert live.run(code.replace(b"AAAA", struct.pack("<I", address))) == DONE
    assert (live.faults.mended > before) == (page == TABLE) or (cpu.ecx == 0 and "rep" in name)
    after = live.ram.read((mfn << 12) + SLOT * 8 - 64, 128)
    live.ram.write((mfn << 12) + SLOT * 8 - 64, bytes(128))
    gprs = list(cpu.gprs())
    gprs[3] -= page
    gprs[7] -= page if any(word in name for word in STRINGS) else 0
    return after, tuple(gprs), cpu.eflags & ARITHMETIC_FLAGS


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_an_emulated_store_does_what_the_processor_does(live: Live, name: str) -> None:
    for seed in range(8):
        native = execute(live, INSTRUCTIONS[name], PLAIN, name, seed)
        emulated = execute(live, INSTRUCTIONS[name], TABLE, name, seed)
        assert emulated == native, seed
    assert audit(live.machine) == []


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("prefix", [b"", b"\xf0"])
def test_cmpxchg8b_changes_a_whole_entry(live: Live, prefix: bytes, equal: bool) -> None:
    cpu, frame = live.cpu, live.bench.frame
    cpu.eax, cpu.edx = (0, 0) if equal else (1, 0)
    new = frame(60) << 12 | DATA
    cpu.ebx, cpu.ecx = new & 0xFFFFFFFF, new >> 32
    assert live.run(prefix + b"\x0f\xc7\x0d" + struct.pack("<I", TABLE + SLOT * 8)) == DONE
    assert live.bench.read_entry(5, SLOT) == (new if equal else 0)
    assert bool(cpu.eflags & 0x40) == equal
    assert (cpu.eax, cpu.edx) == (0, 0)
    assert audit(live.machine) == []


def store(live: Live, address: int, value: int) -> tuple[str, int, int]:
    return live.run(b"\xc7\x05" + struct.pack("<II", address, value))


def test_an_entry_written_in_two_halves_is_checked_when_it_is_present(live: Live) -> None:
    entry = live.bench.entry(60, DATA) | 1 << 63
    assert store(live, TABLE + SLOT * 8 + 4, entry >> 32) == DONE
    assert live.machine.frames.count[live.bench.frame(60)] == 1
    assert store(live, TABLE + SLOT * 8, entry & 0xFFFFFFFF) == DONE
    assert live.bench.read_entry(5, SLOT) == entry
    assert live.machine.frames.type_count[live.bench.frame(60)] == 1
    assert audit(live.machine) == []


def test_halves_in_the_wrong_order_leave_the_entry_not_present_in_between(live: Live) -> None:
    live.bench.domain.machine.tables.l1.put_entry(0, live.domain)
    assert store(live, TABLE + SLOT * 8, live.bench.entry(60, DATA)) == DONE
    assert store(live, TABLE + SLOT * 8 + 4, 0x000F_0000) == DONE
    assert live.bench.read_entry(5, SLOT) == 0x000F_0000 << 32 | live.bench.entry(60, DATA) & ~1
    assert live.machine.frames.count[live.bench.frame(60)] == 1
    assert audit(live.machine) == []


def test_a_store_that_would_be_refused_is_the_guests_fault(live: Live) -> None:
    before = live.bench.read_entry(5, SLOT)
    assert store(live, TABLE + SLOT * 8, live.bench.entry(5, DATA)) == ("exception", 14, 3)
    assert (live.cpu.eip, live.cpu.cr2) == (CODE, TABLE + SLOT * 8)
    assert live.bench.read_entry(5, SLOT) == before
    assert audit(live.machine) == []


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_a_misaligned_store_is_the_guests_fault(live: Live, offset: int) -> None:
    assert store(live, TABLE + SLOT * 8 + offset, 0) == ("exception", 14, 3)


@pytest.mark.parametrize("pfn", [0, 1, 4])
def test_stores_to_upper_tables_are_the_guests_fault(live: Live, pfn: int) -> None:
    assert store(live, pfn * 4096 + 8 * 100, 0) == ("exception", 14, 3)


def test_stores_to_a_descriptor_table_are_the_guests_fault(live: Live) -> None:
    index = (live.bench.frame(5) << 9) + 20
    live.machine.tables.l1.put_entry(live.domain.entries[index], live.domain)
    live.domain.entries[index] = live.machine.tables.l1.get_entry(
        live.bench.entry(20, READ_ONLY), live.domain, 1
    )
    live.paging.set_gdt([live.bench.frame(20)], 512)
    assert store(live, 20 * 4096, 0) == ("exception", 14, 3)


def test_without_the_assist_every_store_is_the_guests_fault(live: Live) -> None:
    live.domain.set_assist(VmassistCmd.disable, VmassistType.writable_pagetables)
    assert store(live, TABLE + SLOT * 8, 0) == ("exception", 14, 3)


def test_applications_never_get_their_stores_emulated(live: Live) -> None:
    assert not fix_page_fault(live.paging, TABLE, 7 | 8)
    live.cpu.enter(cs=0xE02B, eip=CODE, eflags=0x202, cpl=3, ss=0xE033, esp=0xA000)
    live.cpu.load_segment("ds", 0xE033)
    assert store(live, TABLE + SLOT * 8, 0) == ("exception", 14, 7)


@pytest.mark.parametrize(
    ("segment", "code"),
    [
        ("ds", b"\x89\x05AAAA"),
        ("es", b"\x26\x89\x05AAAA"),
        ("fs", b"\x64\x89\x05AAAA"),
        ("gs", b"\x65\xa3AAAA"),
        ("es", b"\x89\xc2\xbfAAAA\xab"),
        ("ds", b"\xa3\x00\x71\x00\x00\xbfAAAA\xbe\x00\x71\x00\x00\xa5"),
    ],
)
def test_a_store_through_a_segment_goes_to_its_linear_address(live: Live, segment: str, code: bytes) -> None:
    gdt = (live.bench.frame(60) << 12) + 8
    live.ram.write(gdt, struct.pack("<Q", 0x00CFB200_00000000 | SEGMENT_BASE << 16 | 0xFFFF))
    live.paging.set_gdt([live.bench.frame(60)], 2)
    live.cpu.load_segment(segment, SEGMENT)
    live.cpu.eax = live.bench.entry(61, READ_ONLY)
    address = TABLE + SLOT * 8 - (0 if code[-1] == 0xA5 else SEGMENT_BASE)
    assert live.run(code.replace(b"AAAA", struct.pack("<I", address))) == DONE
    assert live.faults.mended == 1
    assert live.bench.read_entry(5, SLOT) == live.bench.entry(61, READ_ONLY)
    assert audit(live.machine) == []


def test_code_that_does_not_start_at_zero_is_found(live: Live) -> None:
    gdt = (live.bench.frame(60) << 12) + 8
    live.ram.write(gdt, struct.pack("<Q", 0x00CFBA00_00000000 | SEGMENT_BASE << 16 | 0xFFFF))
    live.paging.set_gdt([live.bench.frame(60)], 2)
    live.cpu.write(CODE, b"\xc7\x05" + struct.pack("<II", TABLE + SLOT * 8, 0x1230) + b"\xcd\x82")
    live.cpu.enter(cs=SEGMENT, eip=CODE - SEGMENT_BASE, eflags=0x202, cpl=1)
    live.cpu.run()
    assert live.faults.seen[-1] == DONE
    assert live.bench.read_entry(5, SLOT) == 0x1230


@pytest.mark.parametrize("prefix", [b"", b"\x66"])
def test_a_segment_register_is_stored_as_its_16_bits(live: Live, prefix: bytes) -> None:
    live.cpu.load_segment("es", 0xE020)
    assert store(live, TABLE + SLOT * 8, 0x12345678) == DONE
    assert live.run(prefix + b"\x8c\x05" + struct.pack("<I", TABLE + SLOT * 8)) == DONE
    assert live.bench.read_entry(5, SLOT) == 0x1234E020


def test_an_unmapping_through_the_table_takes_effect_after_a_flush(live: Live) -> None:
    assert store(live, TABLE + 30 * 8, 0) == DONE
    live.cpu.flush_tlb()
    assert live.run(b"\xa1\x00\xe0\x01\x00") == ("exception", 14, 0)
    assert live.cpu.cr2 == 30 * 4096
    assert audit(live.machine) == []


def test_a_table_can_take_away_its_own_mapping(live: Live) -> None:
    assert store(live, TABLE + 5 * 8, 0) == DONE
    assert audit(live.machine) == []


def test_string_stores_stop_at_an_entry_that_is_refused(live: Live) -> None:
    cpu = live.cpu
    good, bad = live.bench.entry(60, READ_ONLY), live.bench.entry(5, DATA)
    cpu.write(PLAIN, struct.pack("<QQQ", good, good, bad))
    cpu.esi, cpu.edi, cpu.ecx = PLAIN, TABLE + SLOT * 8, 6
    assert live.run(b"\xf3\xa5") == ("exception", 14, 3)
    assert (cpu.ecx, cpu.edi, cpu.esi) == (2, TABLE + SLOT * 8 + 16, PLAIN + 16)
    assert live.bench.read_entry(5, SLOT + 1) == good
    assert audit(live.machine) == []


@pytest.mark.parametrize(
    "code",
    [
        b"\xa1\x00\x50\x00\x00",
        b"\x39\x05\x00\x50\x00\x00",
        b"\x67\x89\x07",
        b"\x0f\xff",
        b"\xff\xff",
        b"",
        b"\x66" * 15,
    ],
)
def test_what_is_no_store_is_not_decoded_as_one(code: bytes) -> None:
    assert StoreDecoder().decode(code) is None


def test_random_bytes_never_upset_the_decoder() -> None:
    decoder, values = StoreDecoder(), random.Random(1)
    sizes = {store.size for _ in range(4000) if (store := decoder.decode(values.randbytes(15))) is not None}
    assert sizes >= {1, 4}


@pytest.mark.parametrize("geometry", [PAE, TWO_LEVEL])
def test_random_stores_to_a_table_never_break_the_counts(geometry: Geometry) -> None:
    live = Live(geometry)
    live.domain.set_assist(VmassistCmd.enable, VmassistType.writable_pagetables)
    values = random.Random(7)
    size = geometry.entry_size
    for _ in range(150):
        code = values.choice(list(INSTRUCTIONS.values()))
        at = TABLE + values.randrange(60, 4096 // size - 16) * size + values.choice([0, 0, 2, 4 % size])
        cpu = live.cpu
        cpu.eax = live.bench.entry(values.randrange(80), values.choice([DATA, READ_ONLY, 0])) & 0xFFFFFFFF
        cpu.ecx, cpu.edx = values.getrandbits(4), live.bench.entry(values.randrange(80), READ_ONLY)
        cpu.ebx, cpu.edi, cpu.esi = at, at, 0
        cpu.write(PLAIN, values.randbytes(64))
        live.run(code.replace(b"AAAA", struct.pack("<I", at)))
        assert audit(live.machine) == []
    assert live.faults.mended > 30
    live.close()
