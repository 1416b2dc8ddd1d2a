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
from tests.support.memory_bench import DATA, READ_ONLY
from tests.support.memory_live import CODE, DONE, PLAIN, TABLE, Live

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
    "arpl %dx,m": b"\x63\x15AAAA",
    "mov %eax,(%bx)": b"\x67\x89\x07",
    "push %eax": b"\x50",
    "push %esp": b"\x54",
    "push %dx": b"\x66\x52",
    "push $imm8": b"\x6a\xfe",
    "push $imm32": b"\x68\x78\x56\x34\x12",
    "pushw $": b"\x66\x68\x34\x12",
    "pushl 0xA820": b"\xff\x35\x20\xa8\x00\x00",
    "pushl 4(%esp)": b"\xff\x74\x24\x04",
    "pushf": b"\x9c",
    "pushfw": b"\x66\x9c",
    "pusha": b"\x60",
    "call rel": b"\xe8\x00\x00\x00\x00",
    "call *%edi": b"\xff\xd7",
    "enter $16,$0": b"\xc8\x10\x00\x00",
    "enter $16,$1": b"\xc8\x10\x00\x01",
    "enter $8,$3": b"\xc8\x08\x00\x03",
    "pop m": b"\x8f\x05AAAA",
    "popw m": b"\x66\x8f\x05AAAA",
    "pop (%esp)": b"\x8f\x04\x24",
    "pop -4(%esp)": b"\x8f\x44\x24\xfc",
    "std; rep movsw; cld": b"\xfd\x66\xf3\xa5\xfc",
}
INSTRUCTIONS |= {f"setcc {code:#x}": bytes((0x0F, 0x90 + code, 0x05)) + b"AAAA" for code in range(16)}
SHIFTS = ("rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar")
for number, shift_name in enumerate(SHIFTS):
    modrm = bytes((number << 3 | 5,)) + b"AAAA"
    INSTRUCTIONS |= {
        f"{shift_name} m by 1": b"\xd1" + modrm,
        f"{shift_name}b m by 1": b"\xd0" + modrm,
        f"{shift_name}w m by 1": b"\x66\xd1" + modrm,
        f"{shift_name} m by 5": b"\xc1" + modrm + b"\x05",
        f"{shift_name}b m by 3": b"\xc0" + modrm + b"\x03",
        f"{shift_name}b m by 19": b"\xc0" + modrm + b"\x13",
        f"{shift_name}w m by 32": b"\x66\xc1" + modrm + b"\x20",
        f"{shift_name} m by %cl": b"\xd3" + modrm,
    }
for opcode, shift_name in ((0xA4, "shld"), (0xAC, "shrd")):
    INSTRUCTIONS |= {
        f"{shift_name} %edx,m by 1": bytes((0x0F, opcode, 0x15)) + b"AAAA\x01",
        f"{shift_name} %edx,m by 7": bytes((0x0F, opcode, 0x15)) + b"AAAA\x07",
        f"{shift_name} %dx,m by 5": bytes((0x66, 0x0F, opcode, 0x15)) + b"AAAA\x05",
        f"{shift_name} %edx,m by %cl": bytes((0x0F, opcode + 1, 0x15)) + b"AAAA",
    }
STACK_DOWN = ("push", "call", "enter")
STRINGS = ("stos", "movs")


def defined_flags(name: str) -> int:
    """The flags that an instruction leaves defined: OF of a shift only when it is by 1, AF never."""
    if name[:3] not in (*SHIFTS, "shl", "shr"):
        return ARITHMETIC_FLAGS
    rotates = name[:3] in ("rol", "ror", "rcl", "rcr")
    flags = ARITHMETIC_FLAGS if rotates else ARITHMETIC_FLAGS & ~0x10
    if "by 1" not in name or "by 19" in name:
        flags &= ~0x800
    # A count beyond the operand leaves CF of a shift undefined.
    return flags & ~1 if "by 19" in name and not rotates else flags


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
    cpu.esp = PLAIN + 0x820
    if name.startswith(STACK_DOWN):
        cpu.esp, cpu.ebp = (
            address + (2 if "w" in name.split(maxsplit=1)[0] or "%dx" in name else 4),
            address + 0x20,
        )
        cpu.edi = CODE + len(code) if "call" in name else 0x1234
    if name.startswith("pop "):
        cpu.esp = {"pop (%esp)": address - 4, "pop -4(%esp)": address}.get(name, cpu.esp)
    cpu.eflags = 0x202 | values.getrandbits(12) & ARITHMETIC_FLAGS
    before = live.faults.mended
    assert live.run(code.replace(b"AAAA", struct.pack("<I", address))) == DONE
    assert (live.faults.mended > before) == (page == TABLE) or (cpu.ecx == 0 and "rep" in name)
    after = live.ram.read((mfn << 12) + SLOT * 8 - 64, 128)
    live.ram.write((mfn << 12) + SLOT * 8 - 64, bytes(128))
    gprs = list(cpu.gprs())
    gprs[3] -= page
    gprs[7] -= page if any(word in name for word in STRINGS) else 0
    if name.startswith(STACK_DOWN) or "(%esp)" in name:
        after = relative(after, page)
        gprs[4] -= page
        gprs[5] -= page if name.startswith(STACK_DOWN) else 0
    return after, tuple(gprs), cpu.eflags & defined_flags(name)


