"""The budget of an entry, what is charged to it, and what a preempted operation has the guest ask next."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.memory import XEN_MEMORY_RESERVATION, MemoryOp, XenMemoryReservation
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, MmuextOp
from paravane.memory import audit
from paravane.memory.mmu_update import mmu_update
from paravane.memory.mmuext import mmuext_op
from paravane.memory.reservation import change_reservation
from paravane.preemption import TABLE_WORK, WORK_BUDGET, Preempted, PreemptionBudget
from paravane.refusal import Refusal
from tests.support.memory_bench import TABLE, Bench, Guest, make_bench

if TYPE_CHECKING:
    from collections.abc import Callable


SELF = int(DomId.SELF)
DONE = 0x1000
LIST = 0x2000
SIZE = 1 << 18
PREEMPTED = 0x8000_0000


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(256, 80)
    bench.boot(mapped=40)
    bench.guest = Guest(bench.paging, SIZE)
    bench.guest.entry = 0
    return bench


def first_portion(operation: Callable[[], object]) -> Preempted:
    with pytest.raises(Preempted) as rest:
        operation()
    return rest.value


def go_on(bench: Bench, rest: Preempted) -> Preempted | None:
    """Ask for the rest of an mmu_update, as a guest does; what is left then."""
    try:
        assert mmu_update(bench.guest, *rest.arguments) == 0
    except Preempted as more:
        return more
    return None


class Entries:
    """Entries into the hypervisor, and what is due on the way out."""

    def __init__(self) -> None:
        self.number = 0
        self.due = False
        self.walked = 100
        self.budget = PreemptionBudget(lambda: self.number, lambda: self.due, lambda: self.walked)


def test_each_entry_has_a_budget_of_its_own() -> None:
    entries = Entries()
    assert entries.budget.left() == WORK_BUDGET
    entries.budget.spend(1000)
    assert (entries.budget.left(), entries.budget.spent) == (WORK_BUDGET - 1000, 1000)
    entries.budget.spend(WORK_BUDGET)
    assert entries.budget.left() == 0
    entries.number += 1
    assert (entries.budget.spent, entries.budget.left()) == (0, WORK_BUDGET)
    entries.number += 1
    entries.budget.spend(7)
    assert entries.budget.spent == 7


def test_walked_tables_are_charged_to_the_entry_in_which_they_were_walked() -> None:
    entries = Entries()
    assert entries.budget.left() == WORK_BUDGET
    entries.walked += 3
    assert entries.budget.left() == WORK_BUDGET - 3 * TABLE_WORK
    entries.number += 1
    assert entries.budget.left() == WORK_BUDGET


def test_what_is_due_leaves_nothing_of_the_budget() -> None:
    entries = Entries()
    entries.due = True
    assert entries.budget.left() == 0
    assert entries.budget.spent == 0


def test_arguments_are_words() -> None:
    assert Preempted(1, 1 << 32 | 5, -1).arguments == (5, 0xFFFFFFFF)


def test_page_table_requests_go_on_after_the_last_one_done(bench: Bench) -> None:
    count = WORK_BUDGET + 900
    bench.guest.put(struct.pack("<QQ", bench.maddr(5, 20), 0) * count, LIST)
    rest = first_portion(lambda: mmu_update(bench.guest, LIST, count, DONE, SELF))
    assert rest.done == bench.guest.word(DONE) == WORK_BUDGET
    assert rest.arguments == (LIST + WORK_BUDGET * 16, 900 | PREEMPTED, DONE, SELF)
    bench.guest.entry = 1
    assert mmu_update(bench.guest, *rest.arguments) == 0
    assert bench.guest.word(DONE) == count
    assert audit(bench.machine) == []


def test_a_list_that_ends_in_the_second_portion_is_efault_with_all_before_it_done(bench: Bench) -> None:
    at = Guest.BASE + SIZE - (WORK_BUDGET + 900) * 16
    bench.guest.put(struct.pack("<QQ", bench.maddr(5, 20), 0) * (WORK_BUDGET + 900), at)
    rest = first_portion(lambda: mmu_update(bench.guest, at, 0x7FFFFFFF, DONE, SELF))
    bench.guest.entry = 1
    with pytest.raises(Refusal) as refused:
        mmu_update(bench.guest, *rest.arguments)
    assert refused.value.errno == Errno.EFAULT
    assert bench.guest.word(DONE) == WORK_BUDGET + 900


def test_a_refused_request_in_the_second_portion_counts_from_the_first_one(bench: Bench) -> None:
    good, bad = struct.pack("<QQ", bench.maddr(5, 20), 0), struct.pack("<QQ", 7, 0)
    bench.guest.put(good * (WORK_BUDGET + 10) + bad, LIST)
    rest = first_portion(lambda: mmu_update(bench.guest, LIST, WORK_BUDGET + 11, DONE, SELF))
    bench.guest.entry = 1
    with pytest.raises(Refusal) as refused:
        mmu_update(bench.guest, *rest.arguments)
    assert refused.value.errno == Errno.ENOSYS
    assert bench.guest.word(DONE) == WORK_BUDGET + 10


def test_requests_that_walk_whole_tables_are_charged_for_them(bench: Bench) -> None:
    hang = struct.pack("<QQ", bench.maddr(1, 7), bench.entry(60, TABLE))
    drop = struct.pack("<QQ", bench.maddr(1, 7), 0)
    bench.guest.put((hang + drop) * 200, LIST)
    rest: Preempted | None = first_portion(lambda: mmu_update(bench.guest, LIST, 400, DONE, SELF))
    assert rest is not None
    assert WORK_BUDGET // TABLE_WORK - 1 <= rest.done <= WORK_BUDGET // TABLE_WORK + 1
    assert bench.guest.word(DONE) == rest.done
    assert bench.read_entry(1, 7) == (0 if rest.done % 2 == 0 else bench.entry(60, TABLE))
    portions = 1
    while rest is not None:
        bench.guest.entry = portions
        rest, portions = go_on(bench, rest), portions + 1
    assert portions == pytest.approx(400 * TABLE_WORK / WORK_BUDGET, abs=2)
    assert bench.guest.word(DONE) == 400
    assert audit(bench.machine) == []


def test_pins_are_charged_for_the_tables_they_walk(bench: Bench) -> None:
    ops = [MmuextCmd.PIN_L1_TABLE, MmuextCmd.UNPIN_TABLE] * 100
    mfn = bench.frame(60)
    bench.guest.put(b"".join(MMUEXT_OP.pack(MmuextOp(op, mfn, 0)) for op in ops), LIST)
    rest = first_portion(lambda: mmuext_op(bench.guest, LIST, 200, DONE, SELF))
    assert 0 < rest.done <= WORK_BUDGET // TABLE_WORK + 1
    at, left = LIST + rest.done * MMUEXT_OP.size, 200 - rest.done
    assert rest.arguments == (at, left | PREEMPTED, DONE, SELF)
    assert bench.guest.word(DONE) == rest.done


def test_extents_go_on_from_the_bits_above_the_command(bench: Bench) -> None:
    request = XenMemoryReservation(
        extent_start=LIST, nr_extents=20_000, extent_order=0, mem_flags=0, domid=SELF
    )
    bench.guest.put(XEN_MEMORY_RESERVATION.pack(request), DONE)
    bench.guest.put(bench.frame(39).to_bytes(4, "little") * 20_000, LIST)
    op = int(MemoryOp.decrease_reservation)
    rest = first_portion(lambda: change_reservation(bench.guest, op, DONE, 0))
    assert rest.arguments == (op | rest.done << 6, DONE)
    bench.guest.entry = 1
    second = first_portion(lambda: change_reservation(bench.guest, op, DONE, rest.done))
    assert second.arguments == (op | (rest.done + second.done) << 6, DONE)


def test_larger_extents_are_fewer_to_an_entry() -> None:
    bench = make_bench(2048, 80)
    bench.guest.entry = 0
    request = XenMemoryReservation(extent_start=0, nr_extents=1000, extent_order=3, mem_flags=0, domid=SELF)
    bench.domain.max_pages = 1 << 20
    bench.guest.put(XEN_MEMORY_RESERVATION.pack(request), DONE)
    bench.guest.budget.spend(WORK_BUDGET - 40)
    op = int(MemoryOp.increase_reservation)
    rest = first_portion(lambda: change_reservation(bench.guest, op, DONE, 0))
    assert rest.done == 2
    assert bench.domain.tot_pages == 80 + 16
