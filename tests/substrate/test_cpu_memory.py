"""Page walks and guest copies."""

import struct

import pytest

from paravane.cpu import PAE, PAGE_SIZE, TWO_LEVEL, PageFault, Ram
from tests.support.cpu_bench import CODE, DATA, DATA_MFN, ROOT, STACK_MFN, TABLES, USER, USER_MFN, Bench

PRESENT, RW, US, ACCESSED, DIRTY, LARGE = 1, 2, 4, 0x20, 0x40, 0x80


def test_translate_gives_the_machine_address(any_bench: Bench) -> None:
    assert any_bench.cpu.translate(DATA + 0x123) == DATA_MFN * PAGE_SIZE + 0x123


@pytest.mark.parametrize(
    ("flags", "write", "user", "error_code"),
    [
        pytest.param(0, False, False, 0, id="absent-read"),
        pytest.param(0, True, False, 2, id="absent-write"),
        pytest.param(0, False, True, 4, id="absent-user-read"),
        pytest.param(0, True, True, 6, id="absent-user-write"),
        pytest.param(PRESENT, True, False, 3, id="read-only-write"),
        pytest.param(PRESENT | RW, False, True, 5, id="kernel-user-read"),
        pytest.param(PRESENT | RW, True, True, 7, id="kernel-user-write"),
        pytest.param(PRESENT | US, True, True, 7, id="read-only-user-write"),
    ],
)
def test_refused_accesses_carry_the_hardware_error_code(
    any_bench: Bench, flags: int, write: bool, user: bool, error_code: int
) -> None:
    any_bench.map(DATA, DATA_MFN, flags)
    with pytest.raises(PageFault) as fault:
        any_bench.cpu.translate(DATA + 5, write=write, user=user)
    assert (fault.value.va, fault.value.error_code) == (DATA + 5, error_code)


def test_write_protect_off_lets_the_kernel_write_read_only_pages(any_bench: Bench) -> None:
    any_bench.map(DATA, DATA_MFN, PRESENT)
    any_bench.map(USER, USER_MFN, PRESENT | US)
    any_bench.cpu.cr0 &= ~(1 << 16)
    any_bench.cpu.write(DATA, b"x")
    assert any_bench.cpu.read(DATA, 1) == b"x"
    with pytest.raises(PageFault):
        any_bench.cpu.write(USER, b"x", user=True)


def test_reading_sets_accessed_and_writing_sets_dirty(any_bench: Bench) -> None:
    bench = any_bench
    bench.map(DATA, DATA_MFN, PRESENT | RW)
    bench.cpu.read(DATA, 4)
    assert bench.pte(DATA) & (ACCESSED | DIRTY) == ACCESSED
    bench.cpu.write(DATA, b"abcd")
    assert bench.pte(DATA) & (ACCESSED | DIRTY) == ACCESSED | DIRTY
    upper = bench.ram.quads[TABLES << 9] if bench.geometry is PAE else bench.ram.words[ROOT << 10]
    assert upper & ACCESSED
    assert not upper & DIRTY


def test_a_refused_access_sets_no_bits(any_bench: Bench) -> None:
    any_bench.map(DATA, DATA_MFN, PRESENT)
    with pytest.raises(PageFault):
        any_bench.cpu.translate(DATA, write=True)
    assert not any_bench.pte(DATA) & (ACCESSED | DIRTY)


@pytest.mark.parametrize(
    ("entry", "mfn"),
    [
        pytest.param(DATA_MFN << 12 | PRESENT, DATA_MFN, id="never-used"),
        pytest.param(DATA_MFN << 12 | PRESENT | ACCESSED | DIRTY, DATA_MFN, id="read-only"),
        pytest.param(DATA_MFN << 12 | RW | US | ACCESSED, None, id="absent"),
        pytest.param(0xFFFFF << 12 | PRESENT, None, id="past-the-end"),
        pytest.param(0, None, id="empty"),
    ],
)
def test_the_frame_of_a_page_is_told_whatever_its_rights(
    any_bench: Bench, entry: int, mfn: int | None
) -> None:
    bench = any_bench
    bench.map(DATA, entry >> 12, entry & 0xFFF)
    upper = bench.ram.quads[TABLES << 9] if bench.geometry is PAE else bench.ram.words[ROOT << 10]
    assert bench.cpu.frame_at(DATA + 0x123) == mfn
    assert bench.cpu.frame_at(0x1_0000_0123 + DATA) == mfn
    assert bench.pte(DATA) == entry, "no bit was set"
    assert upper == (bench.ram.quads[TABLES << 9] if bench.geometry is PAE else bench.ram.words[ROOT << 10])


