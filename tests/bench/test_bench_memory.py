"""What page-table work costs: batches, whole tables, switches, the building of a domain."""

from __future__ import annotations

import struct
import timeit
from typing import TYPE_CHECKING

import pytest

from hypervisor.abi.mmu import MMUEXT_OP, MmuextCmd, MmuextOp
from hypervisor.cpu.geometry import PAE
from hypervisor.cpu.ram import Ram
from hypervisor.memory import MachineMemory
from hypervisor.memory.frames import L1
from hypervisor.memory.mmu_update import mmu_update
from hypervisor.memory.mmuext import mmuext_op
from hypervisor.memory.va_mapping import update_va_mapping
from tests.unit.memory_bench import DATA, Bench, Guest, make_bench

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

SELF = 0x7FF0


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(1024, 700)
    bench.boot(mapped=500)
    return bench


def requests(bench: Bench, count: int) -> None:
    """Requests that leave entries as they are."""
    bench.guest.put(
        b"".join(struct.pack("<QQ", bench.maddr(5, 20 + at), bench.entry(20 + at)) for at in range(count))
    )


@pytest.mark.parametrize("count", [1, 128])
def test_mmu_update_of_unchanged_entries(benchmark: BenchmarkFixture, bench: Bench, count: int) -> None:
    requests(bench, 128)
    benchmark(mmu_update, bench.guest, Guest.BASE, count, 0, SELF)
    single = timeit.timeit(lambda: mmu_update(bench.guest, Guest.BASE, 1, 0, SELF), number=200) / 200
    batch = timeit.timeit(lambda: mmu_update(bench.guest, Guest.BASE, 128, 0, SELF), number=20) / 20
    benchmark.extra_info["cost per entry of 128 over cost of one call"] = batch / 128 / single


def test_mmu_update_that_moves_128_mappings(benchmark: BenchmarkFixture, bench: Bench) -> None:
    pairs = [
        struct.pack("<QQ", bench.maddr(5, 20 + at), bench.entry(510 + at if side else 20 + at))
        for side in (1, 0)
        for at in range(64)
    ]
    bench.guest.put(b"".join(pairs))
    benchmark(mmu_update, bench.guest, Guest.BASE, 128, 0, SELF)
    assert bench.read_entry(5, 20) == bench.entry(20)


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
    assert bench.machine.audit() == []


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
        machine = MachineMemory(ram, seed=1)
        return len(machine.new_domain(1, PAE, max_pages=16_384).populate(16_384))

    assert benchmark(build) == 16_384


def test_audit_of_a_small_machine(benchmark: BenchmarkFixture) -> None:
    bench = make_bench(256, 80)
    bench.boot(mapped=40)
    assert benchmark(bench.machine.audit) == []
