"""Descriptors, GDT and LDT: nothing in a guest's tables may lead to ring 0."""

from __future__ import annotations

import struct

import pytest

from paravane.abi.errno import Errno
from paravane.memory import audit, fix_page_fault
from paravane.memory.address_space import GDT_LIMIT, gdt_address, ldt_address
from paravane.memory.descriptor_tables import read_gdt_frames, update_descriptor
from paravane.memory.descriptors import FLAT_DESCRIPTORS, check_descriptor, used
from paravane.memory.frames import SEG_DESC
from paravane.memory.vcpu_paging import Fix
from paravane.refusal import Refusal
from paravane.x86 import PageFaultCode
from tests.support.memory_bench import READ_ONLY, Bench, Guest, make_bench

HOLE = 0xF580_0000
CODE_RING1 = 0x00CFBB00_0000FFFF
DATA_RING3 = 0x00CFF300_0000FFFF
ACCESSED = 1 << 40


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(256, 80)
    bench.boot(mapped=40)
    return bench


def descriptor(kind: int, *, dpl: int = 3, system: bool = False, low: int = 0xFFFF, high: int = 0xC0) -> int:
    access = 0x80 | dpl << 5 | (0 if system else 0x10) | kind
    return (high << 16 | access << 8) << 32 | low


@pytest.mark.parametrize("kind", range(16))
@pytest.mark.parametrize("dpl", range(4))
def test_every_segment_below_ring_0_is_fine_and_ring_0_becomes_ring_1(kind: int, dpl: int) -> None:
    stored = check_descriptor(descriptor(kind, dpl=dpl), HOLE)
    assert stored == descriptor(kind, dpl=max(dpl, 1))


@pytest.mark.parametrize("dpl", range(4))
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15])
def test_every_present_system_descriptor_but_a_call_gate_is_refused(kind: int, dpl: int) -> None:
    assert check_descriptor(descriptor(kind, dpl=dpl, system=True), HOLE) is None


@pytest.mark.parametrize("kind", range(16))
def test_what_is_not_present_is_left_alone(kind: int) -> None:
    raw = descriptor(kind, dpl=0, system=True) & ~(1 << 47)
    assert check_descriptor(raw, HOLE) == raw


def test_a_64_bit_code_segment_is_refused() -> None:
    assert check_descriptor(CODE_RING1 | 1 << 53, HOLE) is None


@pytest.mark.parametrize("dpl", range(4))
def test_a_call_gate_gets_dpl_0_and_keeps_its_own_in_its_selector(dpl: int) -> None:
    gate = (0x1234 << 16 | (0x8C | dpl << 5) << 8) << 32 | 0x0010 << 16 | 0x5678
    stored = check_descriptor(gate, HOLE)
    assert stored is not None
    assert stored >> 45 & 3 == 0
    assert stored >> 16 & 0xFFFF == 0x0010 | max(dpl, 1)
    assert (stored & 0xFFFF, stored >> 48) == (0x5678, 0x1234)


@pytest.mark.parametrize(
    ("selector", "okay"),
    [(0x10, True), (0xDFF8, True), (0xE008, False), (0xE018, False), (0xE019, True), (0xE01A, False)]
    + [(0xE02B, False), (0xE00C, True), (0xFFFF, True), (0xFFF8, False)],
)
def test_a_call_gate_leads_to_guest_segments_only(selector: int, okay: bool) -> None:
    gate = 0x8C00 << 32 | selector << 16
    assert (check_descriptor(gate, HOLE) is not None) == okay


@pytest.mark.parametrize("bit", [37, 38, 39])
def test_reserved_bits_of_a_call_gate_are_refused(bit: int) -> None:
    assert check_descriptor(0x8C00 << 32 | 0x10 << 16 | 1 << bit, HOLE) is None


