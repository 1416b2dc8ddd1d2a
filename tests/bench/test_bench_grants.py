"""What grants cost: bytes copied by grant beside bytes copied, and a mapping beside a page-table entry."""

from __future__ import annotations

import timeit
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.abi.grant_table import (
    GNTTAB_COPY,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_UNMAP_GRANT_REF,
    GnttabCopy,
    GnttabCopyPtr,
    GnttabMapGrantRef,
    GnttabOp,
    GnttabUnmapGrantRef,
    GrantCopyFlag,
)
from paravane.abi.hypercall import Hypercall
from paravane.cpu import PAE
from paravane.grants import map_grants, read_grant
from paravane.x86 import PAGE_SIZE
from tests.support.caller import FakeCaller
from tests.support.granting import HOST_MAP, PERMIT, GrantMachine
from tests.support.memory_bench import DATA

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

BATCH = 64
"""Requests of one hypercall."""

MAPPED = 100
"""The first page of linear memory where grants are mapped."""


class Taker(FakeCaller):
    """A vcpu of domain 2, which domain 1 lets use a page by each of `BATCH` references from 8 on."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = GrantMachine(2, 200, booted=PAE)
        self.giver, own = self.machine.guests
        self.own, self.paging = own, own.paging
        self.domain = SimpleNamespace(grants=own.table, domid=2, memory=own.memory)
        self.platform.memory, self.platform.domains = self.machine.memory, self.machine.registry
        for at in range(BATCH):
            self.giver.grant(8 + at, 2, self.giver.p2m[12 + at % 8], PERMIT)

    def ask(self, command: GnttabOp, requests: bytes) -> None:
        """One hypercall with a batch of requests, whose structs are written back where they were read."""
        self.memory[: len(requests)] = requests
        assert self.call(Hypercall.grant_table_op, command, 0, BATCH) == 0


@pytest.fixture
def taker() -> Taker:
    return Taker()


def quickest(work: object, number: int = 100) -> float:
    """Seconds of the quickest of some runs."""
    return min(timeit.repeat(work, number=number, repeat=5)) / number  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [64, 1500, PAGE_SIZE])
def test_copies_by_grant(benchmark: BenchmarkFixture, taker: Taker, length: int) -> None:
    """The floor is Python's own copy of as many bytes between the same two frames."""
    own, giver = taker.own.p2m[12], taker.giver.p2m[12]
    ends = GnttabCopyPtr(8, 1, 0), GnttabCopyPtr(own, DomId.SELF, 0)
    request = GNTTAB_COPY.pack(GnttabCopy(*ends, length, GrantCopyFlag.source_gref, 0))
    benchmark(taker.ask, GnttabOp.copy, request * BATCH)
    ram = taker.machine.ram.bytes
    source, dest = ram[giver << 12 : (giver << 12) + length], ram[own << 12 : (own << 12) + length]

    def copy() -> None:
        for _ in range(BATCH):
            dest[:] = source

    benchmark.extra_info["floor"] = quickest(copy)
    benchmark.extra_info["bytes"] = length * BATCH


def test_mappings_made_and_ended(benchmark: BenchmarkFixture, taker: Taker) -> None:
    """The floor is as many entries set and cleared again without a grant."""
    table, machine = taker.own.memory, taker.machine.memory
    first = (taker.own.p2m[5] << table.space.table_shift) + MAPPED
    makes = b"".join(
        GNTTAB_MAP_GRANT_REF.pack(GnttabMapGrantRef((MAPPED + at) << 12, HOST_MAP, 8 + at, 1, 0, 0, 0))
        for at in range(BATCH)
    )

    def rounds() -> None:
        taker.ask(GnttabOp.map_grant_ref, makes)
        handles = [
            GNTTAB_MAP_GRANT_REF.unpack(taker.memory, at * GNTTAB_MAP_GRANT_REF.size).handle
            for at in range(BATCH)
        ]
        ends = b"".join(
            GNTTAB_UNMAP_GRANT_REF.pack(GnttabUnmapGrantRef((MAPPED + at) << 12, 0, handle, 0))
            for at, handle in enumerate(handles)
        )
        taker.ask(GnttabOp.unmap_grant_ref, ends)

    benchmark(rounds)
    entry = taker.own.p2m[12] << 12 | DATA

    def entries() -> None:
        for at in range(BATCH):
            machine.tables.modify_l1(table, first + at, entry, 2)
        for at in range(BATCH):
            machine.tables.modify_l1(table, first + at, 0, 2)

    benchmark.extra_info["floor"] = quickest(entries, 20)
    assert taker.machine.audit() == []


def test_a_backend_reads_by_grant(benchmark: BenchmarkFixture, taker: Taker) -> None:
    """One packet, copied without a mapping; the floor is a slice of the frame."""
    giver = taker.giver.p2m[12]
    benchmark(read_grant, taker.giver.table, 8, 100, 1500, domid=2)
    ram = taker.machine.ram.bytes
    at = (giver << 12) + 100
    benchmark.extra_info["floor"] = quickest(lambda: bytes(ram[at : at + 1500]))


def test_a_backend_maps_the_pages_of_a_request(benchmark: BenchmarkFixture, taker: Taker) -> None:
    """As many segments as a disk's request has without indirection; the floor is a slice of each frame."""
    parts = [(8 + at, 0, PAGE_SIZE) for at in range(11)]

    def request() -> None:
        with map_grants(taker.giver.table, parts, writable=True, domid=2) as pages:
            assert len(pages) == 11

    benchmark(request)
    ram, mfns = taker.machine.ram.bytes, [taker.giver.p2m[12 + at % 8] for at in range(11)]
    benchmark.extra_info["floor"] = quickest(lambda: [ram[mfn << 12 : mfn + 1 << 12] for mfn in mfns])
