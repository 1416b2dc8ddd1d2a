"""Entries changed in one step (`PageTables.exchange_l1`): nothing else than the careful way would do."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.cpu.geometry import PAE, TWO_LEVEL, Geometry
from paravane.memory import audit
from paravane.memory.frames import L1
from paravane.memory.mmu_update import mmu_update
from paravane.memory.va_mapping import update_va_mapping
from paravane.refusal import Refusal
from paravane.x86 import Pte
from tests.support.memory_bench import DATA, READ_ONLY, Guest, make_bench
from tests.support.residents import new_domain_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = 5
"""The pfn of the L1 table whose entries change."""
FIRST = 20
SLOTS = 12
CALLS = 300
FLAGS = (0, DATA, READ_ONLY, DATA & ~0x60, DATA | Pte.PWT, DATA | Pte.GLOBAL, int(Pte.PRESENT))
PAE_FLAGS = (*FLAGS, DATA | 1 << 63, DATA | 1 << 52, DATA | 1 << 63 | 1 << 55)


class Same:
    """A machine that is asked for the same as another one."""

    def __init__(self, geometry: Geometry) -> None:
        self.bench = bench = make_bench(256, 80, geometry=geometry)
        bench.boot(mapped=40)
        self.foreign = new_domain_memory(bench.machine, 2, geometry, max_pages=5).populate(1)[0]

    def targets(self) -> Sequence[int]:
        """Frames that are data, tables, another's, and none at all."""
        own = [self.bench.frame(pfn) for pfn in (0, 1, TABLE, 20, 21, 22, 50, 51, 52, 60)]
        return (*own, self.foreign, 0, 255, 256, 1 << 19)

    def ask(self, requests: Sequence[tuple[int, int, int]], *, by_address: bool) -> str:
        """mmu_update, or update_va_mapping of each: what comes of it."""
        bench = self.bench
        try:
            if by_address:
                for slot, _, entry in requests:
                    update_va_mapping(bench.guest, FIRST + slot << 12, entry, 0)
            else:
                packed = (
                    struct.pack("<QQ", bench.maddr(TABLE, FIRST + slot) | command, entry)
                    for slot, command, entry in requests
                )
                bench.guest.put(b"".join(packed))
                mmu_update(bench.guest, Guest.BASE, len(requests), 0, int(DomId.SELF))
        except Refusal as refusal:
            return str(refusal)
        return "done"

    def state(self) -> tuple[object, ...]:
        frames = self.bench.machine.frames
        table = self.bench.domain.table(self.bench.frame(TABLE))
        counts = frames.count.tolist(), frames.type_count.tolist()
        return table, counts, bytes(frames.type), bytes(frames.flags), frames.owner.tolist()


@pytest.mark.parametrize("geometry", [PAE, TWO_LEVEL], ids=["pae", "two-level"])
def test_an_entry_changed_in_one_step_is_changed_as_in_many(
    geometry: Geometry, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, careful = Same(geometry), Same(geometry)
    tables = careful.bench.machine.tables
    monkeypatch.setattr(tables, "exchange_l1", lambda *_, **__: False)
    draw = random.Random(1)
    flags = PAE_FLAGS if geometry is PAE else FLAGS
    outcomes = set()
    for _ in range(CALLS):
        by_address = draw.random() < 0.3
        requests = [
            (
                draw.randrange(SLOTS),
                draw.choice((0, 0, 2)),
                draw.choice((0, draw.choice(quick.targets()) << 12 | draw.choice(flags))),
            )
            for _ in range(draw.choice((1, 1, 3)))
        ]
        answers = [one.ask(requests, by_address=by_address) for one in (quick, careful)]
        assert answers[0] == answers[1], requests
        assert quick.state() == careful.state(), requests
        outcomes.add(answers[0] == "done")
    assert outcomes == {True, False}
    assert audit(quick.bench.machine) == []


@pytest.mark.parametrize("limit", ["count", "type_count"])
def test_a_frame_with_all_references_taken_is_refused_in_one_step_too(limit: str) -> None:
    bench = Same(PAE).bench
    mfn, frames = bench.frame(21), bench.machine.frames
    counts = getattr(frames, limit)
    before = counts[mfn]
    counts[mfn] = frames.count_limit
    index = bench.maddr(TABLE, FIRST) >> 3
    assert not bench.machine.tables.exchange_l1(bench.domain, index, mfn << 12 | DATA)
    counts[mfn] = before
    assert frames.type[bench.frame(TABLE)] == L1
    assert audit(bench.machine) == []


def test_a_table_that_holds_code_is_not_changed_in_one_step() -> None:
    bench = Same(PAE).bench
    bench.ram.code_map[bench.frame(TABLE)] = 1
    index = bench.maddr(TABLE, FIRST) >> 3
    assert not bench.machine.tables.exchange_l1(bench.domain, index, bench.entry(21))
    bench.machine.tables.modify_l1(bench.domain, index, bench.entry(21), bench.domain.domid)
    assert not bench.ram.code_map[bench.frame(TABLE)]
