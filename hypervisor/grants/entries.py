"""The entries of a grant table as they lie in guest memory, in each of their two versions.

A use marks its entry (GTF_reading, GTF_writing), so that the guest knows that it cannot end the grant yet.
Xen does so with a compare-and-exchange that it repeats when a vcpu of the guest was faster. Here a look at an
entry and the mark after it are one step to every guest: vcpus take turns between instructions, and none
executes while the hypervisor works. So a guest's own compare-and-exchange, by which it ends a grant, comes
wholly before or wholly after them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.grant_table import GRANT_ENTRY_V1, GRANT_ENTRY_V2, GrantFlag, GrantStatus
from paravane.grants.use import ActiveGrant, GrantRefusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.cpu.ram import Ram
    from paravane.grants.use import GrantState

V1_PER_FRAME: Final = PAGE_SIZE // GRANT_ENTRY_V1.size
V2_PER_FRAME: Final = PAGE_SIZE // GRANT_ENTRY_V2.size
STATUS_PER_FRAME: Final = PAGE_SIZE // 2
"""Status words (16 bits each) in a frame of them."""

# Plain numbers: every look at an entry needs them.
TYPE_MASK: Final = int(GrantFlag.type_mask)
PERMIT: Final = int(GrantFlag.permit_access)
TRANSITIVE: Final = int(GrantFlag.transitive)
READONLY: Final = int(GrantFlag.readonly)
READING: Final = int(GrantFlag.reading)
WRITING: Final = int(GrantFlag.writing)
SUB_PAGE: Final = int(GrantFlag.sub_page)

_WORDS_SHIFT: Final = 10
"""Words of 32 bits in a frame, as a power of two."""


class Entries(Protocol):
    """The entries of one table, all of one version. A reference given here is within the table."""

    per_frame: int

    def header(self, ref: int) -> int:
        """Flags, and the domain in the high half."""
        ...

    def set_header(self, ref: int, header: int) -> None: ...

    def frame(self, ref: int) -> int:
        """The frame of a whole-page entry."""
        ...

    def set_frame(self, ref: int, mfn: int) -> None: ...

    def look(self, ref: int) -> tuple[int, int]:
        """Header and frame of any reference from 0 on: zeros beyond the end of the table, which grant
        nothing."""
        ...

    def granted(self, ref: int, domid: int, by: int) -> ActiveGrant:
        """What an entry of `by` grants `domid` for a copy, as a use that is not counted yet."""
        ...

    def behind(self, ref: int) -> tuple[int, int]:
        """Domain and reference of the grant that a transitive entry passes on."""
        ...

    def uses(self, ref: int) -> int:
        """Flags of the uses that are shown to the guest, or what it wrote in their place."""
        ...

    def mark(self, ref: int, flags: int) -> None:
        """Show uses to the guest: GTF_reading, GTF_writing."""
        ...

    def unmark(self, ref: int, flags: int) -> None: ...

    def swap(self, ref_a: int, ref_b: int) -> None:
        """Exchange two entries."""
        ...


class EntriesV1:
    """8 bytes each; uses are shown in the flags."""

    per_frame = V1_PER_FRAME

    def __init__(self, ram: Ram, state: GrantState) -> None:
        self._words = ram.words
        self._frames = state.frames

    def _at(self, ref: int) -> int:
        """Index of an entry's first word in machine memory."""
        frame, slot = divmod(ref, V1_PER_FRAME)
        return (self._frames[frame] << _WORDS_SHIFT) + slot * 2

    def header(self, ref: int) -> int:
        header: int = self._words[self._at(ref)]
        return header

    def set_header(self, ref: int, header: int) -> None:
        self._words[self._at(ref)] = header

    def frame(self, ref: int) -> int:
        frame: int = self._words[self._at(ref) + 1]
        return frame

    def set_frame(self, ref: int, mfn: int) -> None:
        self._words[self._at(ref) + 1] = mfn

    def look(self, ref: int) -> tuple[int, int]:
        frame, slot = divmod(ref, V1_PER_FRAME)
        if frame >= len(self._frames):
            return 0, 0
        at = (self._frames[frame] << _WORDS_SHIFT) + slot * 2
        return self._words[at], self._words[at + 1]

    def granted(self, ref: int, domid: int, by: int) -> ActiveGrant:
        return ActiveGrant(domid, self.frame(ref), by, ref)

    def behind(self, ref: int) -> tuple[int, int]:
        raise ValueError("there are no transitive entries in version 1")

    def uses(self, ref: int) -> int:
        return self.header(ref) & (READING | WRITING)

    def mark(self, ref: int, flags: int) -> None:
        self._words[self._at(ref)] |= flags

    def unmark(self, ref: int, flags: int) -> None:
        self._words[self._at(ref)] &= ~flags

    def swap(self, ref_a: int, ref_b: int) -> None:
        words, a, b = self._words, self._at(ref_a), self._at(ref_b)
        words[a], words[a + 1], words[b], words[b + 1] = words[b], words[b + 1], words[a], words[a + 1]


