"""One domain's grant table (public/grant_table.h): its frames, and which entries are in use.

The table is memory that the guest writes: nothing in it is believed for longer than one look. What is in use
is kept here (the active entries), so a guest that changes an entry meanwhile changes nothing but its own
view.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.grant_table import (
    GNTTAB_NR_RESERVED_ENTRIES,
    GRANT_ENTRY_V1,
    GrantEntryV1,
    GrantStatus,
)
from paravane.grants.entries import (
    PERMIT,
    READING,
    READONLY,
    STATUS_PER_FRAME,
    V2_PER_FRAME,
    WRITING,
    EntriesV1,
    EntriesV2,
    check_entry,
)
from paravane.grants.granted_page import GrantMapping
from paravane.grants.maptrack import Maptrack
from paravane.grants.use import (
    HOST_READ,
    HOST_WRITE,
    ActiveGrant,
    GrantLimits,
    GrantRefusal,
    GrantState,
)
from paravane.memory.frames import NONE, WRITABLE
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.grants.entries import Entries
    from paravane.memory import DomainMemory
    from paravane.registry import Domains

INITIAL_FRAMES: Final = 1
_WRITABLE: Final = (WRITABLE, NONE)


class Observer(Protocol):
    def __call__(self, what: str, domid: int, ref: int, by: int, mfn: int, *, writable: bool) -> None:
        """Domain `by` began (`map`, `copy`) or ended (`release`) a use of grant `ref` of `domid`."""
        ...


class HasGrants(Protocol):
    """A domain as grants see it. The host as the control domain grants nothing."""

    @property
    def domid(self) -> int: ...
    @property
    def grants(self) -> GrantTable | None: ...


class GrantTables:
    """The domains that may have a table. `observer`, if there is one, is told of every use of a grant.
    `exhausted`, if there is one, is asked whether a domain is to be refused a handle or a frame though there
    may be one."""

    observer: Observer | None = None
    exhausted: Callable[[int, str], bool] | None = None

    def __init__(self, domains: Domains[HasGrants]) -> None:
        self._domains = domains

    def by_id(self, domid: int) -> GrantTable:
        """The table of the domain with that very number, DOMID_SELF excluded. Raises GrantRefusal:
        bad_domain, or general_error for the host, of whose table no entry grants anything."""
        found = self._domains.find(domid)
        if found is None:
            raise GrantRefusal(GrantStatus.bad_domain, f"there is no domain {domid}")
        return self._of(found)

    def named(self, caller: int, domid: int) -> GrantTable:
        """The table of the domain that domain `caller` means, DOMID_SELF included. Raises GrantRefusal as
        `by_id` does."""
        return self._of(self.domain_named(caller, domid))

    def domain_named(self, caller: int, domid: int) -> HasGrants:
        """The domain that domain `caller` means, DOMID_SELF included. Raises GrantRefusal(bad_domain)."""
        try:
            return self._domains.named(caller, domid)
        except Refusal as refusal:
            raise GrantRefusal(GrantStatus.bad_domain, refusal.sentence) from None

    def table_of(self, domid: int) -> GrantTable | None:
        """The table of a domain, if there is one with that number that has a table."""
        found = self._domains.find(domid)
        return None if found is None else found.grants

    def all(self) -> Iterator[GrantTable]:
        """Every table of the machine."""
        return (domain.grants for domain in self._domains if domain.grants is not None)

    @staticmethod
    def _of(domain: HasGrants) -> GrantTable:
        if domain.grants is None:
            raise GrantRefusal(GrantStatus.general_error, f"domain {domain.domid} grants nothing")
        return domain.grants


def status_frames_for(frames: int) -> int:
    """Frames of status words that a table of version 2 with so many frames has."""
    return -(-frames * V2_PER_FRAME // STATUS_PER_FRAME)


class GrantTable:
    """One domain's grant table: its frames, which entries are in use, and what the domain has mapped of
    others (`maptrack`).

    `limits` bounds both.
    """

    def __init__(
        self,
        memory: DomainMemory,
        tables: GrantTables,
        limits: GrantLimits = GrantLimits(),  # noqa: B008, which cannot change
        state: GrantState | None = None,
    ) -> None:
        """A table of `INITIAL_FRAMES`, of version 1; or one that goes on from `state`, in frames that it has
        already. Raises MemoryError."""
        self.memory = memory
        self.domid = memory.domid
        self.limits = limits
        self.tables = tables
        self.state = GrantState() if state is None else state
        self.maptrack = Maptrack(limits.maptrack_frames)
        entries = EntriesV2 if self.state.version == 2 else EntriesV1
        self.entries: Entries = entries(memory.machine.ram, self.state)
        if state is None:
            self._add_frames(INITIAL_FRAMES)

    @property
    def version(self) -> int:
        return self.state.version

    @property
    def frames(self) -> tuple[int, ...]:
        """The machine frames of the table, which the guest may map."""
        return tuple(self.state.frames)

    @property
    def status_frames(self) -> tuple[int, ...]:
        """Those of the status words of version 2, which the guest may map."""
        return tuple(self.state.status_frames)

    @property
    def nr_entries(self) -> int:
        return len(self.state.frames) * self.entries.per_frame

    def close(self) -> None:
        """The domain is about to lose its memory: nobody can use its grants from now on. Mappings that are
        still open keep their frames, but the table is no longer written."""
        self.state.closed = True
        self.state.frames.clear()
        self.state.status_frames.clear()

    def grow(self, nr_frames: int) -> None:
        """Give the table at least so many frames, and the frames of status words that go with them. Raises
        GrantRefusal(general_error), changing nothing."""
        most = self.limits.frames
        if nr_frames > most:
            sentence = f"{nr_frames} frames for a grant table, at most {most}"
            raise GrantRefusal(GrantStatus.general_error, sentence)
        if self.state.closed:  # nobody would take them back
            raise GrantRefusal(GrantStatus.general_error, f"d{self.domid} goes, and its grant table has gone")
        try:
            self._add_frames(nr_frames - len(self.state.frames))
        except MemoryError as error:
            raise GrantRefusal(GrantStatus.general_error, "no memory for more grant frames") from error

    def reserve(self, ref: int, mfn: int, domid: int = CONTROL_DOMID) -> None:
        """Fill one of the references that the toolstack keeps (GNTTAB_RESERVED_*) before the guest runs:
        `domid` may use `mfn`."""
        if not 0 <= ref < GNTTAB_NR_RESERVED_ENTRIES:
            raise ValueError(f"reference {ref} is not the toolstack's")
        entry = GRANT_ENTRY_V1.pack(GrantEntryV1(PERMIT, domid, mfn))
        table = self.state.frames[0] << 12
        self.memory.machine.ram.write(table + ref * GRANT_ENTRY_V1.size, entry)

    def controls(self, domid: int) -> bool:
        """Whether the guest may change or look at the table of `domid`. Raises GrantRefusal(bad_domain)."""
        named = self.tables.domain_named(self.domid, domid)
        return named.domid == self.domid or (self.memory.privileged and named.grants is not None)

    def controlled(self, domid: int) -> GrantTable:
        """The table of `domid`, which the guest may change or look at. Raises GrantRefusal: bad_domain,
        permission_denied."""
        if not self.controls(domid):
            raise GrantRefusal(
                GrantStatus.permission_denied, f"the grant table of domain {domid} is its own affair"
            )
        return self.tables.named(self.domid, domid)

    def check_ref(self, ref: int) -> None:
        """Raises GrantRefusal: bad_gntref beyond the end of the table, bad_page when its domain has gone, and
        its frames with it."""
        if self.state.closed:
            raise GrantRefusal(GrantStatus.bad_page, f"d{self.domid} goes, and has no frames any more")
        if not 0 <= ref < self.nr_entries:
            raise GrantRefusal(GrantStatus.bad_gntref, f"domain {self.domid} has no grant reference {ref:#x}")

    def in_use(self, ref: int, domid: int, uses: int) -> ActiveGrant | None:
        """Entry `ref` as it is in use, None if it is not. Raises GrantRefusal when `domid` cannot use it
        more."""
        self.check_ref(ref)
        active = self.state.active.get(ref)
        if active is not None and (active.domid != domid or active.is_full_for(uses)):
            raise GrantRefusal(
                GrantStatus.general_error,
                f"grant {ref} is in use by domain {active.domid}, with counts {active.pin:#010x}",
            )
        return active

    def map_for_backend(self, ref: int, *, writable: bool, domid: int = CONTROL_DOMID) -> GrantMapping:
        """Map a granted frame for a backend in domain `domid`. Raises GrantRefusal when the entry, as it is
        now, does not allow that."""
        uses = HOST_WRITE if writable else HOST_READ
        active = self.begin_mapping(ref, domid, uses, writable=writable)
        machine = self.memory.machine
        try:
            machine.hold(active.mfn, self.domid, writable=writable)
        except Refusal as refusal:
            self.unpin(ref, uses, writable=writable)
            raise GrantRefusal(GrantStatus.general_error, refusal.sentence) from refusal
        self.observe("map", ref, domid, active.mfn, writable=writable)
        return self._backend_mapping(ref, active, uses, writable=writable)

    def resume_for_backend(self, ref: int, *, writable: bool, before: int = 0) -> GrantMapping:
        """The mapping of an entry that a backend had before the table was kept, and which is counted in it,
        as are as many of the same kind that came `before`. Raises ValueError where none can have had one."""
        active, uses = self.state.active.get(ref), HOST_WRITE if writable else HOST_READ
        if active is None or (active.pin & 0xFF * uses) // uses <= before:
            raise ValueError(f"grant {ref} of domain {self.domid} is mapped by no backend")
        return self._backend_mapping(ref, active, uses, writable=writable)

    def _backend_mapping(self, ref: int, active: ActiveGrant, uses: int, *, writable: bool) -> GrantMapping:
        machine = self.memory.machine
        release = partial(self._end_backend_mapping, ref, active, uses, writable=writable)
        return GrantMapping(machine.ram, active.mfn, release, writable=writable)

    def _end_backend_mapping(self, ref: int, active: ActiveGrant, uses: int, *, writable: bool) -> None:
        self.memory.machine.let_go(active.mfn, writable=writable)
        self.unpin(ref, uses, writable=writable)
        self.observe("release", ref, active.domid, active.mfn, writable=writable)

    def frame_for_now(self, ref: int, domid: int, *, writable: bool) -> int:
        """The whole frame that entry `ref` lets `domid` use, for a use that has ended before any guest runs
        again; -1 when that is not plain to see, for whatever reason, and `acquire` or `map_for_backend` has
        to find out.

        Such a use needs neither marks in the entry nor references to the frame: guests see their memory, and
        the hypervisor changes what frames are, only before it or after it. An entry that is in use takes the
        long way, since who uses it, and how, is counted there; and so does every entry while somebody wants
        to be told of uses."""
        if ref in self.state.active or self.tables.observer is not None:
            return -1
        header, mfn = self.entries.look(ref)
        if not writable:
            header &= ~READONLY
        frames = self.memory.machine.frames
        if header != domid << 16 | PERMIT or not frames.owned_by(mfn, self.domid):
            return -1
        # The contents of any other type are trusted by somebody, or may be again without being looked at.
        return mfn if not writable or frames.type[mfn] in _WRITABLE else -1

    def begin_mapping(self, ref: int, domid: int, uses: int, *, writable: bool) -> ActiveGrant:
        """Count `uses` of entry `ref` for a mapping by `domid`, which is then to take the frame. Raises
        GrantRefusal, counting nothing: bad_gntref, general_error, bad_page."""
        active = self.in_use(ref, domid, uses)
        if active is not None and active.sub_page:
            raise GrantRefusal(GrantStatus.general_error, f"grant {ref} is in use as a part of a page")
        if active is None or (writable and not active.written):
            self.mark(ref, active, domid, writable=writable, mapping=True)
        if active is None:
            active = ActiveGrant(domid, self.entries.frame(ref), self.domid, ref)
            if not self.memory.machine.frames.owned_by(active.mfn, self.domid):
                self.unmark(ref, None, writable=writable)
                sentence = f"{self.memory.machine.frames.describe(active.mfn)} is not domain {self.domid}'s"
                raise GrantRefusal(GrantStatus.bad_page, sentence)
        self.pin(ref, active, uses)
        return active

    def mark(
        self, ref: int, active: ActiveGrant | None, domid: int, *, writable: bool, mapping: bool
    ) -> None:
        """Show a use to the guest, if the entry allows that. Raises GrantRefusal(general_error)."""
        header = self.entries.header(ref)
        if active is None:
            check_entry(header, ref, domid, mapping=mapping, transitive=self.version == 2)
        if writable and header & READONLY:
            raise GrantRefusal(GrantStatus.general_error, f"grant {ref} is read-only")
        self.entries.mark(ref, READING | (WRITING if writable else 0))

    def unmark(self, ref: int, active: ActiveGrant | None, *, writable: bool) -> None:
        """Take back what no remaining use needs."""
        if self.state.closed:
            return
        clear = 0 if active is not None else READING
        if writable and (active is None or not active.written):
            clear |= WRITING
        if clear:
            self.entries.unmark(ref, clear)

    def pin(self, ref: int, active: ActiveGrant, uses: int) -> None:
        """Count uses of an entry that was marked for them."""
        active.pin += uses
        self.state.active[ref] = active

    def unpin(self, ref: int, uses: int, *, writable: bool) -> None:
        """Undo `mark` and `pin`."""
        active = self.state.active[ref]
        active.pin -= uses
        if not active.pin:
            del self.state.active[ref]
        self.unmark(ref, active if active.pin else None, writable=writable)

    def is_used_by(self, domid: int, mfn: int) -> bool:
        """Whether `domid` uses a frame by one of the grants here."""
        return any(active.domid == domid and active.mfn == mfn for active in self.state.active.values())

    def observe(self, what: str, ref: int, by: int, mfn: int, *, writable: bool) -> None:
        """Tell whoever listens of a use of grant `ref` by domain `by`."""
        if self.tables.observer is not None:
            self.tables.observer(what, self.domid, ref, by, mfn, writable=writable)

    def swap(self, ref_a: int, ref_b: int) -> None:
        """Exchange two entries that are not in use. Raises GrantRefusal: bad_gntref, eagain."""
        for ref in (ref_a, ref_b):
            self.check_ref(ref)
        if ref_a == ref_b:
            return
        for ref in (ref_a, ref_b):
            if ref in self.state.active:
                raise GrantRefusal(GrantStatus.eagain, f"grant {ref} is in use")
        self.entries.swap(ref_a, ref_b)

    def use_version(self, version: int) -> None:
        """Read the table as one of entries of `version` from now on, with the frames of status words that it
        has. Raises MemoryError, changing nothing."""
        ram, state = self.memory.machine.ram, self.state
        if version == 2:
            self._share(state.status_frames, status_frames_for(len(state.frames)))
            self.entries = EntriesV2(ram, state)
        else:
            for mfn in state.status_frames:
                self.memory.release_xen_frame(mfn)
            state.status_frames.clear()
            self.entries = EntriesV1(ram, state)
        state.version = version

    def _add_frames(self, nr_frames: int) -> None:
        """Give the table so many frames more. Raises MemoryError, changing nothing."""
        state = self.state
        before, status_before = len(state.frames), len(state.status_frames)
        try:
            self._share(state.frames, before + nr_frames)
            if state.version == 2:
                self._share(state.status_frames, status_frames_for(len(state.frames)))
        except MemoryError:
            self._unshare(state.frames, before)
            self._unshare(state.status_frames, status_before)
            raise

    def _share(self, frames: list[int], nr_frames: int) -> None:
        """Fill a list of frames up. Raises MemoryError, with some of them in it."""
        while len(frames) < nr_frames:
            if self.tables.exhausted is not None and self.tables.exhausted(self.domid, "frame"):
                raise MemoryError("no frame is free")
            frames.append(self.memory.share_xen_frame())

    def _unshare(self, frames: list[int], nr_frames: int) -> None:
        """Give back those of the frames that came last."""
        while len(frames) > nr_frames:
            self.memory.release_xen_frame(frames.pop())
