"""Random lending, mapping, copying and dying of three domains, against a model that knows Xen's rules.

The model keeps what each domain wrote into its table, who uses which entry how often, and what every handle
maps; it says beforehand how each request ends. After every step the audits agree with it, the marks in the
entries are those of the uses, and no processor remembers a page of others that it has no entry for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from paravane.abi.grant_table import GnttabTransfer, GrantFlag, GrantMapFlag, GrantStatus
from paravane.cpu.geometry import PAE, TWO_LEVEL
from paravane.grants import GrantRefusal, read_grant, write_grant
from paravane.grants.mapping import GiverGoneError
from paravane.grants.transfer import transfer_frame
from paravane.refusal import Refusal
from tests.support.granting import PERMIT, GrantMachine, Guest

if TYPE_CHECKING:
    from collections.abc import Callable

HOST, DEVICE = int(GrantMapFlag.host_map), int(GrantMapFlag.device_map)
READONLY = int(GrantFlag.readonly)
ACCEPT = int(GrantFlag.accept_transfer)
USES = int(GrantFlag.reading | GrantFlag.writing)

OKAY, GENERAL = GrantStatus.okay, GrantStatus.general_error
DOMIDS = st.integers(1, 3)
REFS = st.integers(8, 9)
PFNS = st.sampled_from([5, 11, 15, 16, 17])
"""A page table, a mapped page, and pages that are not mapped."""

PAGES = st.integers(18, 20)


@dataclass
class Use:
    """An entry in use: by whom, which frame, and how often it is read and written."""

    domid: int
    mfn: int
    reads: int = 0
    writes: int = 0


@dataclass
class Handle:
    domid: int
    giver: int
    ref: int
    writable: bool
    host: bool
    device: bool
    page: int
    mfn: int


@dataclass
class Model:
    entries: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    uses: dict[tuple[int, int], Use] = field(default_factory=dict)
    handles: dict[tuple[int, int], Handle] = field(default_factory=dict)
    mapped: dict[tuple[int, int], Handle] = field(default_factory=dict)


def status_of(call: Callable[[], object]) -> GrantStatus:
    try:
        call()
    except GrantRefusal as refusal:
        return refusal.status
    return OKAY


class Lending(RuleBasedStateMachine):
    geometry = PAE

    @initialize(versions=st.lists(st.sampled_from([1, 2]), min_size=3, max_size=3))
    def boot(self, versions: list[int]) -> None:
        self.machine = GrantMachine(3, 220, booted=self.geometry)
        self.model = Model()
        self.dead: set[int] = set()
        for guest, version in zip(self.machine.guests, versions, strict=True):
            if version == 2:
                guest.use_version(2)

    def guest(self, domid: int) -> Guest:
        return self.machine.guests[domid - 1]

    def alive(self, *domids: int) -> bool:
        return not self.dead & set(domids)

    # What a kernel writes

    @rule(
        domid=DOMIDS,
        ref=REFS,
        other=DOMIDS,
        pfn=PFNS,
        flags=st.sampled_from([PERMIT, PERMIT, PERMIT | READONLY, ACCEPT]),
    )
    def lend(self, domid: int, ref: int, other: int, pfn: int, flags: int) -> None:
        if self.alive(domid):
            mfn = self.guest(domid).p2m[pfn]
            shown = self.guest(domid).flags(ref) & USES if self.guest(domid).table.version == 1 else 0
            self.guest(domid).grant(ref, other, mfn, flags | shown)
            self.model.entries[domid, ref] = (flags, other, mfn)

    @rule(domid=DOMIDS, ref=REFS)
    def end(self, domid: int, ref: int) -> None:
        """As a kernel does that looks first."""
        if self.alive(domid) and (domid, ref) not in self.model.uses:
            self.guest(domid).grant(ref, 0, 0, 0)
            self.model.entries.pop((domid, ref), None)

    # What the rules say

    def refusal(
        self, giver: int, ref: int, domid: int, *, writable: bool, copying: bool = False
    ) -> GrantStatus:
        """How a use of an entry ends."""
        if giver in self.dead:
            gone = self.machine.registry.find(giver) is None
            return GrantStatus.bad_domain if gone else GrantStatus.bad_page
        use = self.model.uses.get((giver, ref))
        flags, other, mfn = self.model.entries.get((giver, ref), (0, 0, 0))
        if use is not None and use.domid != domid:
            return GENERAL
        if use is None or (writable and not use.writes):
            if use is None and (flags & 3 != PERMIT or other != domid):
                return GENERAL
            if writable and flags & READONLY:
                return GENERAL
            if (use is None or copying) and not self.owns(giver, mfn):
                return GrantStatus.bad_page
            if use is not None and copying and use.mfn != mfn:
                return GENERAL
        frame = mfn if use is None else use.mfn
        if not self.owns(giver, frame):
            return GrantStatus.bad_domain if copying else GENERAL
        return GENERAL if writable and not self.writable(frame) else OKAY

    def owns(self, domid: int, mfn: int) -> bool:
        frames = self.machine.memory.frames
        return frames.owned_by(mfn, domid)

    def writable(self, mfn: int) -> bool:
        frames = self.machine.memory.frames
        return frames.type_count[mfn] == 0 or frames.type[mfn] == 7

    # Requests

    def some_entry(self, data: st.DataObject) -> tuple[int, int, int]:
        """A giver, a reference and who asks: mostly what was really granted, and to that domain."""
        really = data.draw(st.integers(0, 4)) > 0
        if self.model.entries and really:
            giver, ref = data.draw(st.sampled_from(sorted(self.model.entries)))
            return giver, ref, self.model.entries[giver, ref][1]
        return data.draw(DOMIDS), data.draw(REFS), data.draw(DOMIDS)

    @rule(data=st.data(), page=PAGES, writable=st.booleans(), kind=st.sampled_from([1, 2, 2, 3]))
    def map(self, data: st.DataObject, page: int, writable: bool, kind: int) -> None:
        giver, ref, domid = self.some_entry(data)
        if not self.alive(domid):
            return
        wanted = self.refusal(giver, ref, domid, writable=writable)
        flags = kind | (0 if writable else int(GrantMapFlag.readonly))
        try:
            handle = self.guest(domid).map(giver, ref, page, flags)
        except GrantRefusal as refusal:
            if refusal.status is not wanted:
                raise
            return
        assert wanted is OKAY
        mfn = self.model.entries[giver, ref][2]
        use = self.model.uses.setdefault((giver, ref), Use(domid, mfn))
        halves = (kind & 1) + (kind >> 1)
        if writable:
            use.writes += halves
        else:
            use.reads += halves
        made = Handle(domid, giver, ref, writable, bool(kind & HOST), bool(kind & DEVICE), page, use.mfn)
        self.model.handles[domid, handle] = made
        if kind & HOST:
            self.model.mapped[domid, page] = made
            if giver != domid:  # what it remembers of its own frames is a guest's own affair
                self.guest(domid).cpu.tlb.add(page << 12)

    @precondition(lambda self: self.model.handles)
    @rule(
        data=st.data(),
        elsewhere=st.sampled_from([False, False, True]),
        host=st.booleans(),
        device=st.booleans(),
    )
    def unmap(self, data: st.DataObject, elsewhere: bool, host: bool, device: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.handles)))
        made = self.model.handles[key]
        guest, page = self.guest(made.domid), 17 if elsewhere else made.page

        def call() -> None:
            guest.unmap(key[1], page if host else 0, made.mfn << 12 if device else 0)

        if made.giver in self.dead and self.machine.registry.find(made.giver) is None:
            try:
                call()
            except GiverGoneError:
                return
            raise AssertionError("nobody is there to return it to")
        seen = self.model.mapped.get((made.domid, page))
        fits = seen is not None and (seen.mfn, seen.writable) == (made.mfn, made.writable)
        if host and made.host and not fits:
            assert status_of(call) is GENERAL
            return
        assert status_of(call) is OKAY
        use = self.model.uses[made.giver, made.ref]
        for ended in ("host", "device"):
            if {"host": host, "device": device}[ended] and getattr(made, ended):
                setattr(made, ended, False)
                if made.writable:
                    use.writes -= 1
                else:
                    use.reads -= 1
                if ended == "host":
                    del self.model.mapped[made.domid, page]
        if not made.host and not made.device:
            del self.model.handles[key]
        if not use.reads and not use.writes:
            del self.model.uses[made.giver, made.ref]

    @precondition(lambda self: self.model.mapped)
    @rule(data=st.data())
    def overwrite(self, data: st.DataObject) -> None:
        """A guest that clears the entry itself."""
        domid, page = data.draw(st.sampled_from(sorted(self.model.mapped)))
        guest = self.guest(domid)
        memory = guest.memory
        memory.machine.tables.modify_l1(memory, (guest.p2m[5] << memory.space.table_shift) + page, 0, domid)
        del self.model.mapped[domid, page]

    @rule(data=st.data(), write=st.booleans())
    def copy(self, data: st.DataObject, write: bool) -> None:
        giver, ref, domid = self.some_entry(data)
        table = self.machine.registry.find(giver)
        if table is None or not self.alive(domid):
            return
        wanted = self.refusal(giver, ref, domid, writable=write, copying=True)
        assert table.grants is not None
        grants = table.grants
        if write:
            assert status_of(lambda: write_grant(grants, ref, 0, b"x", domid=domid)) is wanted
        else:
            assert status_of(lambda: read_grant(grants, ref, 0, 1, domid=domid)) is wanted

    @rule(data=st.data(), pfn=st.integers(12, 23))
    def transfer(self, data: st.DataObject, pfn: int) -> None:
        taker, ref, domid = self.some_entry(data)
        if not self.alive(domid):
            return
        guest = self.guest(domid)
        mfn = guest.p2m[pfn]
        free = self.owns(domid, mfn) and guest.counts(pfn)[0] == 1
        flags, other, _ = self.model.entries.get((taker, ref), (0, 0, 0))
        wanted = OKAY
        if not free:
            wanted = GrantStatus.bad_page
        elif self.machine.registry.find(taker) is None:
            wanted = GrantStatus.bad_domain
        elif taker in self.dead or (flags, other) != (ACCEPT, domid) or self.uses_shown(taker, ref):
            wanted = GENERAL
        assert status_of(lambda: transfer_frame(guest.table, GnttabTransfer(mfn, taker, ref, 0))) is wanted
        if wanted is OKAY:
            self.model.entries[taker, ref] = (self.guest(taker).flags(ref) & ~USES, other, mfn)

    def uses_shown(self, domid: int, ref: int) -> bool:
        return bool(self.guest(domid).flags(ref) & USES)

    @rule(domid=DOMIDS, version=st.sampled_from([1, 2]), really=st.integers(0, 3))
    def change_version(self, domid: int, version: int, really: int) -> None:
        if really or not self.alive(domid):
            return
        guest = self.guest(domid)
        used = any(giver == domid for giver, _ in self.model.uses)
        try:
            guest.use_version(version)
        except Refusal:
            if not used or guest.table.version == version:
                raise
            return
        if guest.table.version == version and not used:
            for key in [key for key in self.model.entries if key[0] == domid]:
                if guest.flags(key[1]) == 0:
                    del self.model.entries[key]

    @precondition(lambda self: len(self.dead) < 2)
    @rule(domid=DOMIDS, really=st.integers(0, 9))
    def die(self, domid: int, really: int) -> None:
        if really or not self.alive(domid):
            return
        self.dead.add(domid)
        self.guest(domid).die()
        for key, made in list(self.model.handles.items()):
            if made.domid != domid:
                continue
            del self.model.handles[key]
            use = self.model.uses[made.giver, made.ref]
            if made.writable:
                use.writes -= made.host + made.device
            else:
                use.reads -= made.host + made.device
            if not use.reads and not use.writes:
                del self.model.uses[made.giver, made.ref]
        for place in [place for place in self.model.mapped if place[0] == domid]:
            del self.model.mapped[place]

    @invariant()
    def counts_are_right(self) -> None:
        if hasattr(self, "machine"):
            assert self.machine.audit() == []

    @invariant()
    def marks_are_those_of_the_uses(self) -> None:
        for (giver, ref), use in self.model.uses.items() if hasattr(self, "model") else ():
            if giver in self.dead:
                continue
            guest = self.guest(giver)
            shown = guest.flags(ref) if guest.table.version == 1 else guest.status(ref)
            if guest.table.version == 2 or self.model.entries.get((giver, ref)):
                assert bool(shown & GrantFlag.writing) >= bool(use.writes)
                assert shown & GrantFlag.reading

    @invariant()
    def nobody_remembers_what_it_has_not(self) -> None:
        for guest in self.machine.guests if hasattr(self, "machine") else ():
            if guest.memory.domid in self.dead:
                continue
            for address in guest.cpu.tlb:
                assert guest.entry(address >> 12) & 1, "a translation outlives its entry"


class TwoLevelLending(Lending):
    geometry = TWO_LEVEL


CHECKS = settings(
    max_examples=25,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLending = Lending.TestCase
TestLending.settings = CHECKS
TestTwoLevelLending = TwoLevelLending.TestCase
TestTwoLevelLending.settings = settings(CHECKS, max_examples=10)
