"""A ring of requests and responses that a backend shares with a guest (public/io/ring.h), the backend's side.

One to sixteen pages hold the indices (`struct sring`, 64 bytes) and a power of two of entries, each of which
is first a request and then a response. All of it is the guest's to write at any time. So the indices that
the backend moves are kept here and only shown in the ring; the guest's are read anew, and checked, before
anything is done because of them; and a request is copied out once, as a whole, so that what was checked is
what is carried out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.ring import SRING
from paravane.classes import NamedTuple
from paravane.devices.ring import RingFault
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_PAGES: Final = 16
"""Pages of the largest ring (`max-ring-page-order` 4)."""

_MASK: Final = 0xFFFF_FFFF
_ENTRIES: Final = SRING.size
"""Where the first entry is."""
_REQ_PROD, _REQ_EVENT, _RSP_PROD, _RSP_EVENT = (
    SRING.offsets[name] >> 2 for name in ("req_prod", "req_event", "rsp_prod", "rsp_event")
)


def nr_entries(nr_pages: int, entry_size: int) -> int:
    """How many entries of so many bytes such a ring has: the largest power of two that fits (__RING_SIZE)."""
    return 1 << ((nr_pages * PAGE_SIZE - SRING.size) // entry_size).bit_length() - 1


class RingState(NamedTuple):
    """The backend's indices: what it has taken, what it has answered, and what it has shown of that."""

    consumed: int
    responded: int
    shown: int


class BackRing:
    """The backend's side of a ring in `pages` (writable memoryviews of 4096 bytes, 'B', in the guest's
    order), whose entries are of `entry_size` bytes: the larger of request and response.

    `next` and `more` raise RingFault when the guest's index is impossible: its device has to close then.
    """

    def __init__(self, pages: Sequence[memoryview], entry_size: int) -> None:
        self._pages = tuple(pages)
        self._entry_size = entry_size
        self.size = nr_entries(len(pages), entry_size)
        self._last = self.size - 1
        self._words = pages[0].cast("I")
        # A frontend that connects anew begins with an empty ring, unless it says that it goes on with an old
        # one: then what is in the ring was answered as far as the index says.
        self._consumed = self._responded = self._shown = self._words[_RSP_PROD]

    def save(self) -> RingState:
        """What `restore` goes on from."""
        return RingState(self._consumed, self._responded, self._shown)

    def restore(self, state: RingState) -> None:
        """Be where that one was. Raises ValueError for what no ring of this size can be."""
        if not all(0 <= index <= _MASK for index in state):
            raise ValueError("an index of a ring has 32 bits")
        consumed, responded, shown = state
        if (consumed - shown) & _MASK > self.size or (consumed - responded) & _MASK > self.size:
            raise ValueError(f"a ring of {self.size} has answered more than it was asked")
        self._consumed, self._responded, self._shown = state

    # Each packet and each segment of a disk goes through here: what could be said by calls of one another is
    # written out where it saves some.

    @property
    def waiting(self) -> int:
        """Requests that can be taken now. Raises RingFault."""
        waiting = (self._words[_REQ_PROD] - self._consumed) & _MASK
        unanswered = (self._consumed - self._responded) & _MASK
        if waiting + unanswered > self.size:
            raise RingFault(
                f"{waiting} new requests and {unanswered} unanswered ones in a ring of {self.size}"
            )
        return waiting

    @property
    def unanswered(self) -> int:
        """Requests that were taken, and have no response yet."""
        return (self._consumed - self._responded) & _MASK

    def next(self) -> bytes | None:
        """A copy of the next request, which is taken; None when there is none. Raises RingFault."""
        if not self.waiting:
            return None
        page, at = self._place(self._consumed)
        end = at + self._entry_size
        self._consumed = (self._consumed + 1) & _MASK
        if end <= PAGE_SIZE:
            return self._pages[page][at:end].tobytes()
        return self._pages[page][at:].tobytes() + self._pages[page + 1][: end - PAGE_SIZE].tobytes()

    def more(self, count: int = 1) -> bool:
        """To be asked when there are fewer than `count` requests left, before waiting for the guest's event:
        from now on the guest sends one when there are so many (RING_FINAL_CHECK_FOR_REQUESTS). Whether they
        came meanwhile. Raises RingFault."""
        if self.waiting >= count:
            return True
        self._words[_REQ_EVENT] = (self._consumed + count) & _MASK
        return self.waiting >= count

    def respond(self, response: bytes) -> None:
        """Answer one of the requests that were taken, in any order; `push` shows it to the guest."""
        assert self.unanswered, "there is no request to answer"
        page, at = self._place(self._responded)
        end = at + len(response)
        self._responded = (self._responded + 1) & _MASK
        if end <= PAGE_SIZE:
            self._pages[page][at:end] = response
        else:
            self._pages[page][at:] = response[: PAGE_SIZE - at]
            self._pages[page + 1][: end - PAGE_SIZE] = response[PAGE_SIZE - at :]

    def push(self) -> bool:
        """Show the guest the responses so far. Whether it wants an event for them: it has said from which one
        on (RING_PUSH_RESPONSES_AND_CHECK_NOTIFY)."""
        before, self._shown = self._shown, self._responded
        self._words[_RSP_PROD] = self._shown
        # The event index is looked at after the response is visible, as the guest sets it before it looks.
        return (self._shown - self._words[_RSP_EVENT]) & _MASK < (self._shown - before) & _MASK

    def release(self) -> None:
        """Let go of the pages. Nothing else may be called after."""
        self._words.release()

    def _place(self, index: int) -> tuple[int, int]:
        """Page and byte of an entry, which may go on in the next page."""
        return divmod(_ENTRIES + (index & self._last) * self._entry_size, PAGE_SIZE)
