"""The shadow of page tables: what is kept, what is given up, and that the audit finds what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.full.shadow import MOST_FRAMES, MOST_ROOTS, MOST_STORES, Policy
from paravane.full.shadow_tables import LARGE, RW
from paravane.x86 import PAGE_SHIFT, Cr0, Cr4
from tests.support.shadow_bench import ShadowBench
from tests.support.shadow_model import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAMES = 1536
UNUSED = FRAMES + 440
DIRECTORY, TABLE, OTHER, PAGE, NEXT = 1, 2, 3, 900, 901
VA = 0x400000
LARGE_VA = 0x800000


@pytest.fixture(params=Policy)
def bench(request: pytest.FixtureRequest) -> Iterator[ShadowBench]:
    """A guest with paging: a page at VA by a table, which is mapped after it, and a large one."""
    made = make(request.param)
    yield made
    assert made.audit() == []
    made.ram.close()


def make(policy: Policy) -> ShadowBench:
    made = ShadowBench(FRAMES, policy)
    made.put(DIRECTORY, 1, TABLE << PAGE_SHIFT | 7)
    made.put(DIRECTORY, 2, 0x87)
    made.put(TABLE, 0, PAGE << PAGE_SHIFT | 7)
    made.put(TABLE, 1, TABLE << PAGE_SHIFT | 7)
    made.state.cr4 = int(Cr4.PSE)
    made.state.cr0 |= int(Cr0.PG | Cr0.WP)
    made.state.cr3 = DIRECTORY << PAGE_SHIFT
    made.shadow.change_mode()
    return made


def reach(bench: ShadowBench, va: int, *, write: bool = False) -> int | None:
    return bench.engine.reach(Access(va, write, user=False))


def test_leaf_cannot_be_written_before_its_entry_is_dirty(bench: ShadowBench) -> None:
    bench.fault(VA)
    assert reach(bench, VA) == PAGE << PAGE_SHIFT
    assert reach(bench, VA, write=True) is None
    bench.fault(VA, write=True)
    assert reach(bench, VA, write=True) == PAGE << PAGE_SHIFT
    assert bench.guest.entry(TABLE, 0) & 0x60 == 0x60


def test_root_is_found_where_it_was_left_only_if_tables_are_protected() -> None:
    for policy, kept in ((Policy.VTLB, False), (Policy.WP, True)):
        bench = make(policy)
        bench.fault(VA)
        bench.shadow.load_root()
        assert (reach(bench, VA) is not None) == kept
        bench.ram.close()


def test_store_to_a_protected_table_is_followed_at_once() -> None:
    bench = make(Policy.WP)
    bench.fault(VA, write=True)
    bench.put(TABLE, 0, NEXT << PAGE_SHIFT | 0x67)
    assert reach(bench, VA, write=True) == NEXT << PAGE_SHIFT
    bench.put(DIRECTORY, 1, 0)
    assert reach(bench, VA) is None
    assert bench.audit() == []
    bench.ram.close()


def test_tables_cannot_be_written_until_they_are_loose() -> None:
    bench = make(Policy.WP)
    here = VA + 0x1000
    bench.fault(here, write=True)
    assert reach(bench, here, write=True) is None
    address = TABLE << PAGE_SHIFT
    assert bench.shadow.is_protected(address)
    assert [bench.shadow.is_busy(address) for _ in range(MOST_STORES + 1)] == [False] * MOST_STORES + [True]
    bench.shadow.loosen(address)
    bench.fault(here, write=True)
    assert reach(bench, here, write=True) == address
    bench.shadow.load_root()
    assert reach(bench, here, write=True) is None
    assert bench.audit() == []
    bench.ram.close()


def test_large_page_is_one_entry_but_where_a_table_lies_in_it() -> None:
    for policy, whole in ((Policy.VTLB, True), (Policy.WP, False)):
        bench = make(policy)
        for va in (LARGE_VA, LARGE_VA + 0x200000):
            bench.fault(va, write=True)
        root = bench.shadow.shown.current
        assert root is not None
        first, second = (bench.shadow.entries.get(root.place(LARGE_VA + at)) for at in (0, 0x200000))
        assert bool(first & LARGE) == whole
        assert second & LARGE
        assert reach(bench, LARGE_VA + (PAGE << PAGE_SHIFT), write=True) == PAGE << PAGE_SHIFT
        assert (reach(bench, LARGE_VA + (DIRECTORY << PAGE_SHIFT), write=True) is None) != whole
        bench.ram.close()


def test_oldest_roots_go(bench: ShadowBench) -> None:
    for number in range(2 * MOST_ROOTS):
        directory = 100 + number
        bench.put(directory, 1, TABLE << PAGE_SHIFT | 7)
        bench.state.cr3 = directory << PAGE_SHIFT
        bench.shadow.load_root()
        bench.fault(VA)
        assert len(bench.shadow.shown.roots) <= MOST_ROOTS
        assert bench.audit() == []


def test_frames_for_tables_do_not_run_out(bench: ShadowBench) -> None:
    for index in range(600):
        upper = 3 + index
        bench.put(DIRECTORY, upper, (100 + index) << PAGE_SHIFT | 7)
        bench.put(100 + index, 0, PAGE << PAGE_SHIFT | 7)
        bench.fault(upper << 22)
        assert reach(bench, upper << 22) == PAGE << PAGE_SHIFT
    assert len(bench.shadow.entries.frames) <= MOST_FRAMES


def _leaf(bench: ShadowBench) -> int:
    """The place of VA's."""
    (table,) = (table for table in bench.shadow.shown.tables.values() if table.source.frame == TABLE)
    return table.place(0)


