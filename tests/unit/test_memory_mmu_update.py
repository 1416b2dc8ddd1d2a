"""mmu_update and update_va_mapping: errnos, the done pointer, foreign domains, flushes."""

from __future__ import annotations

import struct

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.cpu.geometry import PAE
from paravane.memory import VcpuPaging, audit
from paravane.memory.frames import L1, WRITABLE
from paravane.memory.mmu_update import mmu_update
from paravane.memory.va_mapping import update_va_mapping
from paravane.refusal import Refusal
from tests.support.memory_bench import DATA, READ_ONLY, TABLE, Bench, FakeCpu, Guest, make_bench
from tests.support.residents import new_domain_memory

DONE = 0x8000
SELF = int(DomId.SELF)

OTHERS = {7 << 12, 21 << 12}
SOME = OTHERS | {20 << 12}
"""Pages that a processor still translates as it once did, with and without the one that is changed."""


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(256, 80)
    bench.boot(mapped=40)
    return bench


def update(bench: Bench, *requests: tuple[int, int], foreign: int = SELF, done: int = DONE) -> int:
    bench.guest.put(b"".join(struct.pack("<QQ", ptr, val) for ptr, val in requests))
    bench.guest.put(b"\xff" * 4, DONE)
    return mmu_update(bench.guest, Guest.BASE, len(requests), done, foreign)


def errno_of(bench: Bench, *requests: tuple[int, int], foreign: int = SELF) -> Errno:
    with pytest.raises(Refusal) as refused:
        update(bench, *requests, foreign=foreign)
    assert audit(bench.machine) == []
    return refused.value.errno


def test_an_update_changes_the_entry_and_the_counts(bench: Bench) -> None:
    assert update(bench, (bench.maddr(5, 20), bench.entry(50, DATA))) == 0
    frames = bench.machine.frames
    assert bench.read_entry(5, 20) == bench.entry(50, DATA)
    assert (frames.type[bench.frame(50)], frames.type_count[bench.frame(50)]) == (WRITABLE, 1)
    assert frames.type_count[bench.frame(20)] == 0
    assert bench.guest.word(DONE) == 1
    assert audit(bench.machine) == []


def test_no_requests_are_fine_and_reported(bench: Bench) -> None:
    assert update(bench) == 0
    assert bench.guest.word(DONE) == 0


def test_a_null_done_pointer_is_ignored_and_so_is_a_bad_one(bench: Bench) -> None:
    assert update(bench, (bench.maddr(5, 20), 0), done=0) == 0
    assert update(bench, (bench.maddr(5, 21), 0), done=0xF0000000) == 0


def test_requests_before_a_refused_one_stay_done_and_are_counted(bench: Bench) -> None:
    good = (bench.maddr(5, 20), 0)
    assert errno_of(bench, good, (bench.maddr(5, 21), bench.entry(0, DATA)), good) == Errno.EBUSY
    assert bench.guest.word(DONE) == 1
    assert bench.read_entry(5, 20) == 0


def test_requests_that_cannot_be_read_are_efault_after_those_before(bench: Bench) -> None:
    end = Guest.BASE + len(bench.guest.buffer)
    bench.guest.put(struct.pack("<QQ", bench.maddr(5, 20), 0), end - 20)
    with pytest.raises(Refusal) as refused:
        mmu_update(bench.guest, end - 20, 2, DONE, SELF)
    assert refused.value.errno == Errno.EFAULT
    assert bench.guest.word(DONE) == 1
    assert bench.read_entry(5, 20) == 0


def test_a_continuation_goes_on_counting(bench: Bench) -> None:
    bench.guest.put(struct.pack("<QQ", bench.maddr(5, 20), 0))
    bench.guest.put(struct.pack("<I", 41), DONE)
    assert mmu_update(bench.guest, Guest.BASE, 0x8000_0001, DONE, SELF) == 0
    assert bench.guest.word(DONE) == 42


def test_the_continuation_marker_alone_returns_what_it_is_given(bench: Bench) -> None:
    assert mmu_update(bench.guest, 0, 0x8000_0000, 0, 7) == 7
    assert mmu_update(bench.guest, 0, 0x8000_0000, 0, 0xFFFF_FFEA) == -22


@pytest.mark.parametrize("kind", [4, 5, 6, 7])
def test_unknown_kinds_are_enosys(bench: Bench, kind: int) -> None:
    assert errno_of(bench, (bench.maddr(5, 20) | kind, 0)) == Errno.ENOSYS