def test_a_flat_segment_that_reaches_the_hypervisor_reaches_all_of_it() -> None:
    limited = 0x00C6FB00_00000000 | 0xF_0000 << 32 & 0 | 0x6800
    flat = (0x00CFFB00 << 32) | 0x67FF
    assert check_descriptor(flat, HOLE) == (0x00CFFB00 << 32) | 0xFFFF
    assert check_descriptor(limited, HOLE) == limited
    below = (0x00CFFB00 << 32) | 0x57FF
    assert check_descriptor(below, HOLE) == below


def test_only_a_present_segment_is_marked_by_its_use() -> None:
    assert used(CODE_RING1 & ~ACCESSED) == CODE_RING1
    for raw in (CODE_RING1, 0, 0x8C00 << 32, CODE_RING1 & ~(ACCESSED | 1 << 47)):
        assert used(raw) is None


def test_the_flat_segments_are_in_every_gdt(bench: Bench) -> None:
    mfn = (bench.paging.read_l1_entry(gdt_address(0) + 14 * 4096) & ~(1 << 63)) >> 12
    for selector, raw in FLAT_DESCRIPTORS.items():
        at = (mfn << 12) + (selector & 0xFF8)
        assert bench.ram.quads[at >> 3] == raw
    assert sum(1 for raw in bench.ram.quads[mfn << 9 : (mfn + 1) << 9] if raw) == 4
    assert bench.cpu.gdt == (gdt_address(0), GDT_LIMIT)


def test_set_gdt_checks_maps_and_counts_its_frames(bench: Bench) -> None:
    bench.write_entry(60, 3, CODE_RING1 & ~(ACCESSED | 1 << 45))
    bench.paging.set_gdt([bench.frame(60), bench.frame(61)], 600)
    assert bench.read_entry(60, 3) == CODE_RING1 & ~ACCESSED, "the processor has not used it yet"
    assert bench.cpu.segments_due
    frames = bench.machine.frames
    assert [frames.type[bench.frame(pfn)] for pfn in (60, 61)] == [SEG_DESC, SEG_DESC]
    entry = bench.paging.read_l1_entry(gdt_address(0) + 4096)
    assert entry >> 12 & 0xFFFFF == bench.frame(61)
    assert entry & 7 == 1
    bench.paging.set_gdt([], 0)
    assert frames.type_count[bench.frame(60)] == 0
    assert bench.paging.read_l1_entry(gdt_address(0)) >> 12 & 0xFFFFF == bench.machine.zero_frame
    assert audit(bench.machine) == []


def test_a_gdt_that_is_refused_leaves_the_old_one(bench: Bench) -> None:
    bench.paging.set_gdt([bench.frame(60)], 512)
    bench.write_entry(62, 511, 0x0000890000000067)
    for frames in ([bench.frame(61), bench.frame(62)], [bench.frame(5)], [0], [256], [bench.frame(20)]):
        with pytest.raises(Refusal) as refused:
            bench.paging.set_gdt(frames, 512 * len(frames))
        assert refused.value.errno == Errno.EINVAL
    assert bench.paging.gdt_frames == [bench.frame(60)]
    assert audit(bench.machine) == []


def test_a_gdt_of_the_same_frames_again_is_fine(bench: Bench) -> None:
    for _ in range(2):
        bench.paging.set_gdt([bench.frame(60)], 512)
    assert bench.machine.frames.type_count[bench.frame(60)] == 1


def test_a_gdt_cannot_reach_the_hypervisors_entries(bench: Bench) -> None:
    with pytest.raises(Refusal) as refused:
        read_gdt_frames(bench.guest, Guest.BASE, 7169)
    assert refused.value.errno == Errno.EINVAL
    bench.guest.put(struct.pack("<14I", *(bench.frame(pfn) for pfn in range(60, 74))))
    frames = read_gdt_frames(bench.guest, Guest.BASE, 7168)
    bench.paging.set_gdt(frames, 7168)
    assert len(bench.paging.gdt_frames) == 14