def _set(bench: ShadowBench, place: int, change: Callable[[int], int]) -> None:
    bench.ram.quads[place] = change(bench.ram.quads[place])


SABOTAGE: dict[str, tuple[str, Callable[[ShadowBench], None]]] = {
    "another address": (
        "and the guest allows",
        lambda bench: _set(bench, _leaf(bench), lambda leaf: leaf + 0x1000),
    ),
    "a right too many": ("reverse map", lambda bench: _set(bench, _leaf(bench), lambda leaf: leaf | RW)),
    "the monitor's memory": (
        "a frame of the monitor's",
        lambda bench: _set(bench, _leaf(bench), lambda leaf: leaf & 0xFFF | FRAMES + 5 << PAGE_SHIFT),
    ),
    "a table that can be written": (
        "can write frame",
        lambda bench: _set(bench, _leaf(bench) + 1, lambda leaf: leaf | RW),
    ),
    "a store that was not noticed": (
        "and the guest's 0x0",
        lambda bench: bench.ram.words.__setitem__(TABLE * 1024, 0),
    ),
    "a lost frame": ("were taken", lambda bench: bench.shadow.entries.frames.append(UNUSED)),
    "a lost use": ("has no books", lambda bench: bench.shadow.shown.protected.add(77)),
    "another root": ("the processor walks", lambda bench: setattr(bench.engine, "cr3", 0)),
    "an entry of a directory": (
        "and the guest's",
        lambda bench: bench.ram.words.__setitem__(DIRECTORY * 1024 + 1, OTHER << PAGE_SHIFT | 0x27),
    ),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_audit_finds(what: str) -> None:
    sentence, sabotage = SABOTAGE[what]
    bench = make(Policy.WP)
    bench.fault(VA)
    bench.fault(VA + 0x1000, write=True)
    assert bench.audit() == []
    sabotage(bench)
    assert any(sentence in line for line in bench.audit())
    bench.ram.close()


def test_audit_of_a_tlb_finds_what_no_tlb_could_hold() -> None:
    bench = make(Policy.VTLB)
    bench.fault(VA)
    bench.put(TABLE, 0, 0)
    assert bench.audit() == [], "what the guest has not flushed yet"
    _set(bench, _leaf(bench), lambda leaf: leaf & 0xFFF | FRAMES + 5 << PAGE_SHIFT)
    assert any("a frame of the monitor's" in line for line in bench.audit())
    bench.ram.close()


def test_ring_3_cannot_write_what_ring_0_may_without_write_protection() -> None:
    bench = make(Policy.WP)
    bench.state.cr0 &= ~int(Cr0.WP)
    bench.shadow.change_mode()
    bench.put(TABLE, 0, PAGE << PAGE_SHIFT | 5)
    bench.fault(VA, write=True)
    assert reach(bench, VA, write=True) == PAGE << PAGE_SHIFT
    assert bench.engine.reach(Access(VA, True, user=True)) is None
    bench.fault(VA, user=True)
    assert bench.engine.reach(Access(VA, False, user=True)) == PAGE << PAGE_SHIFT
    assert bench.engine.reach(Access(VA, True, user=True)) is None
    assert bench.audit() == []
    bench.ram.close()
