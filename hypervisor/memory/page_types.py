"""References and types: taking a frame for a use, and letting it go.

Every reference is taken through this class, and every type. A type is taken by whoever uses a frame as
something: a present L1 entry with R/W set takes `writable`, an L2 entry takes `l1_page_table`, an installed
GDT frame takes `seg_desc_page`. The first taker of a page-table or descriptor type has the whole contents
checked, by the rules registered for that type in `contents`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.errno import Errno
from paravane.memory.frames import (
    L1,
    L2,
    L3,
    NONE,
    PAE_XEN_L2,
    PINNED,
    VALIDATED,
    WRITABLE,
    FrameTable,
    FrameType,
)
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.memory.owner import HasMemory, Owner
    from paravane.registry import Domains

_TABLES: Final = frozenset((L1, L2, L3))


Observer = Callable[[str, int, int, int], None]


class Contents(Protocol):
    """The rules for what a frame of one type holds."""

    def promote(self, mfn: int, domain: Owner, *, xen_l2: bool) -> None:
        """Check and take all it refers to. Raises Refusal, having taken nothing."""

    def demote(self, mfn: int, domain: Owner) -> None:
        """Let go of all it refers to."""


class PageTypes:
    """Reference counts, type counts and validation of all machine frames.

    `domains` have the owners whose rules their frames are checked by; `released` is told of each frame whose
    last reference went. `contents` has the rules of each type whose contents matter. `observer`, if there is
    one, is told what becomes of frames: the word for it, the mfn, its type before and after.
    """

    def __init__(
        self, frames: FrameTable, domains: Domains[HasMemory], released: Callable[[int], None]
    ) -> None:
        self.frames = frames
        self.domains = domains
        self.contents: dict[int, Contents] = {}
        self.observed = array("q", (0,))
        """1 while there is an `observer`, where native code reads it."""
        self._observer: Observer | None = None
        self._released = released
        self._tables_walked = 0

    @property
    def observer(self) -> Observer | None:
        return self._observer

    @observer.setter
    def observer(self, told: Observer | None) -> None:
        self._observer = told
        self.observed[0] = told is not None

    def tables_walked(self) -> int:
        """Tables so far whose entries were all taken or dropped: what one small request can cost."""
        return self._tables_walked

    def get_page(self, mfn: int, domid: int) -> bool:
        """Take a reference to a frame that `domid` owns; False when it does not, or has too many already."""
        if not self.frames.owned_by(mfn, domid):
            return False
        self.frames.count[mfn] += 1
        return True

    def put_page(self, mfn: int) -> None:
        """Drop a reference; a frame without any is free."""
        count = self.frames.count[mfn] - 1
        self.frames.count[mfn] = count
        if not count:
            self._released(mfn)

    def get_type(self, mfn: int, wanted: int, *, xen_l2: bool = False) -> None:
        """Use the frame as `wanted`. Raises Refusal (-EINVAL, or what is wrong with its contents), taking
        nothing.

        The caller holds a reference to the frame. `xen_l2` asks for an L2 that carries the hypervisor's
        entries.
        """
        frames = self.frames
        count, flags = frames.type_count[mfn], frames.flags[mfn]
        if count:
            if frames.type[mfn] != wanted or bool(flags & PAE_XEN_L2) != xen_l2 or not flags & VALIDATED:
                raise self._wrong_type(mfn, wanted, xen_l2)
            if count >= frames.count_limit:
                raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} has too many uses for another one")
            frames.type_count[mfn] = count + 1
            return
        if frames.type[mfn] != wanted or xen_l2:
            self._change_type(mfn, wanted, xen_l2)
        frames.type_count[mfn] = 1
        if frames.flags[mfn] & VALIDATED:
            return
        try:
            self._validate(mfn, wanted, xen_l2)
        except Refusal:
            frames.type[mfn] = NONE
            frames.type_count[mfn] = 0
            frames.flags[mfn] &= ~(VALIDATED | PAE_XEN_L2 | PINNED)
            if self.observer is not None:
                self.observer("refused", mfn, wanted, NONE)
            raise
        frames.flags[mfn] |= VALIDATED
        if self.observer is not None and wanted != WRITABLE:
            self.observer("validated", mfn, wanted, wanted)

    def put_type(self, mfn: int, parent: int = -1) -> None:
        """Stop using the frame as its type. The last one to stop using a page table releases what it maps.

        `parent` is the table whose entry is dropped: between tables of one level that entry was counted
        twice.
        """
        frames = self.frames
        count, kind = frames.type_count[mfn], frames.type[mfn]
        if count == 1 and kind in _TABLES:
            frames.flags[mfn] &= ~VALIDATED
            self._demote(mfn, kind)
            frames.flags[mfn] &= ~PAE_XEN_L2
            if self.observer is not None:
                self.observer("devalidated", mfn, kind, kind)
        if parent >= 0 and frames.type[parent] == kind:
            frames.linear[mfn] += 1
            frames.linear[parent] -= 1
        frames.type_count[mfn] = count - 1

    def get_page_and_type(self, mfn: int, domid: int, wanted: int, *, xen_l2: bool = False) -> None:
        """Both at once. Raises Refusal, taking neither."""
        if not self.get_page(mfn, domid):
            name, what = FrameType(wanted).name.lower(), self.frames.describe(mfn)
            raise Refusal(Errno.EINVAL, f"d{domid} wants a frame as {name}, but {what} is not its own")
        try:
            self.get_type(mfn, wanted, xen_l2=xen_l2)
        except Refusal:
            self.put_page(mfn)
            raise

    def put_page_and_type(self, mfn: int, parent: int = -1) -> None:
        """Drop both."""
        self.put_type(mfn, parent)
        self.put_page(mfn)

    def owner(self, domid: int) -> Owner | None:
        """The domain with that number; None when there is none, or it has no memory of this machine."""
        domain = self.domains.find(domid)
        return None if domain is None else domain.memory

    def owner_of(self, mfn: int) -> Owner:
        """The domain whose rules a page table is checked by."""
        domain = self.owner(self.frames.owner[mfn])
        # Only frames of guests are used as tables, and a guest's entry stays as long as it has frames.
        assert domain is not None
        return domain

    def _change_type(self, mfn: int, wanted: int, xen_l2: bool) -> None:
        frames = self.frames
        if frames.type[mfn] == WRITABLE and wanted != WRITABLE:
            # A processor may remember that the guest could write here; the contents are about to be trusted.
            self.owner_of(mfn).flush_tlb()
        if self.observer is not None and frames.type[mfn] != wanted:
            self.observer("type", mfn, frames.type[mfn], wanted)
        frames.type[mfn] = wanted
        frames.flags[mfn] = frames.flags[mfn] & ~VALIDATED | (PAE_XEN_L2 if xen_l2 else 0)

    def _validate(self, mfn: int, wanted: int, xen_l2: bool) -> None:
        if wanted == WRITABLE:
            return
        self.frames.linear[mfn] = 0
        self._tables_walked += 1
        domain, contents = self.owner_of(mfn), self.contents.get(wanted)
        if contents is None or (wanted in _TABLES and wanted > domain.space.root):
            name = FrameType(wanted).name.lower()
            raise Refusal(Errno.EINVAL, f"a {domain.space.geometry.name} guest has no {name}")
        contents.promote(mfn, domain, xen_l2=xen_l2)

    def _demote(self, mfn: int, kind: int) -> None:
        self._tables_walked += 1
        self.contents[kind].demote(mfn, self.owner_of(mfn))

    def _wrong_type(self, mfn: int, wanted: int, xen_l2: bool) -> Refusal:
        name = FrameType(wanted).name.lower() + (" with the hypervisor's entries" if xen_l2 else "")
        return Refusal(Errno.EINVAL, f"{self.frames.describe(mfn)} cannot be used as {name} at the same time")
