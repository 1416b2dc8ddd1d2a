"""The same rules for a guest with two levels of 32-bit entries: every L2 is a root and carries the
hypervisor's.
"""

from __future__ import annotations

import struct

import pytest

from paravane.abi.errno import Errno
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, MmuextOp
from paravane.cpu.geometry import TWO_LEVEL
from paravane.memory import audit
from paravane.memory.frames import L1, L2, L3, PINNED
from paravane.memory.memory_queries import memory_op
from paravane.memory.mmu_update import mmu_update
from paravane.memory.mmuext import mmuext_op
from paravane.refusal import Refusal
from tests.support.memory_bench import DATA, READ_ONLY, TABLE, Bench, Guest, make_bench
from tests.support.residents import new_domain_memory

SELF = 0x7FF0


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(256, 80, geometry=TWO_LEVEL)
    bench.boot(mapped=40)
    return bench


def update(bench: Bench, ptr: int, val: int) -> None:
    bench.guest.put(struct.pack("<QQ", ptr, val))
    mmu_update(bench.guest, Guest.BASE, 1, 0, SELF)


def errno_of(bench: Bench, ptr: int, val: int) -> Errno:
    with pytest.raises(Refusal) as refused:
        update(bench, ptr, val)
    assert audit(bench.machine) == []
    return refused.value.errno


def test_an_address_space_has_an_l2_and_l1s(bench: Bench) -> None:
    frames = bench.machine.frames
    assert (frames.type[bench.frame(0)], frames.type[bench.frame(5)]) == (L2, L1)
    assert bench.cpu.cr3 == bench.frame(0) << 12
    assert audit(bench.machine) == []


def test_the_hypervisors_area_starts_at_fc000000(bench: Bench) -> None:
    assert [bench.read_entry(0, slot) for slot in range(1008, 1024)] == bench.xen_entries()
    entry = bench.paging.read_l1_entry(0xFC000000)
    assert (entry & 7, entry >> 12) == (1, bench.machine.m2p_frames.start)
    assert bench.paging.read_l1_entry(0xFFC0E000) >> 12 == bench.machine.flat_gdt_frame
    for slot in (1008, 1023):
        assert errno_of(bench, bench.maddr(0, slot), bench.entry(60, TABLE)) == Errno.EPERM
    update(bench, bench.maddr(0, 1007), bench.entry(60, TABLE))


def test_entries_are_32_bits_wide(bench: Bench) -> None:
    update(bench, bench.maddr(5, 7), 0xFFFF_FFFF << 32 | bench.entry(50, DATA))
    assert bench.read_entry(5, 7) == bench.entry(50, DATA)
    assert bench.read_entry(5, 8) == bench.entry(8, DATA)


def test_refusals_are_those_of_three_levels(bench: Bench) -> None:
    assert errno_of(bench, bench.maddr(5, 7), bench.entry(0, DATA)) == Errno.EBUSY
    assert errno_of(bench, bench.maddr(5, 7), 0x55555 << 12 | DATA) == Errno.EPERM
    assert errno_of(bench, bench.maddr(5, 7), 0xFFFFF << 12 | DATA) == Errno.EINVAL
    assert errno_of(bench, bench.maddr(5, 7), bench.entry(50, DATA | 0x80)) == Errno.EINVAL
    assert errno_of(bench, bench.maddr(0, 7), TABLE | 0x80) == Errno.EINVAL
    assert errno_of(bench, bench.maddr(5, 7) | 3, bench.entry(5, DATA)) == Errno.EBUSY


def test_a_root_may_map_itself_read_only(bench: Bench) -> None:
    assert errno_of(bench, bench.maddr(0, 9), bench.entry(0, TABLE)) == Errno.EINVAL
    update(bench, bench.maddr(0, 9), bench.entry(0, READ_ONLY))
    assert audit(bench.machine) == []


def test_levels_that_do_not_exist_are_ignored_by_pins_and_are_no_base(bench: Bench) -> None:
    for cmd in (MmuextCmd.PIN_L3_TABLE, MmuextCmd.PIN_L4_TABLE):
        bench.guest.put(MMUEXT_OP.pack(MmuextOp(cmd, bench.frame(60), 0)))
        assert mmuext_op(bench.guest, Guest.BASE, 1, 0, SELF) == 0
    assert not bench.machine.frames.flags[bench.frame(60)] & PINNED
    with pytest.raises(Refusal):
        bench.machine.types.get_page_and_type(bench.frame(60), 1, L3)
    with pytest.raises(Refusal):
        bench.paging.load_base(bench.frame(5))


def test_the_machine_to_phys_mapping_is_reported_where_it_is(bench: Bench) -> None:
    memory_op(bench.guest, 12, Guest.BASE, 0)
    assert struct.unpack("<3I", bench.guest.copy_from_guest(Guest.BASE, 12)) == (
        0xFC000000,
        0xFC400000,
        0xFFFFF,
    )


def test_both_shapes_share_a_machine() -> None:
    bench = make_bench(256, 80)
    bench.boot(mapped=40)
    other = new_domain_memory(bench.machine, 2, TWO_LEVEL, max_pages=20)
    root = other.populate(5)[0]
    other.pin(root)
    assert audit(bench.machine) == []
    other.destroy()
    assert audit(bench.machine) == []
