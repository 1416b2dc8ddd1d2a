"""Random page tables, stores to them through themselves, flushes and changes of mode: what a processor with
shadow tables reaches is what one with the guest's tables may, and the audit finds nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from paravane.cpu import PageFault
from paravane.full.shadow import Policy
from paravane.x86 import PAGE_SIZE, Cr0, Cr4
from tests.support.shadow_bench import ShadowBench
from tests.support.shadow_model import Access, Memory, Reference

FRAMES = 1539
"""Three large pages, and a bit of a fourth."""
SIZE = FRAMES * PAGE_SIZE
TABLES = [1, 2, 3, 511, 513, 1024]
DATA = [5, 1100, 1538]
WATCHED = [*TABLES, *DATA]
BEYOND = 0x40000
ATTEMPTS = 3
"""Faults that one access may take: one fills in, one more follows where what was filled in is dropped."""

tables = st.sampled_from(TABLES)
frames = st.sampled_from([*TABLES, *TABLES, *DATA, BEYOND])
flags = st.sampled_from([0x63, 0x67, 0x67, 0x67, 0x07, 0x03, 0x27, 0x65, 0x61, 0x21, 0x01, 0x00, 0x66])
large = st.sampled_from([0xE7, 0xE7, 0xE3, 0xE5, 0xA7, 0x87, 0x81])
uppers = st.sampled_from([0, 1, 1, 2, 2, 3, 256, 1023])
lowers = st.sampled_from([0, 1, 2, 3, 5, 511, 512, 513, 1023])
offsets = st.sampled_from([0, 4, 8, 0xFFC, 0xFF8, 0xFFE, 0x7FC])
modes = st.sampled_from([0, int(Cr4.PSE), int(Cr4.PSE | Cr4.PAE), int(Cr4.PAE)])
rings = st.booleans()
reserved = st.sampled_from([0, 0, 0, 0, 1 << 32, 1 << 51, 1 << 63])
"""Bits that entries of 8 bytes have, and must not have set."""
reserved_in_large = st.sampled_from([0, 0, 0, 0, 1 << 13, 1 << 20, 1 << 21, 1 << 32])
"""Of the last but one, 1 << 21, an entry of 8 bytes makes another address."""
accesses = st.tuples(uppers, lowers, offsets, st.booleans(), rings)
places = st.tuples(tables, uppers | lowers, rings, st.booleans())

Use = tuple[int, int, int, bool, bool]
"""The parts of a linear address, whether it is written, whether by ring 3."""
Place = tuple[int, int, bool, bool]
"""A frame and an index there; whether it is ring 3 that stores, and by the last linear address that can."""


class Vtlb(RuleBasedStateMachine):
    """A guest whose processor has shadow tables of this policy."""

    policy = Policy.VTLB

    def __init__(self) -> None:
        super().__init__()
        bench = ShadowBench(FRAMES, self.policy)
        self.ram, self.state, self.physical, self.memory = (
            bench.ram,
            bench.state,
            bench.physical,
            bench.memory,
        )
        self.guest, self.engine, self.shadow = bench.guest, bench.engine, bench.shadow
        self.bench = bench
        self.seen = Memory(self.ram.bytes, SIZE, WATCHED)
        self.reference = Reference(self.seen, self.state)

    def teardown(self) -> None:
        self.ram.close()

    # What the guest does.

    @initialize(mode=modes, frame=tables)
    def begin(self, mode: int, frame: int) -> None:
        """Tables that map themselves, by a large page where there are such, and paging."""
        self.state.cr4 = mode
        self._put(TABLES[0], 0, 0xE7 if mode else TABLES[1] << 12 | 7)
        self._put(TABLES[0], 1, TABLES[1] << 12 | 7)
        self._put(TABLES[0], 2, TABLES[2] << 12 | 7)
        for number in WATCHED:
            self._put(TABLES[1], number % 1024 if not mode & Cr4.PAE else number % 512, number << 12 | 7)
        self._put(TABLES[2], frame & 511, frame << 12 | 0x67)
        if mode & Cr4.PAE:
            for slot in range(4):
                self._put(DATA[0], slot, TABLES[0] << 12 | 1)
        self.state.cr3 = (DATA[0] if mode & Cr4.PAE else TABLES[0]) << 12
        self.set_paging(on=True)

    def _put(self, frame: int, index: int, entry: int) -> None:
        self.bench.put(frame, index, entry)
        self.seen.note()

    def set_paging(self, *, on: bool) -> None:
        bit = int(Cr0.PG)
        if bool(self.state.cr0 & bit) == on:
            return
        self.state.cr0 ^= bit
        if on:
            self.shadow.change_mode()
        else:
            self.shadow.map_physical()
        self.reference.flush()

    @rule(mode=modes, protect=st.booleans(), paging=st.booleans(), access=accesses)
    def change_mode(self, mode: int, protect: bool, paging: bool, access: Use) -> None:
        """CR4 and CR0.WP, with a while without paging in between, or without that."""
        if paging:
            self.set_paging(on=False)
            self._touch(access)
        if protect:
            self.state.cr0 ^= int(Cr0.WP)
        changed = self.state.cr4 != mode or protect
        self.state.cr4 = mode
        if changed and self.state.paging:
            self.shadow.change_mode()
            self.reference.flush()
        self.set_paging(on=True)
        self._load(DATA[0] if self.guest.pae else TABLES[0])

    @rule(frame=st.sampled_from([None, None, None, TABLES[0], TABLES[2], DATA[0], TABLES[3], BEYOND]))
    def load_root(self, frame: int | None) -> None:
        self._load(frame or (DATA[0] if self.guest.pae else TABLES[0]))

    def _load(self, frame: int) -> None:
        self.state.cr3 = frame << 12
        self.shadow.load_root()
        self.reference.flush()

    @rule(access=accesses)
    def invalidate(self, access: Use) -> None:
        """A page, which is used before and after it."""
        va = self._va(*access[:3])
        self._touch(access)
        self.shadow.drop_page(va)
        self.reference.flush_page(va)
        self._touch(access)

    @rule(uses=st.lists(accesses, min_size=1, max_size=8))
    def touch(self, uses: list[Use]) -> None:
        for access in uses:
            self._touch(access)

    def _touch(self, access: Use) -> None:
        upper, lower, offset, write, user = access
        here = Access(self._va(upper, lower, offset), write, user)
        self._access(here, b"\0\0" if write and not upper else b"")

    def _va(self, upper: int, lower: int, offset: int) -> int:
        if self.guest.pae:
            return (upper * 2 & 0x7FF) << 21 | (lower & 511) << 12 | offset
        return upper << 22 | lower << 12 | offset

    @rule(place=places, frame=frames, flag=flags, beside=reserved, access=accesses)
    def store_entry(self, place: Place, frame: int, flag: int, beside: int, access: Use) -> None:
        """A page table's entry, by the linear address of some mapping of it."""
        self._store_entry(place, frame << 12 | flag | beside, access)

    @rule(
        place=places,
        base=st.sampled_from([0, 1, 2, 3, 0x3F0]),
        flag=large,
        beside=reserved_in_large,
        access=accesses,
    )
    def store_large(self, place: Place, base: int, flag: int, beside: int, access: Use) -> None:
        self._store_entry(place, base << (21 if self.guest.pae else 22) | flag | beside, access)

    @rule(access=accesses, level=st.sampled_from([0, 1, 1]), frame=frames, flag=flags, flush=st.booleans())
    def move_page(self, access: Use, level: int, frame: int, flag: int, flush: bool) -> None:
        """What maps a page that is in use changes, and INVLPG tells so, or nothing does."""
        va = self._va(*access[:3])
        self._touch(access)
        met = self.reference.entries_of(va)
        if level >= len(met):
            return
        size = self.guest.entry_size
        self._store_to(met[level] >> 12, met[level] & 0xFFF, (frame << 12 | flag).to_bytes(size, "little"))
        if flush:
            self.shadow.drop_page(va)
            self.reference.flush_page(va)
        self._touch(access)

    @rule(upper=st.sampled_from([3, 256, 1023]), lower=lowers, table=tables, index=lowers)
    def make_table(self, upper: int, lower: int, table: int, index: int) -> None:
        """A page that is written becomes a table, and is written again."""
        size = self.guest.entry_size
        at = index * size & 0xFFF
        leaf = (DATA[1] << 12 | 0x67).to_bytes(size, "little")
        self._store_to(table, at, leaf)
        met = self.reference.entries_of(self._va(upper, lower, 0))
        if not met:
            return
        self._store_to(met[0] >> 12, met[0] & 0xFFF, (table << 12 | 7).to_bytes(size, "little"))
        self._touch((upper, lower, 0, False, False))
        self._store_to(table, at, bytes(size))
        self._touch((upper, lower, 0, False, False))

    def _store_entry(self, place: Place, entry: int, access: Use) -> None:
        size = self.guest.entry_size
        table, index, user, far = place
        self._touch(access)
        stored = (entry & (1 << 8 * size) - 1).to_bytes(size, "little")
        self._store_to(table, index * size & 0xFFF, stored, user=user, far=far)
        self._touch(access)

    @rule(place=places, offset=offsets, data=st.binary(min_size=1, max_size=24), access=accesses)
    def store_anything(self, place: Place, offset: int, data: bytes, access: Use) -> None:
        """Odd sizes and addresses: no entry, as a rule."""
        table, _, user, far = place
        self._touch(access)
        self._store_to(table, offset, data[: PAGE_SIZE - offset], user=user, far=far)
        self._touch(access)

    @rule(
        frame=st.sampled_from(WATCHED),
        offset=offsets,
        data=st.sampled_from([b"\0" * 4, b"\0" * 8, b"\1" * 64]),
    )
    def monitor_stores(self, frame: int, offset: int, data: bytes) -> None:
        self.physical.write((frame << 12) + offset, data)
        self.seen.note()

    def _store_to(
        self, frame: int, offset: int, data: bytes, *, user: bool = False, far: bool = False
    ) -> None:
        places = [
            va
            for upper in (0, 1, 2, 3, 1023)
            for lower in {frame % 1024, frame % 512, 0, 1, 2}
            if (va := self._va(upper, lower, offset)) is not None
            and self.reference.granted_now(Access(va, True, user)) == {(frame << 12) + offset}
        ]
        if places:
            self._access(Access(places[-1 if far else 0], True, user), data)

    # What becomes of it.

    def _access(self, access: Access, data: bytes) -> None:
        """As the processor and its monitor do it."""
        for _ in range(ATTEMPTS):
            reached = self.engine.reach(access)
            known = self.shadow.reached(access.va, write=access.write, user=access.user)
            assert known == (reached if self.state.paging else None)
            if reached is not None:
                self._reached(access, reached, data)
                return
            granted = self.reference.granted_now(access)
            try:
                found = self.memory.translate(access.va, write=access.write, user=access.user)
            except PageFault:
                assert not granted
                return
            finally:
                self.seen.note()
            assert granted == {found.address}
            if access.write and found.address >= SIZE:
                return
            if access.write and self.shadow.is_protected(found.address):
                if not self.shadow.is_busy(found.address) and len(data) in (4, 8):
                    self.memory.write(access.va, data, user=access.user)
                    self.seen.note()
                    return
                self.shadow.loosen(found.address)
            self.shadow.fill(access.va, found, write=access.write)
        raise AssertionError(f"{access} faults for ever")

    def _reached(self, access: Access, reached: int, data: bytes) -> None:
        allowed = self.reference.allowed(access)
        if reached >> 12 == self.shadow.unpaged.beyond >> 12 & 0xFFFFFFFF:
            assert not access.write
            assert any(address >= SIZE for address in allowed)
            return
        assert reached in allowed
        assert not (access.write and self.shadow.is_protected(reached))
        if access.write:
            part = data[: PAGE_SIZE - reached % PAGE_SIZE]
            self.ram.bytes[reached : reached + len(part)] = part
            self.seen.note()

    @invariant()
    def audited(self) -> None:
        assert self.bench.audit() == []


class WriteProtecting(Vtlb):
    policy = Policy.WP


CHECKS = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestVtlb = Vtlb.TestCase
TestVtlb.settings = CHECKS
TestWriteProtecting = WriteProtecting.TestCase
TestWriteProtecting.settings = CHECKS