def relative(contents: bytes, page: int) -> bytes:
    """Memory in which addresses of the plain page, pushed there, are those of the table."""
    form = f"<{len(contents) // 4}I"
    words = struct.unpack(form, contents)
    if page == PLAIN:
        words = tuple(word - PLAIN + TABLE if word & 0xFFFF_F000 == PLAIN else word for word in words)
    return struct.pack(form, *words)


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
    assert fix_page_fault(live.paging, TABLE, 7 | 8) == (14, 7 | 8)
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


def test_a_push_counts_in_sp_where_the_stack_segment_uses_that(live: Live) -> None:
    """What is above SP in ESP is no part of the address, and stays."""
    gdt = (live.bench.frame(60) << 12) + 8
    live.ram.write(gdt, struct.pack("<Q", 0x0000B200_00000000 | SEGMENT_BASE << 16 | 0xFFFF))
    live.paging.set_gdt([live.bench.frame(60)], 2)
    live.cpu.load_segment("ss", SEGMENT)
    offset = TABLE - SEGMENT_BASE + SLOT * 8
    live.cpu.esp, live.cpu.eax = 0xABCD_0000 | offset + 4, 0x1230
    assert live.run(INSTRUCTIONS["push %eax"]) == DONE
    assert live.bench.read_entry(5, SLOT) == 0x1230
    assert live.cpu.esp == 0xABCD_0000 | offset


ADDRESS = struct.pack("<I", TABLE + SLOT * 8)
LEFT_TO_THE_GUEST = {
    "mov %es,m": b"\x8c\x05" + ADDRESS,
    "movw %es,m": b"\x66\x8c\x05" + ADDRESS,
    "push %es": b"\x06",
    "push %fs": b"\x0f\xa0",
    "lcall $": b"\x9a\x00\x80\x00\x00\x19\xe0",
    "fnstcw m": b"\xd9\x3d" + ADDRESS,
    "fstps m": b"\xd9\x1d" + ADDRESS,
    "movss %xmm0,m": b"\xf3\x0f\x11\x05" + ADDRESS,
    "movq %mm0,m": b"\x0f\x7f\x05" + ADDRESS,
}


@pytest.mark.parametrize("name", LEFT_TO_THE_GUEST)
def test_stores_that_xens_emulator_does_not_do_are_the_guests_fault(live: Live, name: str) -> None:
    """They would need a segment register or the FPU, which Xen does not give it for page tables."""
    live.cpu.esp = TABLE + SLOT * 8 + 4
    assert live.run(LEFT_TO_THE_GUEST[name])[:2] == ("exception", 14)
    assert live.bench.read_entry(5, SLOT) == 0
    assert audit(live.machine) == []


@pytest.mark.parametrize("name", ["mov %eax,m", "push %eax", "rol m by 1", "call rel", "stosl"])
def test_a_single_step_reports_right_after_an_emulated_store(live: Live, name: str) -> None:
    code, cpu = INSTRUCTIONS[name], live.cpu
    address = TABLE + SLOT * 8 + 4
    cpu.esp, cpu.edi, cpu.eflags = address + 4, address, 0x302
    assert live.run(code.replace(b"AAAA", struct.pack("<I", address))) == ("exception", 1, 0)
    assert (cpu.eip, live.faults.mended) == (CODE + len(code), 1)
    assert cpu.eflags & 0x100


def test_a_single_step_reports_after_each_element_of_a_string(live: Live) -> None:
    cpu = live.cpu
    cpu.edi, cpu.ecx, cpu.eax, cpu.eflags = TABLE + SLOT * 8, 3, 0x2000, 0x302
    cpu.write(CODE, INSTRUCTIONS["rep stosl"])
    for left, eip in ((2, CODE), (1, CODE), (0, CODE + 2)):
        cpu.run()
        assert live.faults.seen[-1] == ("exception", 1, 0)
        assert (cpu.ecx, cpu.eip) == (left, eip)


def test_another_page_that_an_emulated_store_needs_is_the_guests_fault_with_its_address(live: Live) -> None:
    """ENTER pushes to the table first, then reads the frames above, which are not there."""
    cpu = live.cpu
    cpu.esp, cpu.ebp = TABLE + SLOT * 8 + 8, 0x60000
    assert live.run(INSTRUCTIONS["enter $8,$3"]) == ("exception", 14, 0)
    assert (cpu.cr2, cpu.eip, cpu.esp) == (0x5FFFC, CODE, TABLE + SLOT * 8 + 8)
    assert audit(live.machine) == []


def test_a_stack_that_runs_out_of_the_table_is_the_guests_fault(live: Live) -> None:
    """PUSHA whose last words would go to the page below: what was pushed stays, registers do not move."""
    live.cpu.esp, live.cpu.eax = TABLE + 8, 0x1000
    assert live.run(INSTRUCTIONS["pusha"]) == ("exception", 14, 3)
    assert live.cpu.esp == TABLE + 8
    assert audit(live.machine) == []


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
    assert cpu.cr2 == TABLE + SLOT * 8 + 16
    assert live.bench.read_entry(5, SLOT + 1) == good
    assert audit(live.machine) == []


@pytest.mark.parametrize(
    "code",
    [
        b"\xa1\x00\x50\x00\x00",
        b"\x39\x05\x00\x50\x00\x00",
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
