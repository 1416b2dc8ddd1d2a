"""What page-table work costs: batches, whole tables, switches, the building of a domain."""

from __future__ import annotations

import struct
import timeit
from typing import TYPE_CHECKING, Any

import pytest

from paravane.abi.memory import XEN_MEMORY_RESERVATION, MemoryOp, XenMemoryReservation
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, MmuextOp
from paravane.cpu.geometry import PAE
from paravane.cpu.ram import Ram
from paravane.memory import audit
from paravane.memory.frames import L1
from paravane.memory.memory_queries import memory_op
from paravane.memory.mmu_update import mmu_update
from paravane.memory.mmuext import mmuext_op
from paravane.memory.va_mapping import update_va_mapping
from tests.support.memory_bench import DATA, READ_ONLY, Bench, Guest, make_bench
from tests.support.residents import new_domain_memory, new_machine_memory

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

SELF = 0x7FF0


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(1024, 800)
    bench.boot(mapped=500)
    return bench


SIZES = [1, 16, 128, 512]


def put_requests(bench: Bench, entries: list[int], *, at: int = Guest.BASE) -> None:
    """Requests that give the L1 table's entries from slot 0 on these values."""
    bench.guest.put(
        b"".join(struct.pack("<QQ", bench.maddr(700, slot), entry) for slot, entry in enumerate(entries)), at
    )


@pytest.fixture
def table(bench: Bench) -> Bench:
    """A machine whose domain has, beside its own tables, a pinned L1 table of 512 mappings in pfn 700."""
    for slot in range(512):
        bench.write_entry(700, slot, bench.entry(slot if slot > 5 else 20, DATA))
    bench.write_entry(5, 500, 0)
    bench.domain.machine.types.get_page_and_type(bench.frame(700), 1, L1)
    return bench


def mappings(bench: Bench) -> list[int]:
    return [bench.read_entry(700, slot) for slot in range(512)]


@pytest.mark.parametrize("count", SIZES)
def test_mmu_update_of_unchanged_entries(benchmark: BenchmarkFixture, table: Bench, count: int) -> None:
    put_requests(table, mappings(table))
    benchmark(mmu_update, table.guest, Guest.BASE, count, 0, SELF)
    single = timeit.timeit(lambda: mmu_update(table.guest, Guest.BASE, 1, 0, SELF), number=200) / 200
    batch = timeit.timeit(lambda: mmu_update(table.guest, Guest.BASE, 128, 0, SELF), number=20) / 20
    benchmark.extra_info["us an entry"] = _per_entry(benchmark, count)
    benchmark.extra_info["cost per entry of 128 over cost of one call (target 0.25)"] = batch / 128 / single


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("kind", ["unmap", "map"])
def test_mmu_update_that_changes_entries(benchmark: Any, table: Bench, kind: str, count: int) -> None:
    before = mappings(table)
    empty, full = Guest.BASE, Guest.BASE + 512 * 16
    put_requests(table, [0] * 512, at=empty)
    put_requests(table, before, at=full)
    measured, undone = (empty, full) if kind == "unmap" else (full, empty)

    def undo() -> None:
        mmu_update(table.guest, undone, count, 0, SELF)

    benchmark.pedantic(mmu_update, (table.guest, measured, count, 0, SELF), setup=undo, rounds=50)
    mmu_update(table.guest, full, 512, 0, SELF)
    assert mappings(table) == before
    benchmark.extra_info["us an entry"] = _per_entry(benchmark, count)


def _per_entry(benchmark: Any, count: int) -> float | None:
    """Microseconds of one entry; None when the benchmark is a smoke test."""
    return None if benchmark.stats is None else round(benchmark.stats.stats.min / count * 1e6, 3)


def test_pin_and_unpin_of_a_full_tree(benchmark: BenchmarkFixture) -> None:
    """An L3 whose 32 L1 tables map all 64 MiB of a domain."""
    bench = make_bench(20_000, 16_384)
    first, tables = 16_000, range(16_005, 16_037)
    for slot in range(4):
        bench.write_entry(first, slot, bench.entry(first + 1 + slot, 1))
    for number, table in enumerate(tables):
        bench.write_entry(first + 1, number, bench.entry(table))
        for slot in range(512):
            pfn = number * 512 + slot
            bench.write_entry(
                table, slot, bench.entry(pfn, READ_ONLY if first <= pfn <= tables[-1] else DATA)
            )
    operations = ((MmuextCmd.PIN_L3_TABLE, 1), (MmuextCmd.UNPIN_TABLE, 2))
    for command, place in operations:
        request = MMUEXT_OP.pack(MmuextOp(command, bench.frame(first), 0))
        bench.guest.put(request, Guest.BASE + place * MMUEXT_OP.size)

    def pin_and_unpin() -> None:
        assert mmuext_op(bench.guest, Guest.BASE + MMUEXT_OP.size, 2, 0, SELF) == 0

    benchmark(pin_and_unpin)
    assert audit(bench.machine) == []


