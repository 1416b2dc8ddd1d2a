"""Grants in use: what is kept of them besides the entries that the guest writes."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from paravane.abi.errno import Errno
from paravane.abi.grant_table import GrantStatus
from paravane.arguments import check_type
from paravane.classes import dataclass
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

MAX_GRANT_FRAMES: Final = 64
"""Frames a table can have: Xen's default (gnttab_max_frames)."""

MAX_MAPTRACK_FRAMES: Final = 1024
"""Frames of 256 handles a domain can have: Xen's default (gnttab_max_maptrack_frames)."""

MAX_GRANT_VERSION: Final = 2
"""Versions of entries a guest can choose from: Xen's default (`gnttab=max-ver:`)."""

# One count of 8 bits for each kind of use, packed as in Xen (GNTPIN_*): by a processor or by a device,
# writing or only reading.
HOST_WRITE: Final = 1 << 0
HOST_READ: Final = 1 << 8
DEVICE_WRITE: Final = 1 << 16
DEVICE_READ: Final = 1 << 24
_WRITES: Final = 0xFF * (HOST_WRITE | DEVICE_WRITE)
_FULL: Final = 7
"""Position, in a count, of the bit that says that there are too many uses for another one."""


@dataclass(frozen=True, slots=True)
class GrantLimits:
    """What a domain may have of grants, as xl's max_grant_frames, max_maptrack_frames and max_grant_version:
    frames of its table, frames of handles for what it maps of others, versions of entries."""

    frames: int = MAX_GRANT_FRAMES
    maptrack_frames: int = MAX_MAPTRACK_FRAMES
    version: int = MAX_GRANT_VERSION

    def __post_init__(self) -> None:
        """Raises TypeError and ValueError, by the name that xl has for it."""
        for name, value, least, most in (
            ("max_grant_frames", self.frames, 1, MAX_GRANT_FRAMES),
            ("max_maptrack_frames", self.maptrack_frames, 0, MAX_MAPTRACK_FRAMES),
            ("max_grant_version", self.version, 1, MAX_GRANT_VERSION),
        ):
            check_type(name, value, int)
            if not least <= value <= most:
                raise ValueError(f"{name} is from {least} to {most}, not {value}")


class GrantRefusal(Refusal):
    """A grant operation that is refused: `status` is what its own struct reports."""

    def __init__(self, status: GrantStatus, sentence: str) -> None:
        super().__init__(Errno.EINVAL, f"{status.name}: {sentence}")
        self.status = status


@dataclass(slots=True)
class ActiveGrant:
    """An entry in use: by which domain, and which frame it was when the use began, whatever the entry says
    by now.

    `pin` has the counts of uses. A `sub_page` can only be copied: `length` bytes from `start`. `trans_domid`
    and `trans_ref` are the grant behind a transitive one; otherwise they are this grant itself.
    """

    domid: int
    mfn: int
    trans_domid: int
    trans_ref: int
    pin: int = 0
    start: int = 0
    length: int = PAGE_SIZE
    sub_page: bool = False

    @property
    def written(self) -> bool:
        """Whether any of its uses may write."""
        return bool(self.pin & _WRITES)

    def is_full_for(self, uses: int) -> bool:
        """Whether one of the kinds of `uses` has as many of them as there can be."""
        return bool(self.pin & uses << _FULL)

    def address(self, offset: int, length: int) -> int:
        """Machine address of `length` bytes from `offset` in the frame. Raises GrantRefusal: bad_copy_arg
        beyond the end of the frame, general_error for bytes that are not granted."""
        if not 0 <= offset <= offset + length <= PAGE_SIZE:
            raise GrantRefusal(GrantStatus.bad_copy_arg, "the copy goes beyond the end of a frame")
        if offset < self.start or offset + length > self.start + self.length:
            granted = f"{self.length} bytes from {self.start} on"
            sentence = f"{length} bytes from {offset} on, where {granted} are granted"
            raise GrantRefusal(GrantStatus.general_error, sentence)
        return (self.mfn << PAGE_SHIFT) + offset

    def same_bytes(self, other: ActiveGrant) -> bool:
        """Whether a use of `other`, which the entry is now, can be counted here."""
        if (self.mfn, self.trans_domid, self.trans_ref) != (other.mfn, other.trans_domid, other.trans_ref):
            return False
        part = (self.start, self.length) == (other.start, other.length)
        return not self.sub_page or (other.sub_page and part)


@dataclass(slots=True)
class GrantState:
    """All that is known of a grant table besides the entries that the guest writes: its version, its frames,
    the frames of version 2's status words, the entries in use by reference, and whether its domain is gone.
    Plain, so that it can be saved.
    """

    version: int = 1
    frames: list[int] = field(default_factory=list)
    status_frames: list[int] = field(default_factory=list)
    active: dict[int, ActiveGrant] = field(default_factory=dict)
    closed: bool = False