def test_an_unreadable_list_of_gdt_frames_is_efault(bench: Bench) -> None:
    with pytest.raises(Refusal) as refused:
        read_gdt_frames(bench.guest, 0xF000_0000, 512)
    assert refused.value.errno == Errno.EFAULT


def test_an_installed_gdt_frame_cannot_be_mapped_writably(bench: Bench) -> None:
    bench.paging.set_gdt([bench.frame(60)], 512)
    with pytest.raises(Refusal) as refused:
        bench.machine.tables.l1.get_entry(bench.entry(60), bench.domain, 1)
    assert refused.value.errno == Errno.EBUSY
    bench.machine.tables.l1.get_entry(bench.entry(60, READ_ONLY), bench.domain, 1)


def test_update_descriptor_checks_in_an_installed_table_and_elsewhere(bench: Bench) -> None:
    bench.paging.set_gdt([bench.frame(60)], 512)
    update_descriptor(bench.domain, bench.maddr(60, 4), CODE_RING1 & ~ACCESSED)
    assert bench.read_entry(60, 4) == CODE_RING1 & ~ACCESSED, "it reads back as it was written"
    update_descriptor(bench.domain, bench.maddr(61, 4), DATA_RING3 & ~(1 << 40))
    assert bench.read_entry(61, 4) == DATA_RING3 & ~(1 << 40)
    bad = [(bench.maddr(60, 4), 0x8900 << 32), (bench.maddr(60, 4) + 4, 0), (bench.maddr(5, 4), 0), (0, 0)]
    for maddr, raw in [*bad, (256 << 12, 0)]:
        with pytest.raises(Refusal) as refused:
            update_descriptor(bench.domain, maddr, raw)
        assert refused.value.errno == Errno.EINVAL
    assert audit(bench.machine) == []


def test_ldt_pages_are_checked_and_mapped_when_first_used(bench: Bench) -> None:
    bench.write_entry(30, 1, CODE_RING1 & ~ACCESSED)
    unmap(bench, 30)
    bench.paging.set_ldt(30 << 12, 512)
    assert bench.cpu.ldt == (ldt_address(0), 4095)
    found = bench.paging.descriptor_fault(ldt_address(0) + 8, 0)
    assert found.fix is Fix.RETRY
    assert bench.read_entry(30, 1) == CODE_RING1 & ~ACCESSED
    assert bench.machine.frames.type[bench.frame(30)] == SEG_DESC
    assert audit(bench.machine) == []


def unmap(bench: Bench, pfn: int) -> None:
    """Make the mapping of a page read-only, so that it can be a descriptor table."""
    index = (bench.frame(5) << 9) + pfn
    bench.machine.tables.l1.put_entry(bench.domain.entries[index], bench.domain)
    bench.domain.entries[index] = bench.machine.tables.l1.get_entry(
        bench.entry(pfn, READ_ONLY), bench.domain, 1
    )


def test_a_bad_ldt_page_is_the_guests_fault_at_its_own_address(bench: Bench) -> None:
    bench.paging.set_ldt(30 << 12, 1024)
    found = bench.paging.descriptor_fault(ldt_address(0) + 16, 0)
    assert (found.fix, found.cr2) == (Fix.DELIVER, (30 << 12) + 16)
    found = bench.paging.descriptor_fault(ldt_address(0) + 4096, 0)
    assert (found.fix, found.cr2) == (Fix.DELIVER, 31 << 12)
    assert fix_page_fault(bench.paging, ldt_address(0) + 16, 0) == (14, 0)
    assert bench.cpu.cr2 == (30 << 12) + 16