def test_machphys_updates_are_for_own_frames(bench: Bench) -> None:
    assert update(bench, (bench.frame(9) << 12 | 1, 1234)) == 0
    assert bench.machine.m2p[bench.frame(9)] == 1234
    other = new_domain_memory(bench.machine, 2, PAE, max_pages=5).populate(1)[0]
    for mfn in (other, 0, 256, 1 << 40):
        assert errno_of(bench, (mfn << 12 | 1, 5)) == Errno.EINVAL


def test_accessed_and_dirty_bits_are_preserved_on_demand(bench: Bench) -> None:
    clean = bench.entry(20, DATA & ~0x60)
    update(bench, (bench.maddr(5, 20) | 2, clean))
    assert bench.read_entry(5, 20) == bench.entry(20, DATA)
    update(bench, (bench.maddr(5, 20), clean))
    assert bench.read_entry(5, 20) == clean
    bench.write_entry(5, 20, bench.entry(20, DATA))
    update(bench, (bench.maddr(5, 20) | 2, bench.entry(50, 7)))
    assert bench.read_entry(5, 20) == bench.entry(50, DATA)


def test_an_update_of_a_frame_that_is_no_table_writes_it(bench: Bench) -> None:
    assert update(bench, (bench.maddr(60, 3), 0x1234_5678_9ABC_DEF0)) == 0
    assert bench.read_entry(60, 3) == 0x1234_5678_9ABC_DEF0
    assert bench.machine.frames.type_count[bench.frame(60)] == 0


def test_a_descriptor_table_is_not_changed_this_way(bench: Bench) -> None:
    bench.paging.set_gdt([bench.frame(60)], 512)
    assert errno_of(bench, (bench.maddr(60, 3), 0x00CF9B000000FFFF)) == Errno.EINVAL


def test_the_hypervisors_slots_never_change(bench: Bench) -> None:
    for slot in range(428, 512):
        assert errno_of(bench, (bench.maddr(4, slot), bench.entry(60, TABLE))) == Errno.EPERM
    assert update(bench, (bench.maddr(1, 500), bench.entry(60, TABLE))) == 0


def test_the_fourth_l3_entry_never_changes(bench: Bench) -> None:
    for slot in (3, 4, 511):
        assert errno_of(bench, (bench.maddr(0, slot), bench.entry(60, 1))) == Errno.EINVAL


def test_an_l3_entry_changes_with_xens_bits_added(bench: Bench) -> None:
    assert update(bench, (bench.maddr(0, 2), bench.entry(60, 1))) == 0
    assert bench.read_entry(0, 2) == bench.entry(60, 7)
    assert bench.machine.frames.type_count[bench.frame(3)] == 0


def test_a_new_l1_is_validated_as_it_is_linked_and_the_old_one_released(bench: Bench) -> None:
    bench.write_entry(60, 0, bench.entry(61, DATA))
    update(bench, (bench.maddr(1, 1), bench.entry(60, TABLE)))
    assert bench.machine.frames.type_count[bench.frame(61)] == 1
    update(bench, (bench.maddr(1, 1), 0))
    assert bench.machine.frames.type_count[bench.frame(61)] == 0
    assert audit(bench.machine) == []


def test_upper_levels_are_flushed_and_leaves_are_left_to_the_guest(bench: Bench) -> None:
    """As by Xen, which kernels rely on: they unmap thousands of pages and flush once."""
    bench.cpu.tlb = set(SOME)
    update(bench, *[(bench.maddr(5, slot), 0) for slot in range(8, 20)])
    assert bench.cpu.tlb == SOME
    update(bench, *[(bench.maddr(1, slot), bench.entry(60 + slot, TABLE)) for slot in range(1, 9)])
    assert bench.cpu.tlb == set()


@pytest.mark.parametrize(
    ("foreign", "errno"),
    [
        (1, Errno.ESRCH),  # itself, by number
        (99, Errno.ESRCH),
        (2, Errno.EPERM),
        (int(DomId.XEN), Errno.EPERM),
        (100 << 16 | SELF, Errno.ESRCH),
        (3 << 16 | SELF, Errno.EPERM),  # the tables of domain 2
        (4 << 16 | SELF, Errno.EINVAL),  # domain 3 has no vcpu
    ],
)
def test_foreign_domains_are_refused_as_xen_refuses_them(bench: Bench, foreign: int, errno: Errno) -> None:
    VcpuPaging(new_domain_memory(bench.machine, 2, PAE, max_pages=5), 0, FakeCpu())
    new_domain_memory(bench.machine, 3, PAE, max_pages=5)
    assert errno_of(bench, (bench.maddr(5, 20), bench.entry(20)), foreign=foreign) == errno


