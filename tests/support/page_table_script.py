"""Scripts of random page-table work of a guest.

The script is put into the guest's memory before it runs, when the numbers of its frames are known. A step is
a hypercall with given registers, a load and a store at an address, or a raw store; what came of it is written
over it, so that the guest's memory tells afterwards.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from paravane.abi.domid import DomId
from paravane.abi.hypercall import MULTICALL_ENTRY, Hypercall
from paravane.abi.memory import XEN_MEMORY_RESERVATION, MemoryOp, XenMemoryReservation
from paravane.abi.mmu import MmuextCmd, UvmFlag
from paravane.x86 import PAGE_SIZE
from tests.support.page_table_calls import Calls
from tests.support.page_table_kernel import (
    CALL,
    END,
    LOAD,
    NR_STORES,
    PEND,
    POOL,
    SCRIPT_SIZE,
    STEP,
    STORE,
    TABLE_VA,
    TABLES,
    TOUCH,
)

if TYPE_CHECKING:
    import random

    from tests.support.page_table_calls import Place


class Writer(Calls):
    """Writes one script."""

    def __init__(self, place: Place, source: random.Random) -> None:
        super().__init__(place, source)
        self._steps: list[bytes] = []
        self._doomed = list(range(POOL // 2))

    @property
    def script(self) -> bytes:
        """All steps, and the end."""
        done = b"".join(self._steps) + STEP.pack(*[END] * 8)
        assert len(done) <= SCRIPT_SIZE
        return done

    def write(self, steps: int) -> None:
        """`steps` random ones."""
        others = self._touch, self._store, self._load, self._pend, self._give_away, self._list
        calls = self.mapping, self.flushes, self.batch, self.base, self.pin, self.descriptor, self.ldt
        for _ in range(steps):
            (chosen,) = self._source.choices((*others, *calls), (4, 4, 2, 1, 1, 4, 4, 1, 5, 2, 2, 2, 1))
            made = chosen()
            if made is not None:
                self.call(*made)

    def call(self, number: int, *arguments: int) -> None:
        """A hypercall of one's choice."""
        self._step(CALL, number, *arguments)

    def store(self, va: int, value: int, form: int) -> None:
        """A store of one's choice."""
        self._step(STORE, va, value, form)

    def _step(self, kind: int, *words: int) -> None:
        padded = [word & 0xFFFF_FFFF for word in words] + [0] * (7 - len(words))
        self._steps.append(STEP.pack(kind, *padded))

    def _touch(self) -> None:
        """See where an address is mapped now, without what the processor remembers of it."""
        va = self.address() & -PAGE_SIZE
        self.call(*self.operation(MmuextCmd.INVLPG_LOCAL, va))
        self._step(TOUCH, va)

    def _store(self) -> None:
        """Half an entry, as a guest with writable page tables stores it."""
        source, size = self._source, self._place.entry_size
        table = self._place.tables + source.randrange(TABLES) * PAGE_SIZE
        half = source.choice((0, 0, 4)) if size == 8 else 0
        stray = 0 if source.randrange(20) else source.choice((-2, 1, 2, 0xFFE))
        form = 0 if source.randrange(2) else source.randrange(NR_STORES)
        self.store(table + source.randrange(6) * 100 * size + half + stray, self.entry(), form)

    def _load(self) -> None:
        """A descriptor of the GDT or the LDT, which may have none."""
        source = self._source
        self._step(LOAD, 8 * source.choice((1, 2, 6, 7, 511)) | source.choice((1, 1, 5)))

    def _pend(self) -> None:
        """An upcall, mostly one that is not masked."""
        self._step(PEND, 1, self._source.choice((0, 0, 1)))

    def _give_away(self) -> None:
        """A page of data, which is free when no table maps it any more."""
        if not self._doomed:
            return
        at = self._doomed.pop()
        self.call(Hypercall.update_va_mapping, self._place.pool + at * PAGE_SIZE, 0, 0, UvmFlag.INVLPG)
        extent = self.put(struct.pack("<I", self._pool[at]))
        request = XenMemoryReservation(extent, 1, 0, 0, DomId.SELF)
        place = self.put(XEN_MEMORY_RESERVATION.pack(request))
        self.call(Hypercall.memory_op, MemoryOp.decrease_reservation, place)

    def _list(self) -> None:
        """A multicall, sometimes where the tables under change map it."""
        source = self._source
        of_tables = self.mapping, self.flushes, self.batch, self.base, self.pin
        calls = *of_tables, self.descriptor, self.version, self.unserved
        weights = 4, 1, 4, 2, 1, 3, 3, 1
        chosen = [source.choices(calls, weights)[0]() for _ in range(source.choice((0, 1, 2, 5, 12)))]
        number, place, count = self.list(chosen)
        if place % PAGE_SIZE + count * MULTICALL_ENTRY.size <= PAGE_SIZE and not source.randrange(3):
            at = source.randrange(2)
            self.call(*self.map_again(place, at))
            place = TABLE_VA + at * 100 * PAGE_SIZE + place % PAGE_SIZE
        self.call(number, place, count)


def results(steps: bytes) -> list[tuple[int, ...]]:
    """What came of each step of a script that ran: its kind, and the words that were written over it."""
    found = []
    for words in STEP.iter_unpack(steps):
        if words[0] == END:
            break
        found.append(words)
    return found
