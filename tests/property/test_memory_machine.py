"""Random sequences of hypercalls, valid and hostile, with the audit after every step.

No guest may, by any sequence of requests, get a writable mapping of a page table, of a descriptor table or
of a frame that is not its own. The audit derives all counts again; `no_forbidden_mapping` looks at nothing
but what the processor would, and `no_forbidden_memory_of_mappings` at what it may remember since it was last
flushed.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from paravane.abi.memory import XEN_MEMORY_EXCHANGE, XEN_MEMORY_RESERVATION, MemoryOp
from paravane.abi.mmu import MMU_UPDATE, MMUEXT_OP, MmuextCmd, MmuextOp, MmuUpdate
from paravane.cpu.geometry import PAE, TWO_LEVEL, Geometry
from paravane.memory import audit
from paravane.memory.descriptor_tables import update_descriptor
from paravane.memory.frames import L1, L2, L3, SEG_DESC
from paravane.memory.memory_queries import memory_op
from paravane.memory.mmu_update import mmu_update
from paravane.memory.mmuext import mmuext_op
from paravane.memory.store_emulation import NotEmulated
from paravane.memory.va_mapping import update_va_mapping
from paravane.memory.writable import TablePage
from paravane.refusal import Refusal
from tests.support.memory_bench import DATA, READ_ONLY, TABLE, Bench, Guest, make_bench
from tests.support.residents import new_domain_memory

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES = 96
PAGES = 40
SELF = 0x7FF0
LISTS = 0x4000

flags = st.sampled_from(
    [DATA, READ_ONLY, TABLE, 1, 3, 5, 7, 0, 2, 0x61, 0x1E7, DATA | 1 << 3, DATA | 1 << 7, DATA | 1 << 9]
) | st.integers(0, 0xFFF)
high_bits = st.sampled_from([0, 0, 0, 0, 1 << 63, 1 << 52, 1 << 40, 0x7FF << 52])
picks = st.integers(6, 16) | st.integers(0, 16) | st.integers(0, PAGES + 20)
good = st.sampled_from([DATA, READ_ONLY, READ_ONLY, 0])
slots = st.integers(0, 3) | st.sampled_from([0, 4, 5, 427, 428, 510, 511]) | st.integers(0, 511)
descriptors = st.sampled_from(
    [
        0,
        0x00CF9B000000FFFF,
        0x00CFFB000000FFFF,
        0x00CFF2000000FFFF,
        0x00AF9B000000FFFF,
        0x0000EC00E0190000,
        0x00008C00E0080000,
        0x0000890000000067,
        0x0000850000000000,
        0x0000820000000000,
        0x00008E0000000000,
    ]
) | st.integers(0, (1 << 64) - 1)


NOBODYS = -1
"""An address that no flush of a single page can name: what is remembered of it goes with all the rest."""


class Pages(RuleBasedStateMachine):
    """One machine with two domains; every rule is one hypercall of the first or the second."""

    geometry: Geometry = PAE

    @initialize()
    def start(self) -> None:
        self.bench: Bench = make_bench(FRAMES, PAGES, geometry=self.geometry)
        machine = self.bench.machine
        self.other = new_domain_memory(machine, 2, self.geometry, max_pages=20)
        self.other_p2m = self.other.populate(12)
        self.shared = self.bench.domain.share_xen_frame()
        machine.frames.count_limit = 40
        self.bench.boot(mapped=8)
        self.bench.cpu.tlb.add(NOBODYS)
        self.remembered: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.domain.destroy()
            self.other.destroy()
            assert audit(self.bench.machine) == []
            own = len(self.bench.machine.m2p_frames) + 2
            assert self.bench.machine.nr_free >= FRAMES - own - 2

    def mfn(self, pick: int) -> int:
        """Any frame worth naming: own ones mostly, then somebody else's, the hypervisor's, none at all."""
        own = self.bench.p2m
        if pick < len(own):
            return own[pick]
        rest = [
            self.shared,
            *self.other_p2m,
            0,
            1,
            self.bench.machine.flat_gdt_frame,
            FRAMES,
            0xFFFFF,
            0x12345,
        ]
        return rest[(pick - len(own)) % len(rest)]

    def attempt(self, action: Callable[[], object]) -> None:
        """A request may be refused. Nothing else may come out of it."""
        sentence = "done"
        try:
            action()
        except Refusal as refusal:
            sentence = refusal.sentence
        assert sentence

    def entry(self, pick: int, bits: int, high: int) -> int:
        width = (1 << (8 << self.bench.domain.space.entry_shift)) - 1
        return (self.mfn(pick) << 12 | bits | high) & width

    def writable_by_guest(self, mfn: int) -> bool:
        """Whether the guest could have a writable mapping of the frame, and so any contents in it."""
        frames = self.bench.machine.frames
        tables = (L1, L2, L3, SEG_DESC)
        return frames.owner[mfn] == 1 and not (frames.type[mfn] in tables and frames.type_count[mfn])

    def scribble(self, mfn: int, slot: int, entry: int) -> None:
        """The guest writes a frame it may write, through a mapping that exists only for this moment."""
        types = self.bench.machine.types
        types.get_page_and_type(mfn, 1, 7)
        space = self.bench.domain.space
        self.bench.domain.entries[(mfn << space.table_shift) + slot % space.entries] = entry
        types.put_page_and_type(mfn)
        self.remembered.add(mfn)

    @rule(table=picks, slot=slots, pick=picks, bits=flags, high=high_bits)
    def guest_writes_an_entry(self, table: int, slot: int, pick: int, bits: int, high: int) -> None:
        mfn = self.mfn(table)
        if mfn < FRAMES and self.writable_by_guest(mfn):
            self.scribble(mfn, slot, self.entry(pick, bits, high))

    @rule(table=picks, seed=st.randoms(use_true_random=False), bits=flags)
    def guest_writes_a_whole_table(self, table: int, seed: object, bits: int) -> None:
        mfn = self.mfn(table)
        if mfn >= FRAMES or not self.writable_by_guest(mfn):
            return
        for slot in range(0, 512, 37):
            choice = seed.randrange(PAGES + 30)  # type: ignore[attr-defined]  # hypothesis gives a Random
            self.scribble(mfn, slot, self.entry(choice, bits, 0))

    @rule(table=picks, descriptor=descriptors, slot=slots)
    def guest_writes_a_descriptor(self, table: int, descriptor: int, slot: int) -> None:
        mfn = self.mfn(table)
        if mfn < FRAMES and self.writable_by_guest(mfn):
            half = 2 if self.bench.domain.space.entry_shift == 2 else 1
            for part in range(half):
                self.scribble(mfn, slot * half + part, descriptor >> 32 * part & (1 << 64 // half) - 1)

    @rule(
        requests=st.lists(
            st.tuples(picks, slots, picks, flags, high_bits, st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4, 7])),
            min_size=1,
            max_size=6,
        ),
        foreign=st.sampled_from(
            [SELF, SELF, SELF, SELF, 1, 2, 0x7FF1, 0x7FF2, 2 << 16 | SELF, 3 << 16 | SELF]
        ),
    )
    def mmu_update(self, requests: list[tuple[int, int, int, int, int, int]], foreign: int) -> None:
        size = 1 << self.bench.domain.space.entry_shift
        data = b"".join(
            MMU_UPDATE.pack(
                MmuUpdate(
                    ((self.mfn(table) << 12) + slot * size % 4096) | kind, self.mfn(pick) << 12 | bits | high
                )
            )
            for table, slot, pick, bits, high, kind in requests
        )
        guest = self.bench.guest
        guest.put(data)
        guest.put(bytes(4), LISTS)
        self.attempt(lambda: mmu_update(guest, Guest.BASE, len(requests), LISTS, foreign))
        assert guest.word(LISTS) <= len(requests)

    @rule(
        va=st.sampled_from([0, 5 << 12, 0x3F000, 1 << 21, 1 << 30, 0xF5800000, 0xFFC00000])
        | st.integers(0, 63).map(lambda page: page << 12),
        pick=picks,
    )
    def update_va_mapping(self, va: int, pick: int) -> None:
        guest = self.bench.guest
        for bits in (DATA, READ_ONLY):
            self.attempt(lambda bits=bits: update_va_mapping(guest, va, self.entry(pick, bits, 0), 2))  # type: ignore[misc]  # a default binds now

    @rule(
        cmds=st.lists(
            st.tuples(st.integers(0, 21), picks, picks | st.sampled_from([0, 1, 512, 8192, 8193])),
            min_size=1,
            max_size=4,
        ),
        foreign=st.sampled_from([SELF, SELF, SELF, SELF, 2, 0x7FF1, 9]),
    )
    def mmuext_op(self, cmds: list[tuple[int, int, int]], foreign: int) -> None:
        guest = self.bench.guest
        linear = (MmuextCmd.SET_LDT, MmuextCmd.INVLPG_ALL)
        guest.put(
            b"".join(
                MMUEXT_OP.pack(
                    MmuextOp(
                        cmd,
                        pick << 12 if cmd in linear else self.mfn(pick),
                        self.mfn(second) if cmd == MmuextCmd.COPY_PAGE else second,
                    )
                )
                for cmd, pick, second in cmds
            )
        )
        self.attempt(lambda: mmuext_op(guest, Guest.BASE, len(cmds), LISTS, foreign))

    @rule(pick=picks, kind=st.sampled_from([0, 1, 2, 2, 4, 4, 5]))
    def pin_or_unpin_or_switch(self, pick: int, kind: int) -> None:
        guest = self.bench.guest
        guest.put(MMUEXT_OP.pack(MmuextOp(kind, self.mfn(pick), 0)))
        self.attempt(lambda: mmuext_op(guest, Guest.BASE, 1, 0, SELF))

    @rule(chosen=st.lists(picks, max_size=3), entries=st.sampled_from([0, 1, 512, 513, 1500, 7168, 7169]))
    def set_gdt(self, chosen: list[int], entries: int) -> None:
        self.attempt(
            lambda: self.bench.paging.set_gdt(
                [self.mfn(pick) for pick in chosen], min(entries, 512 * len(chosen))
            )
        )

    @rule(pick=picks, slot=slots, descriptor=descriptors)
    def update_descriptor(self, pick: int, slot: int, descriptor: int) -> None:
        self.attempt(
            lambda: update_descriptor(self.bench.domain, (self.mfn(pick) << 12) + 8 * slot, descriptor)
        )

    @rule(page=st.integers(0, 15))
    def use_the_ldt(self, page: int) -> None:
        self.bench.paging.map_ldt_page(page << 12)

    @rule(
        op=st.sampled_from(
            [MemoryOp.increase_reservation, MemoryOp.decrease_reservation, MemoryOp.populate_physmap]
        ),
        chosen=st.lists(picks, min_size=1, max_size=4),
        order=st.sampled_from([0, 0, 0, 1, 2, 9, 10]),
        unwritable=st.none() | st.integers(0, 3),
    )
    def change_reservation(self, op: MemoryOp, chosen: list[int], order: int, unwritable: int | None) -> None:
        guest = self.bench.guest
        mfns = [self.mfn(pick) for pick in chosen]
        guest.put(struct.pack(f"<{len(mfns)}I", *mfns), LISTS)
        guest.put(XEN_MEMORY_RESERVATION.pack(XEN_MEMORY_RESERVATION.type(LISTS, len(mfns), order, 0, SELF)))
        if unwritable is not None:
            guest.read_only = range(LISTS + 4 * unwritable, LISTS + 4 * unwritable + 4)
        done = memory_op(guest, op, Guest.BASE, 0)
        guest.read_only = range(0)
        assert 0 <= done <= len(mfns)
        if op != MemoryOp.decrease_reservation:
            for at in range(done):
                first = guest.word(LISTS + 4 * at)
                self.bench.p2m.extend(range(first, first + (1 << order)))
        self.forget_lost_frames()

    @rule(
        chosen=st.lists(picks, min_size=1, max_size=4),
        order=st.sampled_from([0, 0, 1, 2]),
        unwritable=st.none() | st.integers(0, 3),
    )
    def exchange(self, chosen: list[int], order: int, unwritable: int | None) -> None:
        if unwritable is not None:
            self.bench.guest.read_only = range(LISTS + 64 + 4 * unwritable, LISTS + 68 + 4 * unwritable)
        self.exchange_frames([self.mfn(pick) for pick in chosen], order)
        self.bench.guest.read_only = range(0)

    @rule(
        table=st.integers(0, 16),
        at=st.integers(0, 4095) | slots.map(lambda slot: 8 * slot),
        pick=picks,
        bits=flags,
        size=st.sampled_from([1, 2, 4, 4, 8]),
        plain=st.booleans(),
    )
    def guest_stores_to_a_live_table(  # noqa: PLR0917 - hypothesis calls it
        self, table: int, at: int, pick: int, bits: int, size: int, plain: bool
    ) -> None:
        """What is left of an instruction once it is emulated: some bytes for a table that is read-only."""
        mfn = self.mfn(table)
        if not self.bench.machine.frames.in_use_as(mfn, 1, L1):
            return
        page = TablePage(self.bench.paging, 0x5000, mfn)
        value = self.entry(pick, bits, 0) & (1 << 8 * size) - 1
        with contextlib.suppress(NotEmulated):
            page.store(0x5000 + at, value, size, plain=plain)

    @rule(at=picks, other=picks, exchange=st.booleans())
    def pin_what_the_processor_remembers(self, at: int, other: int, exchange: bool) -> None:
        """A frame that was writable a moment ago becomes a table, perhaps after an exchange."""
        if not self.remembered:
            return
        mfn, guest = sorted(self.remembered)[at % len(self.remembered)], self.bench.guest
        if exchange:
            self.exchange_frames([mfn, self.mfn(other)], 1)
        guest.put(MMUEXT_OP.pack(MmuextOp(MmuextCmd.PIN_L1_TABLE, mfn, 0)))
        self.attempt(lambda: mmuext_op(guest, Guest.BASE, 1, 0, SELF))

    def exchange_frames(self, mfns: list[int], order: int) -> None:
        guest = self.bench.guest
        out = max(1, len(mfns) >> order)
        guest.put(struct.pack(f"<{len(mfns)}I", *mfns), LISTS)
        guest.put(struct.pack(f"<{out}I", *range(out)), LISTS + 64)
        kind = XEN_MEMORY_RESERVATION.type
        request = XEN_MEMORY_EXCHANGE.type(
            kind(LISTS, len(mfns), 0, 0, SELF), kind(LISTS + 64, out, order, 0, SELF), 0
        )
        guest.put(XEN_MEMORY_EXCHANGE.pack(request))
        self.attempt(lambda: memory_op(guest, MemoryOp.exchange, Guest.BASE, 0))
        done = XEN_MEMORY_EXCHANGE.unpack(
            guest.copy_from_guest(Guest.BASE, XEN_MEMORY_EXCHANGE.size)
        ).nr_exchanged
        for at in range(done >> order):
            first = guest.word(LISTS + 64 + 4 * at)
            self.bench.p2m.extend(range(first, first + (1 << order)))
        self.forget_lost_frames()

    @rule(
        table=st.integers(6, 16),
        picked=st.lists(st.tuples(slots, picks, good), max_size=6),
        clear=st.booleans(),
        pin=st.sampled_from([None, MmuextCmd.PIN_L1_TABLE, MmuextCmd.PIN_L1_TABLE, MmuextCmd.PIN_L2_TABLE]),
    )
    def guest_builds_a_table(
        self, table: int, picked: list[tuple[int, int, int]], clear: bool, pin: MmuextCmd | None
    ) -> None:
        """What a kernel does before it uses a frame as a table: clear it and fill in plausible entries."""
        mfn = self.mfn(table)
        if mfn >= FRAMES or not self.writable_by_guest(mfn):
            return
        if clear:
            guest = self.bench.guest
            guest.put(MMUEXT_OP.pack(MmuextOp(MmuextCmd.CLEAR_PAGE, mfn, 0)))
            self.attempt(lambda: mmuext_op(guest, Guest.BASE, 1, 0, SELF))
        for slot, pick, bits in picked:
            self.scribble(mfn, slot, self.entry(pick, bits, 0))
        if pin is not None:
            self.pin_or_unpin_or_switch(table, pin)

    @rule(table=picks, kind=st.sampled_from([MmuextCmd.PIN_L1_TABLE, MmuextCmd.PIN_L2_TABLE]))
    def guest_pins(self, table: int, kind: int) -> None:
        self.pin_or_unpin_or_switch(table, kind)

    @rule(table=st.integers(0, 16), slot=slots, pick=picks, bits=good)
    def guest_changes_one_entry(self, table: int, slot: int, pick: int, bits: int) -> None:
        size = 1 << self.bench.domain.space.entry_shift
        guest = self.bench.guest
        entry = self.entry(pick, bits, 0)
        guest.put(MMU_UPDATE.pack(MmuUpdate((self.mfn(table) << 12) + slot * size, entry)))
        self.attempt(lambda: mmu_update(guest, Guest.BASE, 1, 0, SELF))

    @rule(first=st.integers(6, 12), linear=st.booleans())
    def guest_builds_an_address_space(self, first: int, linear: bool) -> None:
        """Another set of tables, as a kernel makes one for a process: something to attack."""
        bench = self.bench
        frames = [self.mfn(first + at) for at in range(6)]
        if any(mfn >= FRAMES or not self.writable_by_guest(mfn) for mfn in frames):
            return
        guest = bench.guest
        guest.put(b"".join(MMUEXT_OP.pack(MmuextOp(MmuextCmd.CLEAR_PAGE, mfn, 0)) for mfn in frames))
        self.attempt(lambda: mmuext_op(guest, Guest.BASE, 6, 0, SELF))
        if not all(self.writable_by_guest(mfn) for mfn in frames):
            return
        root, *directories, leaf = frames
        if self.geometry is PAE:
            for slot, mfn in enumerate(directories):
                self.scribble(root, slot, mfn << 12 | 1)
        self.scribble(directories[0] if self.geometry is PAE else root, 0, leaf << 12 | TABLE)
        if linear:
            self.scribble(directories[1], 7, directories[2] << 12 | READ_ONLY)
            self.scribble(directories[2], 8, directories[2] << 12 | READ_ONLY)
        for slot, mfn in enumerate(frames):
            self.scribble(leaf, slot, mfn << 12 | READ_ONLY)
        self.pin_or_unpin_or_switch(
            first, MmuextCmd.PIN_L3_TABLE if self.geometry is PAE else MmuextCmd.PIN_L2_TABLE
        )

    @rule(pick=st.integers(6, 14), entries=st.sampled_from([1, 8, 512]))
    def guest_installs_a_gdt(self, pick: int, entries: int) -> None:
        self.attempt(lambda: self.bench.paging.set_gdt([self.mfn(pick)], entries))

    @rule(page=st.integers(0, 11), entries=st.sampled_from([0, 1, 600, 8192]))
    def guest_uses_an_ldt(self, page: int, entries: int) -> None:
        self.attempt(lambda: self.bench.paging.set_ldt(page << 12, entries))
        self.bench.paging.map_ldt_page(0)
        self.bench.paging.map_ldt_page(4096)

    def forget_lost_frames(self) -> None:
        owner = self.bench.machine.frames.owner
        kept = [mfn for mfn in dict.fromkeys(self.bench.p2m) if owner[mfn] == 1]
        del self.bench.p2m[:]
        self.bench.p2m.extend(kept)

    @invariant()
    def everything_adds_up(self) -> None:
        if hasattr(self, "bench"):
            assert audit(self.bench.machine) == []

    @invariant()
    def no_forbidden_mapping(self) -> None:
        """Look at what a processor could reach, and nothing else: by the tables, and by what it remembers."""
        if not hasattr(self, "bench"):
            return
        self.no_forbidden_memory_of_mappings()
        if not self.bench.paging.base_mfn:
            return
        frames = self.bench.machine.frames
        writable = writable_leaves(self.bench)
        self.remembered |= writable
        for mfn in writable:
            assert frames.owner[mfn] == 1, frames.describe(mfn)
            assert frames.type[mfn] not in (L1, L2, L3, SEG_DESC), frames.describe(mfn)
        for mfn in mapped_frames(self.bench):
            assert frames.owner[mfn] == 1, frames.describe(mfn)
        assert self.bench.ram.read(0, 4096) == bytes(4096)

    def no_forbidden_memory_of_mappings(self) -> None:
        """A processor remembers every writable mapping until it is flushed: that must not matter."""
        frames, tlb = self.bench.machine.frames, self.bench.cpu.tlb
        if NOBODYS not in tlb:
            self.remembered.clear()
            tlb.add(NOBODYS)
        for mfn in self.remembered:
            assert frames.owner[mfn] == 1, frames.describe(mfn)
            in_use = frames.type_count[mfn] and frames.type[mfn] in (L1, L2, L3, SEG_DESC)
            assert not in_use, frames.describe(mfn)


def writable_leaves(bench: Bench) -> set[int]:
    """Every mfn that ring 1 can write, by the tables of the current base pointer alone."""
    space, entries = bench.domain.space, bench.domain.entries
    mask = space.geometry.address_mask
    level = [bench.paging.base_mfn]
    if space.geometry.levels == 3:
        first = bench.paging.base_mfn << space.table_shift
        level = [(entry & mask) >> 12 for entry in entries[first : first + 4].tolist() if entry & 1]
    found: set[int] = set()
    for directory in level:
        for entry in bench.domain.table(directory):
            if entry & 3 == 3:
                leaves = bench.domain.table((entry & mask) >> 12)
                found.update((leaf & mask) >> 12 for leaf in leaves if leaf & 3 == 3)
    return found


def mapped_frames(bench: Bench) -> set[int]:
    """Every mfn that an L1 table of the first domain maps, whether or not that table is in force now."""
    frames, mask = bench.machine.frames, bench.domain.space.geometry.address_mask
    tables = [
        mfn
        for mfn, kind in enumerate(frames.type)
        if kind == L1 and frames.type_count[mfn] and frames.owner[mfn] == 1
    ]
    return {(leaf & mask) >> 12 for mfn in tables for leaf in bench.domain.table(mfn) if leaf & 1}


class TwoLevelPages(Pages):
    """The same for a guest with two levels of 32-bit entries."""

    geometry = TWO_LEVEL


CHECKS = settings(
    max_examples=100,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestPages = Pages.TestCase
TestPages.settings = CHECKS
TestTwoLevelPages = TwoLevelPages.TestCase
TestTwoLevelPages.settings = settings(CHECKS, max_examples=50)