class EntriesV2:
    """16 bytes each, which the hypervisor only reads; uses are shown in status words of their own."""

    per_frame = V2_PER_FRAME

    def __init__(self, ram: Ram, state: GrantState) -> None:
        self._words = ram.words
        self._frames = state.frames
        self._status_frames = state.status_frames

    def _at(self, ref: int) -> int:
        frame, slot = divmod(ref, V2_PER_FRAME)
        return (self._frames[frame] << _WORDS_SHIFT) + slot * 4

    def _status_at(self, ref: int) -> tuple[int, int]:
        """The word of machine memory that has the status of an entry, and the position of that in it."""
        frame, slot = divmod(ref, STATUS_PER_FRAME)
        return (self._status_frames[frame] << _WORDS_SHIFT) + (slot >> 1), slot % 2 * 16

    def header(self, ref: int) -> int:
        header: int = self._words[self._at(ref)]
        return header

    def set_header(self, ref: int, header: int) -> None:
        self._words[self._at(ref)] = header

    def frame(self, ref: int) -> int:
        low, high = self._words[self._at(ref) + 2 : self._at(ref) + 4]
        frame: int = low | high << 32
        return frame

    def set_frame(self, ref: int, mfn: int) -> None:
        at = self._at(ref)
        self._words[at + 2], self._words[at + 3] = mfn, 0

    def look(self, ref: int) -> tuple[int, int]:
        frame, slot = divmod(ref, V2_PER_FRAME)
        if frame >= len(self._frames):
            return 0, 0
        at = (self._frames[frame] << _WORDS_SHIFT) + slot * 4
        return self._words[at], self._words[at + 2] | self._words[at + 3] << 32

    def granted(self, ref: int, domid: int, by: int) -> ActiveGrant:
        found = ActiveGrant(domid, self.frame(ref), by, ref)
        if self.header(ref) & SUB_PAGE:
            part: int = self._words[self._at(ref) + 1]
            found.sub_page, found.start, found.length = True, part & 0xFFFF, part >> 16
        return found

    def behind(self, ref: int) -> tuple[int, int]:
        at = self._at(ref)
        return self._words[at + 1] & 0xFFFF, self._words[at + 2]

    def uses(self, ref: int) -> int:
        at, shift = self._status_at(ref)
        status: int = self._words[at] >> shift & 0xFFFF
        return status

    def mark(self, ref: int, flags: int) -> None:
        at, shift = self._status_at(ref)
        self._words[at] |= flags << shift

    def unmark(self, ref: int, flags: int) -> None:
        at, shift = self._status_at(ref)
        self._words[at] &= ~(flags << shift)

    def swap(self, ref_a: int, ref_b: int) -> None:
        words, a, b = self._words, self._at(ref_a), self._at(ref_b)
        for word in range(4):
            words[a + word], words[b + word] = words[b + word], words[a + word]
        status_a, status_b = self.uses(ref_a), self.uses(ref_b)
        for ref, status in ((ref_a, status_b), (ref_b, status_a)):
            self.unmark(ref, 0xFFFF)
            self.mark(ref, status)


def check_entry(header: int, ref: int, domid: int, *, mapping: bool, transitive: bool) -> None:
    """Raises GrantRefusal(general_error) unless the entry with this header grants `domid` something: a whole
    frame for a mapping, for a copy perhaps (`transitive`) what another domain granted."""
    wanted = header & (TYPE_MASK | SUB_PAGE if mapping else TYPE_MASK)
    if header >> 16 == domid and (wanted == PERMIT or (transitive and not mapping and wanted == TRANSITIVE)):
        return
    raise GrantRefusal(
        GrantStatus.general_error,
        f"grant {ref} has flags {header & 0xFFFF:#x} and is for domain {header >> 16}, not {domid}",
    )
