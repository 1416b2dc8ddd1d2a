"""Kernels on processors with a modelled TLB: the same console, and what the TLB has counted."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from paravane import ShutdownReason, guest_kernels
from paravane.asm import build
from paravane.tlb import TlbKind, TlbSpec
from tests.support.tlb_run import Run, well

if TYPE_CHECKING:
    from pathlib import Path

PAGES_OF_A_ROUND = 10
ROUNDS = 200
TURNS = 3 * ROUNDS + ROUNDS // 2
"""Of three processes and of the child that one has half-way."""


@cache
def kernel(name: str) -> bytes:
    return build(guest_kernels.load(name).sources)


@cache
def work(kind: TlbKind, entries: int = 64, ways: int = 4) -> Run:
    return well(Run(kernel("tlb"), TlbSpec(kind, entries, ways)), guest_kernels.load("tlb").expected)


def test_who_refills_and_who_flushes_is_all_the_difference() -> None:
    hardware, software, tagged = (work(kind).counts for kind in TlbKind)
    # A turn has all its pages to find again where a switch flushes; the tags leave them there.
    assert hardware["misses"] >= TURNS * PAGES_OF_A_ROUND
    assert tagged["misses"] < hardware["misses"] // 50
    assert tagged["switches"] >= TURNS > tagged["flushes"]
    assert hardware["flushes"] >= TURNS
    # A miss that the kernel serves is two exits: to it, and back in the refill.
    assert software["refills"] == software["misses"] >= TURNS * PAGES_OF_A_ROUND
    assert software["exits"] >= hardware["exits"] + 2 * software["misses"] - TURNS
    assert hardware["refills"] == tagged["refills"] == 0
    assert tagged["exits"] <= hardware["exits"]


@pytest.mark.parametrize("kind", list(TlbKind))
@pytest.mark.parametrize(("entries", "ways"), [(1, 1), (4, 1), (8, 8)])
def test_it_does_not_matter_how_small_it_is(kind: TlbKind, entries: int, ways: int) -> None:
    """An instruction needs its own page and that which it stores to at the same time."""
    assert work(kind, entries, ways).counts["evictions"] > 0


@pytest.mark.parametrize("kind", [TlbKind.hardware, TlbKind.tagged])
@pytest.mark.parametrize("entries", [1, 64])
def test_kernels_that_know_nothing_of_it_run_on_what_the_processor_refills(
    kind: TlbKind, entries: int
) -> None:
    run = Run(kernel("twice"), TlbSpec(kind, entries, min(entries, 4)))
    well(run, guest_kernels.load("twice").expected)
    assert run.counts["misses"] > 1000


def test_each_of_several_processors_has_one() -> None:
    run = Run(kernel("smp"), TlbSpec(TlbKind.hardware), vcpus=4)
    assert run.reason is ShutdownReason.poweroff, run.crash
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


ROUND = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "tlb.inc"
    XEN_NOTES round
    .bss
    .balign PAGE_SIZE
pool:    .skip PAGES * PAGE_SIZE
process: .skip PROCESS_sizeof
    .text
main:
    call map_shared_info
    call space_init
    movl $process, %ebx
    movl $pool, %edi
    xorl %esi, %esi
1:  leal PTE_USER_WRITE(%edi), %eax
    movl %eax, PROCESS_pages(%ebx,%esi,4)
    addl $PAGE_SIZE, %edi
    incl %esi
    cmpl $PAGES, %esi
    jb 1b
    call space_make
    call space_load
    movl $100, %esi
2:  xorl %ebp, %ebp
3:  movl %ebp, %eax
    shll $12, %eax
    incl USER_VA(%eax)
    incl %ebp
    cmpl $6, %ebp
    jb 3b
    decl %esi
    jnz 2b
    ret
"""


@pytest.mark.parametrize("kind", [TlbKind.hardware, TlbKind.tagged])
@pytest.mark.parametrize(
    ("entries", "ways", "misses"),
    [
        (1, 1, 600),
        (4, 1, 402),  # of six pages two have a set of their own
        (4, 4, 600),
        (6, 3, 6),
        (8, 1, 6),
    ],
)
def test_an_instruction_in_a_loop_misses_as_often_as_others(
    kind: TlbKind, entries: int, ways: int, misses: int, tmp_path: Path
) -> None:
    """Six pages in turn, a hundred times, by one and the same: what was in flight for it is so no more."""
    folder = guest_kernels.folder_of("tlb")
    (tmp_path / "round.S").write_text(ROUND)
    image = build([tmp_path / "round.S", folder / "space.S"], include=[folder])
    run = well(Run(image, TlbSpec(kind, entries, ways)), "")
    assert run.counts["misses"] == misses
