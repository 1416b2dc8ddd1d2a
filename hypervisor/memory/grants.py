"""Grant tables, version 1 (public/grant_table.h): the frames a domain lets others use.

The table is memory that the guest writes: nothing in it is believed for longer than one look. What is in use
is kept here (the active entries), so a guest that changes an entry meanwhile changes nothing but its own
view.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.errno import Errno
from paravane.abi.grant_table import (
    GNTTAB_NR_RESERVED_ENTRIES,
    GRANT_ENTRY_V1,
    GrantEntryV1,
    GrantFlag,
    GrantStatus,
)
from paravane.memory.grant_use import ActiveGrant, GrantMapping, GrantRefusal, GrantState
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.memory.domain_memory import DomainMemory
    from paravane.registry import Domains

MAX_GRANT_FRAMES: Final = 64
"""Frames a table can have: the default of xl."""

INITIAL_FRAMES: Final = 1
ENTRIES_PER_FRAME: Final = PAGE_SIZE // GRANT_ENTRY_V1.size
_MAX_USES: Final = 128

# Plain numbers: every look at an entry needs them.
_TYPE_MASK: Final = int(GrantFlag.type_mask)
_PERMIT: Final = int(GrantFlag.permit_access)
_READONLY: Final = int(GrantFlag.readonly)
_READING: Final = int(GrantFlag.reading)
_WRITING: Final = int(GrantFlag.writing)
_SUB_PAGE: Final = int(GrantFlag.sub_page)


class Observer(Protocol):
    def __call__(self, what: str, domid: int, ref: int, by: int, mfn: int, *, writable: bool) -> None:
        """Domain `by` began (`map`, `copy`) or ended (`release`) a use of grant `ref` of `domid`."""
        ...


class HasGrants(Protocol):
    """A domain as grants see it. The control domain grants nothing."""

    @property
    def domid(self) -> int: ...
    @property
    def grants(self) -> GrantTable | None: ...


class GrantTables:
    """Where the grant tables of one machine meet. `observer`, if there is one, is told of every use."""

    observer: Observer | None = None

    def __init__(self, domains: Domains[HasGrants]) -> None:
        self.domains = domains


class GrantTable:
    """One domain's grant table: its frames, and which entries are in use."""

    def __init__(
        self, memory: DomainMemory, tables: GrantTables, *, max_frames: int = MAX_GRANT_FRAMES
    ) -> None:
        """A table of `INITIAL_FRAMES`. Raises MemoryError."""
        self.memory = memory
        self.domid = memory.domid
        self.max_frames = max_frames
        self._tables = tables
        self.state = GrantState()
        self._words = memory.machine.ram.words
        self._add_frames(INITIAL_FRAMES)

    @property
    def frames(self) -> tuple[int, ...]:
        """The machine frames of the table, which the guest may map."""
        return tuple(self.state.frames)

    @property
    def nr_entries(self) -> int:
        return len(self.state.frames) * ENTRIES_PER_FRAME

    def close(self) -> None:
        """The domain is about to lose its memory: nobody can use its grants from now on, since the table has
        no entries. Mappings that are still open keep their frames, but the table is no longer written."""
        self.state.closed = True
        self.state.frames.clear()

    def grow(self, nr_frames: int) -> None:
        """Give the table at least so many frames. Raises GrantRefusal(general_error), changing nothing."""
        if nr_frames > self.max_frames:
            raise GrantRefusal(
                GrantStatus.general_error, f"{nr_frames} frames for a grant table, at most {self.max_frames}"
            )
        if self.state.closed:  # nobody would take them back
            raise GrantRefusal(GrantStatus.general_error, f"d{self.domid} goes, and its grant table has gone")
        try:
            self._add_frames(nr_frames - len(self.state.frames))
        except MemoryError as error:
            raise GrantRefusal(GrantStatus.general_error, "no memory for more grant frames") from error

    def reserve(self, ref: int, mfn: int, domid: int = CONTROL_DOMID) -> None:
        """Fill one of the references that the toolstack keeps (GNTTAB_RESERVED_*): `domid` may use `mfn`."""
        if not 0 <= ref < GNTTAB_NR_RESERVED_ENTRIES:
            raise ValueError(f"reference {ref} is not the toolstack's")
        entry = GRANT_ENTRY_V1.pack(GrantEntryV1(_PERMIT, domid, mfn))
        self.memory.machine.ram.write(self._at(ref) << 2, entry)

    def find(self, domid: int) -> GrantTable:
        """The table of the domain that the guest names. Raises GrantRefusal: bad_domain, or general_error for
        the control domain."""
        table = self._named(domid).grants
        if table is None:
            raise GrantRefusal(GrantStatus.general_error, f"domain {domid} has no grant table")
        return table

    def controls(self, domid: int) -> bool:
        """Whether the guest may change or look at the table of `domid`. Raises GrantRefusal(bad_domain)."""
        named = self._named(domid)
        return named.domid == self.domid or (self.memory.privileged and named.grants is not None)

    def controlled(self, domid: int) -> GrantTable:
        """The table of `domid`, which the guest may change or look at. Raises GrantRefusal: bad_domain,
        permission_denied."""
        table = self._named(domid).grants
        if table is None or not self.controls(domid):
            raise GrantRefusal(
                GrantStatus.permission_denied, f"the grant table of domain {domid} is its own affair"
            )
        return table

    def _named(self, domid: int) -> HasGrants:
        try:
            return self._tables.domains.named(self.domid, domid)
        except Refusal as refusal:
            raise GrantRefusal(GrantStatus.bad_domain, refusal.sentence) from None

    def set_version(self, version: int) -> None:
        """GNTTABOP_set_version: there is only version 1, as with `gnttab=max-ver:1`."""
        if version not in (1, 2):
            raise Refusal(Errno.EINVAL, f"there is no grant table version {version}")
        if version == 2:
            raise Refusal(Errno.ENOSYS, "this hypervisor has grant tables of version 1 only")

    def map_for_backend(self, ref: int, *, writable: bool, domid: int = CONTROL_DOMID) -> GrantMapping:
        """Map a granted frame for a backend in domain `domid`. Raises GrantRefusal when the entry, as it is
        now, does not allow that."""
        mfn = self.acquire(ref, domid, writable=writable, mapping=True)
        release = partial(self.release, ref, mfn, writable=writable)
        return GrantMapping(self.memory.machine.ram, mfn, release, writable=writable)

    def acquire(self, ref: int, domid: int, *, writable: bool, mapping: bool) -> int:
        """Use entry `ref` as `domid` once more: its frame, with a reference (and a writable type) taken.

        Sets GTF_reading and GTF_writing, which tell the guest that it must not end the grant. Raises
        GrantRefusal, taking nothing: bad_gntref, general_error, bad_page.
        """
        if not 0 <= ref < self.nr_entries:
            raise GrantRefusal(GrantStatus.bad_gntref, f"domain {self.domid} has no grant reference {ref:#x}")
        active = self.state.active.get(ref)
        if active is not None and active.domid != domid:
            raise GrantRefusal(GrantStatus.general_error, f"grant {ref} is in use by domain {active.domid}")
        if active is not None and max(active.readers, active.writers) >= _MAX_USES:
            raise GrantRefusal(GrantStatus.general_error, f"grant {ref} is in use {_MAX_USES} times")
        if active is None or (writable and not active.writers):
            self._mark(ref, domid, writable=writable, mapping=mapping, known=active is not None)
        mfn = active.mfn if active is not None else self._words[self._at(ref) + 1]
        try:
            self.take(mfn, writable=writable)
        except GrantRefusal:
            self._unmark(ref, active, writable=writable)
            raise
        if active is None:
            active = self.state.active[ref] = ActiveGrant(domid, mfn)
        if writable:
            active.writers += 1
        else:
            active.readers += 1
        if self._tables.observer is not None:
            what = "map" if mapping else "copy"
            self._tables.observer(what, self.domid, ref, domid, mfn, writable=writable)
        return mfn

    def release(self, ref: int, mfn: int, *, writable: bool) -> None:
        """End one use that `acquire` began."""
        self.memory.machine.let_go(mfn, writable=writable)
        active = self.state.active[ref]
        if writable:
            active.writers -= 1
        else:
            active.readers -= 1
        if self._tables.observer is not None:
            self._tables.observer("release", self.domid, ref, active.domid, mfn, writable=writable)
        remaining = active if active.readers or active.writers else None
        if remaining is None:
            del self.state.active[ref]
        self._unmark(ref, remaining, writable=writable)

    def swap(self, ref_a: int, ref_b: int) -> None:
        """Exchange two entries that are not in use. Raises GrantRefusal: bad_gntref, eagain."""
        for ref in (ref_a, ref_b):
            if not 0 <= ref < self.nr_entries:
                raise GrantRefusal(GrantStatus.bad_gntref, f"domain {self.domid} has no grant {ref:#x}")
        if ref_a == ref_b:
            return
        for ref in (ref_a, ref_b):
            if ref in self.state.active:
                raise GrantRefusal(GrantStatus.eagain, f"grant {ref} is in use")
        words, a, b = self._words, self._at(ref_a), self._at(ref_b)
        words[a], words[a + 1], words[b], words[b + 1] = words[b], words[b + 1], words[a], words[a + 1]

    def text(self) -> str:
        """The entries that grant something, one a line."""
        lines = []
        for ref in range(self.nr_entries):
            first, frame = self._words[self._at(ref)], self._words[self._at(ref) + 1]
            if first & _TYPE_MASK:
                active = self.state.active.get(ref)
                uses = f"{active.readers}r {active.writers}w" if active else "unused"
                lines.append(f"{ref}: flags={first & 0xFFFF:#x} dom={first >> 16} frame={frame:#x} {uses}")
        return "\n".join(lines)

    def _add_frames(self, nr_frames: int) -> None:
        """Give the table so many frames more. Raises MemoryError, changing nothing."""
        added: list[int] = []
        try:
            while len(added) < nr_frames:
                added.append(self.memory.share_xen_frame())
        except MemoryError:
            for mfn in added:
                self.memory.release_xen_frame(mfn)
            raise
        self.state.frames += added

    def _at(self, ref: int) -> int:
        """Index of an entry's first word in machine memory: flags, then the domain in the high half."""
        frame, slot = divmod(ref, ENTRIES_PER_FRAME)
        return (self.state.frames[frame] << 10) + slot * 2

    def _mark(self, ref: int, domid: int, *, writable: bool, mapping: bool, known: bool) -> None:
        at = self._at(ref)
        word = self._words[at]
        mask = _TYPE_MASK | _SUB_PAGE if mapping else _TYPE_MASK
        if not known and (word & mask != _PERMIT or word >> 16 != domid):
            raise GrantRefusal(
                GrantStatus.general_error,
                f"grant {ref} has flags {word & 0xFFFF:#x} and is for domain {word >> 16}, not {domid}",
            )
        if writable and word & _READONLY:
            raise GrantRefusal(GrantStatus.general_error, f"grant {ref} is read-only")
        self._words[at] = word | _READING | (_WRITING if writable else 0)

    def _unmark(self, ref: int, active: ActiveGrant | None, *, writable: bool) -> None:
        """Take back the flags that no remaining use needs."""
        if self.state.closed:
            return
        clear = 0 if active is not None else _READING
        if writable and (active is None or not active.writers):
            clear |= _WRITING
        if clear:
            self._words[self._at(ref)] &= ~clear

    def take(self, mfn: int, *, writable: bool) -> None:
        """Hold an own frame for a use by number. Raises GrantRefusal: bad_page, general_error."""
        machine = self.memory.machine
        if not machine.frames.owned_by(mfn, self.domid):
            sentence = f"{machine.frames.describe(mfn)} is not domain {self.domid}'s"
            raise GrantRefusal(GrantStatus.bad_page, sentence)
        try:
            machine.hold(mfn, self.domid, writable=writable)
        except Refusal as refusal:
            raise GrantRefusal(GrantStatus.general_error, refusal.sentence) from refusal
