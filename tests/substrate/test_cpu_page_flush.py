"""One page's translation is forgotten, and those of all others are kept."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paravane.cpu.engine import library
from tests.support.cpu_bench import DATA, KERNEL_PAGE, STACK, Bench, Trap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Pages far from the code, and frames for them.
PAGES, FIRST_MFN, MANY = 0x40000, 40, 80


def load(page: int) -> bytes:
    return b"\xa1" + struct.pack("<I", page)


def loaded_after(bench: Bench, pages: Iterable[int], act: Callable[[], None]) -> list[int]:
    """Load a word of each page, `act` in a trap, load them again: the second values."""
    pages = list(pages)
    seen = list[int]()
    # Each load is followed by a trap that tells EAX.
    code = b"".join(load(page) + b"\xcd\x81" for page in pages)

    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x81:
            seen.append(bench.cpu.eax)
        elif trap.vector == 0x82:
            act()
        else:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.run(code + b"\xcd\x82" + code + b"\xcd\x20")
    return seen[len(pages) :]


def two_frames(bench: Bench) -> tuple[int, int]:
    """Linear addresses of two pages whose words are 1, and what they are in the frame after: 2."""
    for index in range(2):
        bench.map(PAGES + index * 0x1000, FIRST_MFN + 2 * index, KERNEL_PAGE)
        bench.ram.words[FIRST_MFN + 2 * index << 10] = 1
        bench.ram.words[FIRST_MFN + 2 * index + 1 << 10] = 2
    return PAGES, PAGES + 0x1000


def remap(bench: Bench) -> None:
    for index in range(2):
        bench.map(PAGES + index * 0x1000, FIRST_MFN + 2 * index + 1, KERNEL_PAGE)


def test_other_pages_stay_in_the_tlb(bench: Bench) -> None:
    pages = two_frames(bench)

    def act() -> None:
        remap(bench)
        bench.cpu.flush_page(pages[1] + 0x123)

    assert bench.cpu._engine.flushes_pages
    assert loaded_after(bench, pages, act) == [1, 2], "the first one was not to be forgotten"


def test_a_flush_of_all_takes_the_pages_with_it(bench: Bench) -> None:
    pages = two_frames(bench)

    def act() -> None:
        remap(bench)
        bench.cpu.flush_page(pages[1])
        bench.cpu.flush_tlb()

    assert loaded_after(bench, pages, act) == [2, 2]


@pytest.mark.parametrize("why", ["not exported", "state in copies"])
def test_without_it_everything_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, why: str
) -> None:
    if why == "not exported":
        monkeypatch.setattr(library, "_flush_page", None)
    else:
        request.getfixturevalue("copies")
    bench = Bench()
    pages = two_frames(bench)

    def act() -> None:
        remap(bench)
        bench.cpu.flush_page(pages[1])

    try:
        assert not bench.cpu._engine.flushes_pages
        assert loaded_after(bench, pages, act) == [2, 2]
    finally:
        bench.close()


def test_very_many_pages_are_forgotten_at_once() -> None:
    bench = Bench(nr_frames=FIRST_MFN + 2 * MANY)
    pages = [PAGES + index * 0x1000 for index in range(MANY)]
    for index, page in enumerate(pages):
        bench.map(page, FIRST_MFN + index, KERNEL_PAGE)

    def act() -> None:
        for index, page in enumerate(pages):
            bench.ram.words[FIRST_MFN + MANY + index << 10] = index
            bench.map(page, FIRST_MFN + MANY + index, KERNEL_PAGE)
            bench.cpu.flush_page(page)

    try:
        assert loaded_after(bench, pages, act) == list(range(MANY))
        assert not bench.cpu._stale_pages
    finally:
        bench.close()


def test_a_page_that_went_away_faults_at_its_next_use(bench: Bench) -> None:
    def act() -> None:
        bench.map(DATA, 0, 0)
        bench.cpu.flush_page(DATA)

    loaded_after(bench, (DATA, STACK), act)
    assert bench.traps[-1].vector == 14
    assert bench.cpu.cr2 == DATA
