"""The frame table: who owns each machine frame, what it is used as, and how often.

It is what makes direct paging safe. A frame has one type at a time, and changes it only while nothing uses
it as the old one; a page table counts every frame it maps. So a frame that is a page table has no writable
mapping, and a frame that somebody still uses is given to nobody else. The types are those of Xen (PGT_*).
"""

from __future__ import annotations

from array import array
from enum import IntEnum, IntFlag
from typing import Final

from paravane.abi.domid import DomId
from paravane.memory.pool import STRIDE

FREE: Final = 0xFFFF
"""The owner of a frame that nobody has."""

COUNT_MAX: Final = 0xFFFF_FFFE
"""A count never goes beyond this: the reference that would is refused."""


class FrameType(IntEnum):
    """What a frame is used as. Numbered as Xen numbers them, so that page-table types are 1 to 4."""

    NONE = 0
    L1_PAGE_TABLE = 1
    L2_PAGE_TABLE = 2
    L3_PAGE_TABLE = 3
    L4_PAGE_TABLE = 4
    SEG_DESC_PAGE = 5
    SHARED_PAGE = 6
    WRITABLE_PAGE = 7


class FrameFlag(IntFlag):
    """What else is known of a frame.

    VALIDATED: its contents were checked for its type. PINNED: its owner asked that it keep its type.
    PAE_XEN_L2: an L2 that carries the hypervisor's entries. ALLOCATED: its owner has not given it back (worth
    one reference). XEN_HEAP: the hypervisor's memory, shared with the owner; no part of its reservation.
    LEAVING: such memory that the hypervisor gave up and the owner still has mapped.
    """

    VALIDATED = 1
    PINNED = 2
    PAE_XEN_L2 = 4
    ALLOCATED = 8
    XEN_HEAP = 16
    LEAVING = 32


# Plain numbers for the loops: an enumeration member costs as much as all else they do.
NONE: Final = 0
L1: Final = 1
L2: Final = 2
L3: Final = 3
SEG_DESC: Final = 5
WRITABLE: Final = 7
VALIDATED: Final = 1
PINNED: Final = 2
PAE_XEN_L2: Final = 4
ALLOCATED: Final = 8
XEN_HEAP: Final = 16
LEAVING: Final = 32

_PINNED: Final = bytes(bool(flags & PINNED) for flags in range(256))
_IN_RESERVATION: Final = bytes(flags & (ALLOCATED | XEN_HEAP) == ALLOCATED for flags in range(256))