@pytest.mark.parametrize("odd", [1 << 52, 1 << 62, 1 << 63])
def test_the_frame_of_a_page_is_told_whatever_its_reserved_bits(bench: Bench, odd: int) -> None:
    bench.map(DATA, DATA_MFN, PRESENT)
    maddr = bench.cpu.walk(DATA)[-1].maddr
    bench.ram.quads[maddr >> 3] |= odd
    assert bench.cpu.frame_at(DATA) == DATA_MFN


def test_large_pages_and_tables_out_of_memory_have_the_frames_they_name(bench: Bench) -> None:
    maddr = bench.cpu.walk(DATA)[1].maddr
    bench.ram.quads[maddr >> 3] = PRESENT | LARGE
    assert bench.cpu.frame_at(DATA + 3 * PAGE_SIZE) == (DATA >> 12 & 0x1FF) + 3
    bench.ram.quads[maddr >> 3] = 0xFFFFF << 12 | PRESENT
    assert bench.cpu.frame_at(DATA) is None
    bench.ram.quads[maddr >> 3] = 0
    assert bench.cpu.frame_at(DATA) is None


def test_copies_cross_pages(any_bench: Bench) -> None:
    data = bytes(range(256)) * 40
    any_bench.cpu.write(CODE + 0xF80, data)
    assert any_bench.cpu.read(CODE + 0xF80, len(data)) == data
    assert any_bench.ram.read(DATA_MFN * PAGE_SIZE, 16) == data[0x80:0x90]


def test_a_write_that_faults_midway_has_written_what_precedes(any_bench: Bench) -> None:
    any_bench.map(DATA + PAGE_SIZE, STACK_MFN, 0)
    with pytest.raises(PageFault) as fault:
        any_bench.cpu.write(DATA + 0xFFC, b"12345678")
    assert (fault.value.va, fault.value.error_code) == (DATA + 0x1000, 2)
    assert any_bench.cpu.read(DATA + 0xFFC, 4) == b"1234"


def test_a_read_that_faults_midway_names_the_first_bad_byte(any_bench: Bench) -> None:
    any_bench.map(DATA + PAGE_SIZE, STACK_MFN, 0)
    with pytest.raises(PageFault) as fault:
        any_bench.cpu.read(DATA + 0xFFC, 8)
    assert fault.value.va == DATA + 0x1000


def test_empty_copies_touch_what_they_name_only_when_not_empty(any_bench: Bench) -> None:
    assert any_bench.cpu.read(DATA, 0) == b""
    any_bench.cpu.write(DATA, b"")
    assert not any_bench.pte(DATA) & DIRTY


def test_addresses_wrap_at_four_gigabytes(any_bench: Bench) -> None:
    any_bench.map(0, USER_MFN, PRESENT | RW)
    with pytest.raises(PageFault) as fault:
        any_bench.cpu.read(0xFFFFFFFC, 8)
    assert fault.value.va == 0xFFFFFFFC
    assert any_bench.cpu.translate(0x1_0000_0000 + DATA) == DATA_MFN * PAGE_SIZE


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 0xFFD, 0xFFE, 0xFFF])
def test_words_at_any_alignment(any_bench: Bench, offset: int) -> None:
    any_bench.cpu.write_u32(DATA + offset, 0x1_89ABCDEF)
    assert any_bench.cpu.read_u32(DATA + offset) == 0x89ABCDEF
    assert any_bench.cpu.read(DATA + offset, 4) == struct.pack("<I", 0x89ABCDEF)


@pytest.mark.parametrize("entry", [0x7FFFFFFF000 | 3, 0x40000 | 3], ids=hex)
def test_a_frame_beyond_machine_memory_is_a_page_fault(bench: Bench, entry: int) -> None:
    bench.set_pte(DATA, entry)
    with pytest.raises(PageFault) as fault:
        bench.cpu.read(DATA, 4)
    assert fault.value.va == DATA


