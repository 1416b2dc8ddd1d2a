"""Kernels on processors with a modelled TLB: the same console, and what the TLB has counted."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, guest_kernels, load_image
from paravane.asm import build
from paravane.debug import memory
from paravane.quick import boot
from paravane.tlb import Tag, TlbKind, TlbProcessor, TlbSpec
from paravane.tlb.report import counts_of
from paravane.x86 import PAGE_SIZE
from tests.support.boot import HOST_TIMEOUT, finished
from tests.support.tlb_run import MEMORY, Run, well
from tests.support.unix_archive import archive
from tests.support.unix_archive import kernel as unix

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


@pytest.mark.parametrize("kind", [TlbKind.hardware, TlbKind.tagged])
def test_linux_programs_run_on_a_small_one(kind: TlbKind) -> None:
    """Debian's busybox, on a kernel that knows nothing of the TLB: pipes, forks, copies on write."""
    script = (
        "seq 1 40 | sort -rn | head -3; (exit 3); echo $?; for i in 1 2 3; do true & done; wait; echo all"
    )
    result = boot(
        load_image(unix()),
        cmdline=shlex.join(("sh", "-c", script)),
        ramdisk=archive({}),
        tlb=TlbSpec(kind, 4, 1),
        trace=(),
        timeout=HOST_TIMEOUT,
    )
    assert finished(result).console == "40\n39\n38\n3\nall\n"


def test_each_of_several_processors_has_one() -> None:
    run = Run(kernel("smp"), TlbSpec(TlbKind.hardware), vcpus=4)
    assert run.reason is ShutdownReason.poweroff, run.crash
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


ROUND = Path(__file__).parents[1] / "support" / "tlb_round.S"


@cache
def going_round() -> bytes:
    folder = guest_kernels.folder_of("tlb")
    return build([ROUND, folder / "space.S"], include=[folder])


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
    kind: TlbKind, entries: int, ways: int, misses: int
) -> None:
    """Six pages in turn, a hundred times, by one and the same: what was in flight for it is so no more."""
    run = well(Run(going_round(), TlbSpec(kind, entries, ways)), "")
    assert run.counts["misses"] == misses


@pytest.mark.parametrize("kind", [TlbKind.hardware, TlbKind.tagged])
@pytest.mark.parametrize("entries", [1, 8])
def test_an_instruction_that_missed_begins_again_past_its_breakpoint(kind: TlbKind, entries: int) -> None:
    """What is mended unseen shows no second #DB."""
    folder = guest_kernels.folder_of("tlb")
    broken = build([ROUND.with_name("tlb_break.S"), folder / "space.S"], include=[folder])
    run = well(Run(broken, TlbSpec(kind, entries, 1)), "six\n")
    assert run.counts["misses"] == 6


@pytest.mark.parametrize("kind", [TlbKind.hardware, TlbKind.tagged])
def test_a_debugger_sees_what_the_tlb_does_not_hold_and_has_it_hold_nothing(kind: TlbKind) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        config = DomainConfig(memory=MEMORY, tlb=TlbSpec(kind, 1, 1))
        domain = machine.create(load_image(going_round()), config)
        machine.run(timeout=HOST_TIMEOUT)
        (vcpu,) = domain.vcpus
        counted = counts_of([vcpu.cpu])
        seen = [memory.read(vcpu, 0x400000 + page * PAGE_SIZE, 4) for page in range(6)]
        assert seen == [b"\x64\0\0\0"] * 6
        assert memory.read(vcpu, 0x800000, 4) == b""
        assert counts_of([vcpu.cpu]) == counted


def test_an_audit_finds_what_the_engine_sees_and_the_tlb_does_not_hold() -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        config = DomainConfig("it", MEMORY, tlb=TlbSpec(TlbKind.hardware))
        (vcpu,) = machine.create(load_image(going_round()), config).vcpus
        machine.run(timeout=HOST_TIMEOUT)
        assert isinstance(vcpu.cpu, TlbProcessor)
        assert machine.audit() == []
        assert vcpu.cpu.tlb.forget(Tag(0x400, 0))
        vcpu.cpu._recent.clear()
        (found,) = machine.audit()
        assert found.startswith("it, vcpu 0: page 0x400: the TLB has None, the engine ")