class FrameTable:
    """Parallel arrays indexed by mfn: read freely, written by this folder alone.

    `linear` counts entries that map page tables of their own level: positive in a table that has such
    entries, negative in a table that such entries of others point to.
    """

    def __init__(self, nr_frames: int) -> None:
        self.nr_frames = nr_frames
        self.owner = array("H", [FREE]) * nr_frames
        self.type = bytearray(nr_frames)
        self.type_count = array("I", bytes(4)) * nr_frames
        self.count = array("I", bytes(4)) * nr_frames
        self.flags = bytearray(nr_frames)
        self.linear = array("h", bytes(2)) * nr_frames
        self.count_limit = COUNT_MAX

    def owned_by(self, mfn: int, domid: int) -> bool:
        """Whether `mfn` is a frame of the machine that `domid` owns and may take another reference to."""
        return 0 <= mfn < self.nr_frames and self.owner[mfn] == domid and self.count[mfn] < self.count_limit

    def in_use_as(self, mfn: int, domid: int, kind: int) -> bool:
        """Whether `mfn` is a frame of `domid` that is in use as `kind`, and so has contents of that kind."""
        return self.owned_by(mfn, domid) and self.type[mfn] == kind and self.type_count[mfn] > 0

    def owned(self, domid: int, window: int) -> list[range]:
        """Every frame of `domid`, in runs: of neighbours, or as far apart as the pool hands frames out within
        one of its windows of `window` frames, so that a domain has few runs whatever it holds. Looks at all
        of the machine, but at the speed of `bytes.find`."""
        wanted = array("H", [domid]).tobytes()
        unseen = bytearray(self.owner.tobytes())
        owners = memoryview(unseen).cast("H")
        found: list[range] = []
        at = unseen.find(wanted)
        while at >= 0:
            if at % 2:  # made of the halves of two owners
                at = unseen.find(wanted, at + 1)
                continue
            run = _run(owners, at // 2, self.nr_frames, domid, 1)
            if len(run) < STRIDE:
                # In the next window the domain may have all, and neighbours are worth more.
                end = (at // 2 // window + 1) * window
                run = max(run, _run(owners, at // 2, end, domid, STRIDE), key=len)
            found.append(run)
            owners[run.start : run.stop : run.step] = memoryview(array("H", [FREE]) * len(run))
            at = unseen.find(wanted, at)
        return found

    def pinned(self, run: range) -> list[int]:
        """Those frames of a run that are pinned."""
        marks = self.flags[run.start : run.stop : run.step].translate(_PINNED)
        return [mfn for mfn, pinned in zip(run, marks, strict=True) if pinned] if any(marks) else []

    def unused(self, run: range) -> bool:
        """Whether nobody uses any frame of a run for anything, and only its owner, whose reservation it is
        part of, has a reference to it. All frames of the run have an owner."""
        where, length = slice(run.start, run.stop, run.step), len(run)
        return (
            self.count[where] == array("I", [1]) * length
            and self.type_count[where] == array("I", bytes(4)) * length
            and self.flags[where].translate(_IN_RESERVATION).count(1) == length
        )

    def give(self, frames: range, domid: int, flags: int) -> None:
        """Make `domid` the owner of a run of free frames, with one reference each. Works on whole slices."""
        where = slice(frames.start, frames.stop, frames.step)
        self.owner[where] = array("H", [domid]) * len(frames)
        self.count[where] = array("I", [1]) * len(frames)
        self.flags[where] = bytes((flags,)) * len(frames)

    def reset(self, mfn: int) -> None:
        """Forget everything about a frame: it is nobody's."""
        self.owner[mfn] = FREE
        self.type[mfn] = NONE
        self.type_count[mfn] = 0
        self.count[mfn] = 0
        self.flags[mfn] = 0
        self.linear[mfn] = 0

    def reset_all(self, run: range) -> None:
        """As `reset`, for a run of frames that are in no use at all."""
        where, length = slice(run.start, run.stop, run.step), len(run)
        self.owner[where] = array("H", [FREE]) * length
        self.type[where] = bytes(length)
        self.count[where] = array("I", bytes(4)) * length
        self.flags[where] = bytes(length)
        self.linear[where] = array("h", bytes(2)) * length

    def describe(self, mfn: int) -> str:
        """A frame in words, for refusals: `mfn 0x2a (d1's, l1_page_table with 2 uses, 3 references,
        pinned)`.
        """
        if not 0 <= mfn < self.nr_frames:
            return f"mfn {mfn:#x} (beyond machine memory, which ends at mfn {self.nr_frames - 1:#x})"
        if self.owner[mfn] == FREE:
            return f"mfn {mfn:#x} (free, nobody's)"
        flags = FrameFlag(self.flags[mfn])
        parts = [
            f"{owner_name(self.owner[mfn])}",
            _use_text(self.type[mfn], self.type_count[mfn]),
            _number(self.count[mfn], "reference"),
        ]
        parts += ["pinned"] if flags & FrameFlag.PINNED else []
        parts += ["holds the hypervisor's entries"] if flags & FrameFlag.PAE_XEN_L2 else []
        parts += ["shared by the hypervisor"] if flags & FrameFlag.XEN_HEAP else []
        return f"mfn {mfn:#x} ({', '.join(parts)})"


def _run(owners: memoryview, first: int, limit: int, domid: int, stride: int) -> range:
    """The frames from `first` on to before `limit`, `stride` apart, that are all `domid`'s: found in steps
    that double while they hit, and halve once they miss."""
    length, step, grows = 0, 1, True
    while step:
        start, end = first + length * stride, first + (length + step) * stride
        if end - stride < limit and owners[start:end:stride] == array("H", [domid]) * step:
            length += step
        else:
            grows = False
        step = 2 * step if grows else step // 2
    return range(first, first + length * stride, stride)


def owner_name(owner: int) -> str:
    """`d1's`, `the hypervisor's`, `device memory`, `nobody's`."""
    if owner == DomId.XEN:
        return "the hypervisor's"
    if owner == DomId.IO:
        return "device memory"
    return "nobody's" if owner == FREE else f"d{owner}'s"


def _use_text(kind: int, uses: int) -> str:
    name = FrameType(kind).name.lower()
    if uses:
        return f"{name} with {_number(uses, 'use')}"
    return f"not in use, last as {name}" if kind != NONE else "not in use"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
