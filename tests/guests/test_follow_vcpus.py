"""Following a guest with two vcpus: what is told of each, and counted of both together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Kind, Machine, StopReason, load_image
from paravane.cpu.debugger import Watched
from paravane.follow import Breakpoints, Coverage, InstructionTrace, location
from paravane.follow.coverage_files import drcov
from paravane.image.source_text import SourceText
from paravane.trace import BreakpointRecord, InstructionRecord
from tests.support.boot import HOST_TIMEOUT, kernel_image
from tests.support.debugged import TWO_VCPUS
from tests.support.drcov import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Domain, Record

MEMORY = 8 << 20
VISITS = 20
SLICE = 50
"""Instructions: the two take turns in the middle of what is followed."""


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY), slice_instructions=SLICE) as made:
        yield made


@pytest.fixture
def domain(machine: Machine) -> Domain:
    return machine.create(load_image(kernel_image(TWO_VCPUS)), DomainConfig(memory=MEMORY, vcpus=2))


def run(machine: Machine) -> list[Record]:
    """To its end; what was followed."""
    records: list[Record] = []
    machine.trace.subscribe(records.append, (Kind.BREAKPOINT, Kind.INSTRUCTION))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    return records


def visits(domain: Domain) -> tuple[int, int]:
    """How often each of them was there, by their own count."""
    words = domain.vcpus[0].cpu.read(location(domain.image, "visits").start, 8)
    return int.from_bytes(words[:4], "little"), int.from_bytes(words[4:], "little")


def test_what_one_vcpu_stores_is_told_once_and_of_that_vcpu(machine: Machine, domain: Domain) -> None:
    at = location(domain.image, "visits").start + 4
    Breakpoints(domain, (), [Watched(at, 4, reads=False, writes=True)])
    told = [record for record in run(machine) if isinstance(record, BreakpointRecord)]
    assert {record.vcpu for record in told} == {1}
    values = [(record.data["before"], record.data["after"]) for record in told]
    assert values == [(f"{count:02x} 00 00 00", f"{count + 1:02x} 00 00 00") for count in range(VISITS)]


def test_breakpoints_are_told_of_each_vcpu(machine: Machine, domain: Domain) -> None:
    Breakpoints(domain, [location(domain.image, "visit").start], [])
    told = [record.vcpu for record in run(machine)]
    assert (told.count(0), told.count(1)) == visits(domain)


def test_instructions_are_told_of_each_vcpu(machine: Machine, domain: Domain) -> None:
    InstructionTrace(domain, tuple(location(domain.image, name) for name in ("visit", "visited")))
    told = [record for record in run(machine) if isinstance(record, InstructionRecord)]
    for number, count in enumerate(visits(domain)):
        assert [record.name for record in told if record.vcpu == number] == ["incl", "retl"] * count


def test_coverage_is_that_of_both(machine: Machine, domain: Domain) -> None:
    coverage = Coverage(domain.image)
    coverage.follow(domain)
    run(machine)
    first, second = visits(domain)
    counts = coverage.functions()
    assert first > 1
    assert counts["visit"] == first + second
    assert (counts["main"], counts["working"], second) == (1, VISITS, VISITS)


def test_the_blocks_of_both_are_in_one_drcov_file(machine: Machine, domain: Domain) -> None:
    coverage = Coverage(domain.image)
    coverage.follow(domain)
    run(machine)
    found = read(drcov(coverage, "two.elf", SourceText(())))
    starts = [offset + found.modules[0].base for offset, _, _ in found.blocks]
    for name in ("started", "working", "visit"):
        at = location(domain.image, name).start
        assert starts.count(at) == 1, f"{name}: a block is there once, whoever executed it"