@pytest.mark.parametrize("pages", ["gdt", "ldt"])
def test_the_processors_store_of_an_accessed_bit_is_done_for_it_once(bench: Bench, pages: str) -> None:
    table = gdt_address(0) if pages == "gdt" else ldt_address(0)
    bench.write_entry(60, 3, CODE_RING1 & ~ACCESSED)
    bench.write_entry(60, 4, CODE_RING1 & ~(ACCESSED | 1 << 47))
    bench.write_entry(60, 5, 0x8C00 << 32)
    if pages == "gdt":
        bench.paging.set_gdt([bench.frame(60)], 512)
    else:
        bench.paging.ldt_entries, bench.paging.ldt_frames = 512, {0: bench.frame(60)}
        bench.machine.types.get_page_and_type(bench.frame(60), 1, SEG_DESC)
        bench.domain.set_area_page(table, bench.frame(60))
    store = PageFaultCode.page_present | PageFaultCode.write_access
    assert bench.paging.descriptor_fault(table + 3 * 8 + 4, store).fix is Fix.RETRY
    assert bench.read_entry(60, 3) == CODE_RING1
    for va in (table + 3 * 8 + 4, table + 4 * 8 + 4, table + 5 * 8 + 4, table + 4095):
        assert bench.paging.descriptor_fault(va, store).fix is Fix.NOT_OURS, "the guest's own store"
    assert bench.paging.descriptor_fault(table + 3 * 8 + 4, store | 4).fix is Fix.NOT_OURS
    assert bench.read_entry(60, 4) == CODE_RING1 & ~(ACCESSED | 1 << 47)


@pytest.mark.parametrize(("slot", "due"), [(3, True), (4, True), (5, False)])
def test_a_descriptor_takes_effect_at_once_where_a_processor_runs_on_it(
    bench: Bench, slot: int, due: bool
) -> None:
    bench.paging.set_gdt([bench.frame(60)], 512)
    bench.cpu.cs, bench.cpu.ss, bench.cpu.segments_due = 8 * 3 + 1, 8 * 4 + 1, False
    update_descriptor(bench.domain, bench.maddr(60, slot), CODE_RING1)
    assert bench.cpu.segments_due == due
    bench.cpu.segments_due = False
    bench.paging.set_ldt(30 << 12, 512)
    bench.cpu.cs = 8 * slot + 5
    update_descriptor(bench.domain, bench.maddr(60, 6), CODE_RING1)
    assert not bench.cpu.segments_due


@pytest.mark.parametrize("va", [0x1000, 0xF5800000, gdt_address(1), ldt_address(0) + 0x2000])
def test_faults_elsewhere_are_not_the_descriptor_areas(bench: Bench, va: int) -> None:
    bench.paging.set_ldt(30 << 12, 1024)
    assert bench.paging.descriptor_fault(va, 0).fix is Fix.NOT_OURS
    assert bench.paging.descriptor_fault(ldt_address(0), 4).fix is Fix.NOT_OURS


def test_the_ldt_is_dropped_with_its_base_pointer_and_when_replaced(bench: Bench) -> None:
    unmap(bench, 30)
    bench.paging.set_ldt(30 << 12, 512)
    assert bench.paging.map_ldt_page(0)
    bench.paging.load_base(bench.paging.base_mfn)
    assert bench.machine.frames.type_count[bench.frame(30)] == 0
    assert bench.paging.map_ldt_page(0)
    bench.cpu.tlb = {ldt_address(0)}
    bench.paging.set_ldt(0x5000, 0)
    assert bench.cpu.tlb == set()
    assert bench.cpu.ldt == (0, 0)
    assert bench.paging.read_l1_entry(ldt_address(0)) == 0
    assert audit(bench.machine) == []


@pytest.mark.parametrize(("base", "entries"), [(0x1000, 8193), (0x1004, 1), (0x1FFF, 5)])
def test_bad_ldts_are_einval(bench: Bench, base: int, entries: int) -> None:
    with pytest.raises(Refusal) as refused:
        bench.paging.set_ldt(base, entries)
    assert refused.value.errno == Errno.EINVAL


def test_an_ldt_in_the_hypervisors_area_maps_nothing(bench: Bench) -> None:
    for base in (0xF5800000, 0xFFC0E000):
        bench.paging.set_ldt(base, 8192)
        assert not bench.paging.map_ldt_page(0)
    assert audit(bench.machine) == []
