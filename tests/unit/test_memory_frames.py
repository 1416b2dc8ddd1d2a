"""Machine memory: who gets which frames, what happens to those given back."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.cpu.geometry import PAE
from paravane.cpu.ram import Ram
from paravane.memory import audit
from paravane.memory.address_space import INVALID_M2P_ENTRY
from paravane.memory.frames import ALLOCATED, FREE, FrameTable, FrameType
from paravane.memory.pool import STRIDE, FramePool
from paravane.refusal import Refusal
from tests.support.memory_bench import make_bench
from tests.support.residents import new_domain_memory, new_machine_memory
from tests.support.work import lines_executed


def test_frames_given_in_a_row_are_never_neighbours() -> None:
    bench = make_bench(4096, 3000)
    neighbours = [1 for a, b in zip(bench.p2m, bench.p2m[1:], strict=False) if abs(a - b) == 1]
    assert not neighbours
    assert len(set(bench.p2m)) == 3000


def test_the_same_seed_gives_the_same_frames_and_another_one_others() -> None:
    def frames(seed: int) -> list[int]:
        machine = new_machine_memory(Ram(1024), seed=seed)
        return new_domain_memory(machine, 1, PAE, max_pages=500).populate(500).tolist()

    assert frames(1) == frames(1)
    assert frames(1) != frames(2)


def test_populate_sets_owner_count_and_machine_to_phys() -> None:
    bench = make_bench(512, 300)
    frames = bench.machine.frames
    assert [bench.machine.m2p[mfn] for mfn in bench.p2m] == list(range(300))
    assert {frames.owner[mfn] for mfn in bench.p2m} == {1}
    assert {frames.count[mfn] for mfn in bench.p2m} == {1}
    assert {frames.flags[mfn] for mfn in bench.p2m} == {ALLOCATED}
    assert bench.domain.tot_pages == 300
    assert audit(bench.machine) == []


def test_frames_of_the_hypervisor_are_not_handed_out() -> None:
    bench = make_bench(128, 100)
    own = {bench.machine.zero_frame, *bench.machine.m2p_frames, bench.machine.flat_gdt_frame}
    assert own.isdisjoint(bench.p2m)
    assert all(bench.machine.frames.owner[mfn] == DomId.XEN for mfn in own)


def test_the_first_mebibyte_is_device_memory_that_no_guest_may_map_or_have() -> None:
    machine = new_machine_memory(Ram(1024), seed=1)
    domain = new_domain_memory(machine, 1, PAE, max_pages=1024)
    mfns = domain.populate(machine.nr_free)
    assert min(mfns) >= 256
    for mfn in (0, 0xB8, 0xFF):
        assert machine.frames.describe(mfn).startswith(f"mfn {mfn:#x} (device memory")
        for owner in (1, DomId.IO):
            with pytest.raises(Refusal) as refused:
                machine.tables.l1.get_entry(mfn << 12 | 1, domain, owner)
            assert refused.value.errno == Errno.EPERM
    assert audit(machine) == []


@pytest.mark.parametrize("nr_frames", [64, 300, 1024, 20_000])
@pytest.mark.parametrize("seed", range(3))
def test_scattered_frames_leave_aligned_extents_below_any_limit(nr_frames: int, seed: int) -> None:
    pool = FramePool(range(7, nr_frames), seed)
    taken = [mfn for run in pool.take(pool.free // 2) for mfn in run]
    for order in (5, 3, 1, 0):
        for limit in (nr_frames, nr_frames * 3 // 4):
            run = pool.take_contiguous(order, limit)
            if run is not None:
                assert len(run) == 1 << order
                assert run.start % len(run) == 0
                assert run.stop <= limit
                assert not set(run) & set(taken)
                taken += run
        assert pool.take_contiguous(order, 7) is None
    assert pool.take_contiguous(20, nr_frames) is None
    rest = [mfn for run in pool.take(pool.free) for mfn in run]
    assert sorted(taken + rest) == list(range(7, nr_frames))
    assert (pool.free, pool.frames()) == (0, set())


def test_half_a_large_machine_in_use_still_has_extents_of_2_mib() -> None:
    pool = FramePool(range(300, 20_000), seed=4)
    pool.take(10_000)
    extents = 0
    while pool.take_contiguous(9, 20_000) is not None:
        extents += 1
    assert extents >= 10


def test_extents_taken_and_given_back_for_ever_do_not_fill_the_host() -> None:
    pool = FramePool(range(1, 257), seed=1)
    for _ in range(200):
        run = pool.take_contiguous(6, 257)
        assert run is not None
        pool.give_back(run)
        assert len(pool._runs) <= 1024
    assert sorted(mfn for run in pool.take(256) for mfn in run) == list(range(1, 257))


def test_a_domain_beyond_its_limit_or_the_machine_is_refused_and_takes_nothing() -> None:
    bench = make_bench(128, 40)
    with pytest.raises(ValueError, match="limit"):
        bench.domain.populate(33)
    other = new_domain_memory(bench.machine, 2, PAE, max_pages=10_000)
    free = bench.machine.nr_free
    with pytest.raises(MemoryError):
        other.populate(free + 1)
    assert (other.tot_pages, bench.machine.nr_free) == (0, free)
    assert audit(bench.machine) == []


def test_a_domain_number_is_taken_once_and_never_a_reserved_one() -> None:
    bench = make_bench()
    for domid in (1, DomId.SELF, -1):
        with pytest.raises(ValueError, match="not free"):
            new_domain_memory(bench.machine, domid, PAE, max_pages=1)


def test_a_frame_given_back_is_erased_unknown_and_flushed() -> None:
    bench = make_bench()
    mfn = bench.frame(9)
    bench.cpu.tlb = {0x5000}
    bench.ram.write(mfn << 12, b"secret")
    bench.machine.free([mfn])
    assert bench.ram.read(mfn << 12, 6) == bytes(6)
    assert bench.machine.m2p[mfn] == INVALID_M2P_ENTRY
    assert bench.machine.frames.owner[mfn] == FREE
    assert bench.domain.tot_pages == 63
    assert bench.cpu.tlb == set()


def test_a_frame_still_mapped_is_freed_with_its_last_mapping_only() -> None:
    bench = make_bench()
    bench.boot()
    mfn = bench.frame(20)
    bench.machine.free([mfn])
    assert bench.machine.frames.owner[mfn] == 1
    assert bench.domain.tot_pages == 64
    bench.machine.tables.l1.put_entry(bench.read_entry(5, 20), bench.domain)
    bench.write_entry(5, 20, 0)
    assert bench.machine.frames.owner[mfn] == FREE
    assert audit(bench.machine) == []


def test_destroying_a_domain_gives_everything_back_whatever_it_had_installed() -> None:
    bench = make_bench()
    free = bench.machine.nr_free + 64 + 1
    bench.boot()
    bench.domain.share_xen_frame()
    bench.paging.set_gdt([bench.domain.populate(1)[0]], 512)
    bench.domain.destroy()
    assert bench.machine.nr_free == free
    assert list(bench.machine.owners()) == []
    assert audit(bench.machine) == []


def lines_to_release(machine_frames: int, domain_frames: int) -> int:
    machine = new_machine_memory(Ram(machine_frames), seed=1)
    domain = new_domain_memory(machine, 1, PAE, max_pages=domain_frames)
    domain.populate(domain_frames)
    lines = lines_executed(domain.destroy)
    assert audit(machine) == []
    return lines


def test_what_it_takes_to_release_a_domain_does_not_grow_with_the_machine() -> None:
    assert lines_to_release(16_384, 200) <= lines_to_release(1024, 200)


def test_whole_windows_of_a_large_domain_are_released_at_once() -> None:
    assert lines_to_release(32_768, 30_000) < 20_000, "less than a line for each of its frames"


@pytest.mark.parametrize("seed", range(8))
def test_the_runs_of_a_domain_are_its_frames_whatever_they_look_like(seed: int) -> None:
    rng = random.Random(seed)
    table = FrameTable(3000)
    for _ in range(60):
        first, stride = rng.randrange(3000), rng.choice((1, 1, 2, STRIDE, STRIDE))
        frames = range(first, min(3000, first + stride * rng.randrange(1, 300)), stride)
        table.give(frames, rng.choice((1, 0x101, 0x0001, 2, FREE)), ALLOCATED)
    for domid in (1, 0x101, 2, 3):
        found = [mfn for run in table.owned(domid, 512) for mfn in run]
        assert len(found) == len(set(found))
        assert sorted(found) == [mfn for mfn in range(3000) if table.owner[mfn] == domid]


@pytest.mark.parametrize("nr_frames", [40, 900])
def test_nothing_of_a_domain_is_left_in_its_frames_whatever_is_still_in_use(nr_frames: int) -> None:
    """Neighbours and frames that lie apart, those that others hold among them."""
    machine = new_machine_memory(Ram(1024 + 256), seed=3)
    domain = new_domain_memory(machine, 1, PAE, max_pages=nr_frames)
    mfns = list(domain.populate(nr_frames))
    for mfn in mfns[::2]:
        machine.ram.write(mfn << 12, b"secret" * 600)
    held = mfns[1::7]
    for mfn in held:
        machine.hold(mfn, 1, writable=False)
    free = machine.nr_free
    domain.destroy()
    assert domain.tot_pages == len(held)
    assert audit(machine) == []
    gone = set(mfns) - set(held)
    assert machine.free_frames() >= gone
    assert all(not any(machine.ram.read(mfn << 12, 4096)) for mfn in gone)
    assert all(machine.m2p[mfn] == INVALID_M2P_ENTRY for mfn in gone)
    for mfn in held:
        machine.let_go(mfn, writable=False)
    assert machine.nr_free == free + nr_frames + 1, "and its own table"
    assert audit(machine) == []


def test_what_a_domain_gives_back_is_scattered_again() -> None:
    machine = new_machine_memory(Ram(4096), seed=1)
    for domid in (1, 2):
        domain = new_domain_memory(machine, domid, PAE, max_pages=3000)
        p2m = domain.populate(3000)
        assert all(abs(after - before) != 1 for before, after in pairwise(p2m))
        domain.destroy()


def test_frames_a_backend_holds_outlive_their_domain_and_then_free_its_number() -> None:
    bench = make_bench()
    bench.machine.hold(bench.frame(7), 1, writable=True)
    bench.domain.destroy()
    assert bench.machine.frames.owner[bench.frame(7)] == 1
    assert audit(bench.machine) == []
    bench.machine.let_go(bench.frame(7), writable=True)
    assert list(bench.machine.owners()) == []
    assert audit(bench.machine) == []


def test_a_held_frame_cannot_become_a_page_table() -> None:
    bench = make_bench()
    bench.machine.hold(bench.frame(7), 1, writable=True)
    with pytest.raises(Refusal, match="writable_page with 1 use,") as refused:
        bench.machine.types.get_page_and_type(bench.frame(7), 1, FrameType.L1_PAGE_TABLE)
    assert refused.value.errno == Errno.EINVAL


def test_a_shared_frame_of_the_hypervisor_survives_its_guest_giving_it_away() -> None:
    bench = make_bench()
    mfn = bench.domain.share_xen_frame()
    bench.machine.free([mfn])
    assert bench.machine.frames.owner[mfn] == 1
    assert audit(bench.machine) == []
    bench.domain.release_xen_frame(mfn)
    assert bench.machine.frames.owner[mfn] == FREE
    assert audit(bench.machine) == []


@pytest.mark.parametrize("what", ["owner", "type", "type_count", "count", "flags"])
def test_the_audit_notices_any_wrong_field(what: str) -> None:
    bench = make_bench()
    bench.boot()
    field = getattr(bench.machine.frames, what)
    mfn = bench.frame(5)
    field[mfn] = {"owner": 2, "type": 7, "type_count": 5, "count": 9, "flags": 0}[what]
    assert audit(bench.machine)


def test_the_audit_notices_a_page_table_entry_changed_behind_our_back() -> None:
    bench = make_bench()
    bench.boot()
    bench.write_entry(5, 63, bench.entry(1))
    assert audit(bench.machine)