def test_io_memory_does_not_exist(bench: Bench) -> None:
    io = int(DomId.IO)
    assert errno_of(bench, (bench.maddr(5, 20), 0xFEE00 << 12 | 3), foreign=io) == Errno.EPERM
    assert errno_of(bench, (bench.maddr(5, 20), bench.entry(60)), foreign=io) == Errno.EBUSY


def test_a_privileged_domain_maps_frames_of_others(bench: Bench) -> None:
    other = new_domain_memory(bench.machine, 2, PAE, max_pages=5).populate(1)[0]
    bench.domain.privileged = True
    assert update(bench, (bench.maddr(5, 20), other << 12 | DATA), foreign=2) == 0
    assert audit(bench.machine) == []
    bench.cpu.tlb = set(SOME)
    assert update(bench, (bench.maddr(5, 20), 0)) == 0
    assert bench.cpu.tlb == set(), "the frame is another domain's, who may get it back at once"
    assert bench.machine.frames.type_count[other] == 0


def test_a_fifth_of_a_gigabyte_of_requests_costs_nothing_when_unreadable(bench: Bench) -> None:
    with pytest.raises(Refusal) as refused:
        mmu_update(bench.guest, 0x7000_0000, 0x0FFF_FFFF, DONE, SELF)
    assert refused.value.errno == Errno.EFAULT


def test_va_mapping_changes_the_entry_of_an_address(bench: Bench) -> None:
    bench.cpu.tlb = set(SOME)
    update_va_mapping(bench.guest, 20 << 12, bench.entry(60, DATA), 2)
    assert bench.read_entry(5, 20) == bench.entry(60, DATA)
    assert bench.cpu.tlb == OTHERS


@pytest.mark.parametrize("va", [1 << 21, 1 << 30, 0xF5800000, 0xFFC00000, 0xFFFFF000])
def test_va_mapping_without_an_own_l1_table_is_einval(bench: Bench, va: int) -> None:
    with pytest.raises(Refusal) as refused:
        update_va_mapping(bench.guest, va, bench.entry(60), 0)
    assert refused.value.errno == Errno.EINVAL


def test_va_mapping_of_a_linear_table_is_einval(bench: Bench) -> None:
    update(bench, (bench.maddr(1, 9), bench.entry(1, READ_ONLY)))
    with pytest.raises(Refusal) as refused:
        update_va_mapping(bench.guest, 9 << 21, bench.entry(60), 0)
    assert refused.value.errno == Errno.EINVAL


@pytest.mark.parametrize(
    ("flags", "own", "others"),
    [
        (0, SOME, SOME),
        (1, set(), SOME),
        (5, set(), set()),
        (2, OTHERS, SOME),
        (6, OTHERS, OTHERS),
        (3, SOME, SOME),
        (0x9000 | 1, SOME, set()),
        (0x9000 | 2, SOME, OTHERS),
    ],
)
def test_va_mapping_flushes_what_it_is_asked_to(flags: int, own: set[int], others: set[int]) -> None:
    """`own` and `others` are what this processor and the second one still translate as before."""
    bench = make_bench(256, 80, max_vcpus=2)
    second = FakeCpu()
    VcpuPaging(bench.domain, 1, second)
    bench.boot(mapped=40)
    bench.guest.put(struct.pack("<I", 2), 0x9000)  # a mask that names vcpu 1 alone
    bench.cpu.tlb, second.tlb = set(SOME), set(SOME)
    update_va_mapping(bench.guest, 20 << 12, 0, flags)
    assert (bench.cpu.tlb, second.tlb) == (own, others)


def test_va_mapping_with_an_unreadable_mask_is_efault_with_the_entry_changed(bench: Bench) -> None:
    with pytest.raises(Refusal) as refused:
        update_va_mapping(bench.guest, 20 << 12, 0, 0xF000_0000 | 1)
    assert refused.value.errno == Errno.EFAULT
    assert bench.read_entry(5, 20) == 0


@pytest.mark.parametrize(("domid", "errno"), [(1, Errno.ESRCH), (9, Errno.ESRCH), (2, Errno.EPERM)])
def test_va_mapping_of_other_domains_frames(bench: Bench, domid: int, errno: Errno) -> None:
    new_domain_memory(bench.machine, 2, PAE, max_pages=5)
    with pytest.raises(Refusal) as refused:
        update_va_mapping(bench.guest, 20 << 12, 0, 0, domid)
    assert refused.value.errno == errno
    update_va_mapping(bench.guest, 20 << 12, 0, 0, SELF)


def test_a_self_mapped_l1_can_be_unmapped_through_itself(bench: Bench) -> None:
    update_va_mapping(bench.guest, 5 << 12, 0, 2)
    assert bench.read_entry(5, 5) == 0
    assert bench.machine.frames.type[bench.frame(5)] == L1
    assert audit(bench.machine) == []