def test_a_table_beyond_machine_memory_is_a_page_fault(any_bench: Bench) -> None:
    any_bench.cpu.cr3 = 0x7FFF0000
    with pytest.raises(PageFault) as fault:
        any_bench.cpu.read(DATA, 4)
    assert fault.value.error_code == 0
    assert any_bench.cpu.walk(DATA) == []


@pytest.mark.parametrize("bit", [40, 51, 62])
def test_reserved_bits_are_page_faults(bench: Bench, bit: int) -> None:
    bench.set_pte(DATA, DATA_MFN << 12 | 3 | 1 << bit)
    with pytest.raises(PageFault) as fault:
        bench.cpu.read(DATA, 4)
    assert fault.value.error_code == 9


def test_no_execute_does_not_stop_data_accesses(bench: Bench) -> None:
    bench.set_pte(DATA, DATA_MFN << 12 | 3 | 1 << 63)
    assert bench.cpu.translate(DATA, write=True) == DATA_MFN * PAGE_SIZE


def test_walk_shows_every_entry_down_to_the_hole(bench: Bench) -> None:
    steps = bench.cpu.walk(DATA)
    assert [step.level for step in steps] == [3, 2, 1]
    assert steps[-1].maddr == bench.pte_slot(DATA)
    assert steps[-1].entry == bench.pte(DATA)
    assert [step.level for step in bench.cpu.walk(0x60000)] == [3, 2, 1]
    assert [step.level for step in bench.cpu.walk(0x40000000)] == [3]


def test_walk_of_two_levels() -> None:
    bench = Bench(geometry=TWO_LEVEL)
    assert [step.level for step in bench.cpu.walk(DATA)] == [2, 1]
    assert [step.level for step in bench.cpu.walk(0x40000000)] == [2]
    bench.close()


def test_large_pages_are_followed(bench: Bench) -> None:
    bench.ram.quads[(TABLES << 9) + 1] = 0x80 | 3
    assert bench.cpu.translate(0x200000 + DATA, write=True) == DATA
    assert [step.level for step in bench.cpu.walk(0x200000)] == [3, 2]
    assert bench.ram.quads[(TABLES << 9) + 1] & (ACCESSED | DIRTY) == ACCESSED | DIRTY


@pytest.mark.parametrize("flags", [1, 3, 5, 7, 0x25, 0x67])
@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("write", [False, True])
def test_python_and_engine_agree_on_every_access(
    any_bench: Bench, flags: int, ring: int, write: bool
) -> None:
    bench = any_bench
    bench.map(DATA, DATA_MFN, flags)
    try:
        bench.cpu.translate(DATA, write=write, user=ring == 3)
        expected = None
    except PageFault as fault:
        expected = fault.error_code
    bits_by_python = bench.pte(DATA)
    bench.map(DATA, DATA_MFN, flags)
    if ring == 3:
        bench.user()
    code = (b"\xc6\x05" if write else b"\x80\x3d") + struct.pack("<I", DATA) + b"\x01\xcd\x20"
    trap = bench.run(code, at=USER if ring == 3 else CODE)[0]
    assert (trap.error_code if trap.kind == "exception" else None) == expected
    assert bench.pte(DATA) == bits_by_python


def test_ram_refuses_ranges_outside_itself() -> None:
    ram = Ram(2)
    for maddr, size in ((-1, 1), (0x1FFF, 2), (0x2000, 1), (0, -1)):
        with pytest.raises(IndexError):
            ram.read(maddr, size)
    with pytest.raises(IndexError):
        ram.write(0x1FFF, b"ab")
    with pytest.raises(ValueError, match="at least one frame"):
        Ram(0)
    ram.close()
    ram.close()


def test_ram_views_show_the_same_memory() -> None:
    ram = Ram(4)
    ram.write(8, struct.pack("<Q", 0x1122334455667788))
    assert ram.quads[1] == 0x1122334455667788
    assert ram.words[2] == 0x55667788
    ram.clear_frames(range(0, 4, 3))
    assert ram.read(0, 16) == bytes(16)
    ram.close()


def test_ram_outlives_its_processors(bench: Bench) -> None:
    with pytest.raises(ValueError, match="still mapped"):
        bench.ram.close()