def test_balloon_of_16_mib(benchmark: Any) -> None:
    """4,096 frames given back one by one in a list, and asked for again: the frames are erased in between."""
    bench = make_bench(20_000, 16_384)
    frames = [bench.frame(pfn) for pfn in range(4096, 8192)]
    reservation, extents = Guest.BASE, Guest.BASE + 0x100
    bench.guest.put(
        XEN_MEMORY_RESERVATION.pack(XenMemoryReservation(extents, len(frames), 0, 0, SELF)), reservation
    )

    def balloon() -> None:
        bench.guest.put(struct.pack(f"<{len(frames)}I", *frames), extents)
        assert memory_op(bench.guest, MemoryOp.decrease_reservation, reservation, 0) == len(frames)
        bench.guest.put(struct.pack(f"<{len(frames)}I", *range(4096, 8192)), extents)
        assert memory_op(bench.guest, MemoryOp.populate_physmap, reservation, 0) == len(frames)
        frames[:] = struct.unpack(f"<{len(frames)}I", bench.guest.copy_from_guest(extents, 4 * len(frames)))

    benchmark.pedantic(balloon, rounds=5)
    assert bench.domain.tot_pages == 16_384


def test_mmu_update_that_moves_128_mappings(benchmark: BenchmarkFixture, bench: Bench) -> None:
    pairs = [
        struct.pack("<QQ", bench.maddr(5, 20 + at), bench.entry(510 + at if side else 20 + at))
        for side in (1, 0)
        for at in range(64)
    ]
    bench.guest.put(b"".join(pairs))
    benchmark(mmu_update, bench.guest, Guest.BASE, 128, 0, SELF)
    assert bench.read_entry(5, 20) == bench.entry(20)


@pytest.mark.parametrize("command", [MmuextCmd.INVLPG_LOCAL, MmuextCmd.TLB_FLUSH_LOCAL])
def test_one_flush_by_mmuext_op(benchmark: BenchmarkFixture, bench: Bench, command: MmuextCmd) -> None:
    bench.guest.put(MMUEXT_OP.pack(MmuextOp(command, 0x5000, 0)))
    assert benchmark(mmuext_op, bench.guest, Guest.BASE, 1, 0, SELF) == 0


def test_update_va_mapping(benchmark: BenchmarkFixture, bench: Bench) -> None:
    entries = [bench.entry(600), bench.entry(20)]

    def both() -> None:
        for entry in entries:
            update_va_mapping(bench.guest, 20 << 12, entry, 2)

    benchmark(both)
    assert bench.read_entry(5, 20) == bench.entry(20)


def test_validate_and_release_a_full_l1_table(benchmark: BenchmarkFixture, bench: Bench) -> None:
    for slot in range(512):
        bench.write_entry(650, slot, bench.entry(slot if slot > 5 else 20, DATA))
    types, mfn = bench.machine.types, bench.frame(650)

    def once() -> None:
        types.get_page_and_type(mfn, 1, L1)
        types.put_page_and_type(mfn)

    benchmark(once)
    assert audit(bench.machine) == []


def test_new_base_pointer(benchmark: BenchmarkFixture, bench: Bench) -> None:
    bench.build_tables(root=660, mapped=0)
    bases = [bench.frame(660), bench.frame(0)]
    bench.domain.pin(bases[0])
    bench.guest.put(b"".join(MMUEXT_OP.pack(MmuextOp(MmuextCmd.NEW_BASEPTR, mfn, 0)) for mfn in bases))

    def both() -> None:
        mmuext_op(bench.guest, Guest.BASE, 1, 0, SELF)
        mmuext_op(bench.guest, Guest.BASE + MMUEXT_OP.size, 1, 0, SELF)

    benchmark(both)
    assert bench.paging.base_mfn == bases[1]


def test_populate_a_64_mib_domain(benchmark: BenchmarkFixture) -> None:
    ram = Ram(20_000)

    def build() -> int:
        machine = new_machine_memory(ram, seed=1)
        return len(new_domain_memory(machine, 1, PAE, max_pages=16_384).populate(16_384))

    assert benchmark(build) == 16_384


def test_audit_of_a_small_machine(benchmark: BenchmarkFixture) -> None:
    bench = make_bench(256, 80)
    bench.boot(mapped=40)
    assert benchmark(audit, bench.machine) == []
