"""The page that a framebuffer or a keyboard shares with its frontend (public/io/fbif.h, public/io/kbdif.h).

It has two rings of events of 40 bytes: `out` from the frontend and `in` to it. All of it is the guest's to
write at any time: the indices that the backend moves are kept here and only shown in the page; the guest's
are read anew, and checked, before anything is done because of them; an event is copied out once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.fbif import (
    XENFB_IN_RING_LEN,
    XENFB_IN_RING_OFFS,
    XENFB_OUT_EVENT_SIZE,
    XENFB_OUT_RING_LEN,
    XENFB_OUT_RING_OFFS,
    XENFB_PAGE,
)
from paravane.abi.kbdif import (
    XENKBD_IN_RING_LEN,
    XENKBD_IN_RING_OFFS,
    XENKBD_OUT_RING_LEN,
    XENKBD_OUT_RING_OFFS,
)
from paravane.classes import NamedTuple
from paravane.devices.ring import RingFault

if TYPE_CHECKING:
    from paravane.devices.xenbus import Frontend

EVENT_SIZE: Final = XENFB_OUT_EVENT_SIZE
"""Bytes of an event, whichever the protocol and its direction."""

_MASK: Final = 0xFFFF_FFFF
_IN_CONS, _IN_PROD, _OUT_CONS, _OUT_PROD = (
    XENFB_PAGE.offsets[name] >> 2 for name in ("in_cons", "in_prod", "out_cons", "out_prod")
)


class Rings(NamedTuple):
    """Where a protocol has its rings: bytes from the page's start, and how many events each takes."""

    in_offset: int
    in_length: int
    out_offset: int
    out_length: int


FRAMEBUFFER: Final = Rings(XENFB_IN_RING_OFFS, XENFB_IN_RING_LEN, XENFB_OUT_RING_OFFS, XENFB_OUT_RING_LEN)
KEYBOARD: Final = Rings(XENKBD_IN_RING_OFFS, XENKBD_IN_RING_LEN, XENKBD_OUT_RING_OFFS, XENKBD_OUT_RING_LEN)


def shared_page(frontend: Frontend) -> memoryview:
    """The page that a frontend lends: by a grant (`page-gref`), or by its machine frame number (`page-ref`),
    as all did before there were grants. Raises DeviceFault."""
    ref = frontend.number("page-gref", _MASK)
    if ref != _MASK:
        return frontend.map(ref).page
    return frontend.map_frames([frontend.number("page-ref")], writable=True).pages[0]


class EventPage:
    """The backend's side of both rings in `page` (a writable memoryview of 4096 bytes, 'B').

    `take` and `put` raise RingFault when the guest's index is impossible: its device has to close then.
    """

    def __init__(self, page: memoryview, rings: Rings) -> None:
        self._page = page
        self._rings = rings
        self._words = page.cast("I")
        # A frontend begins with empty rings; whatever it says instead is where they are empty.
        self._consumed = self._words[_OUT_CONS]
        self._produced = self._words[_IN_PROD]

    def take(self) -> bytes | None:
        """A copy of the frontend's next event, whose place is given back; None when there is none."""
        waiting = (self._words[_OUT_PROD] - self._consumed) & _MASK
        if waiting > self._rings.out_length:
            raise RingFault(f"{waiting} events in a ring of {self._rings.out_length}")
        if not waiting:
            return None
        at = self._rings.out_offset + self._consumed % self._rings.out_length * EVENT_SIZE
        event = bytes(self._page[at : at + EVENT_SIZE])
        self._consumed = (self._consumed + 1) & _MASK
        self._words[_OUT_CONS] = self._consumed
        return event

    def put(self, event: bytes) -> bool:
        """An event for the frontend, shorter ones with zeros after them. False when its ring is full."""
        waiting = (self._produced - self._words[_IN_CONS]) & _MASK
        if waiting > self._rings.in_length:
            raise RingFault(f"{waiting} events not taken yet in a ring of {self._rings.in_length}")
        if waiting == self._rings.in_length:
            return False
        at = self._rings.in_offset + self._produced % self._rings.in_length * EVENT_SIZE
        self._page[at : at + EVENT_SIZE] = event.ljust(EVENT_SIZE, b"\0")
        self._produced = (self._produced + 1) & _MASK
        # The index last: who sees it sees the event.
        self._words[_IN_PROD] = self._produced
        return True

    def release(self) -> None:
        """Let go of the page. Nothing else may be called after."""
        self._words.release()
