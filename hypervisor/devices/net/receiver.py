"""The receive ring of a queue: frames into the guest."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from paravane.abi.netif import NetifGsoType, NetifRsp, NetRxFlag
from paravane.devices.net.frame import Frame
from paravane.devices.net.headers import ETH_HEADER, EtherType
from paravane.devices.net.packet import MOST_SLOTS
from paravane.devices.net.state import LATEST, FrameState, ReceiverState, check
from paravane.devices.net.wire import RX_REQUEST, RX_RESPONSE, gso_extra
from paravane.devices.ring import RingFault
from paravane.devices.xenbus import DeviceFault
from paravane.grants import GrantRefusal, give_frame, write_grant
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.bus import Budget, Port
    from paravane.devices.net.choices import Choices
    from paravane.devices.net.switch import Counts
    from paravane.devices.observers import DeviceObservers
    from paravane.devices.shared_ring import BackRing
    from paravane.devices.xenbus import Frontend
    from paravane.grants import GrantTable

MOST_QUEUED: Final = 1 << 18
"""Bytes of frames that wait for a guest to post pages; what is more is lost."""

PATIENCE: Final = 10 * 10**9
"""Nanoseconds that a frame waits for pages (netback's rx_drain_timeout_msecs)."""

POLL: Final = 30 * 10**6
"""Nanoseconds that it waits where no event will tell of pages, after which they are looked for once more."""

FRAME_UNITS: Final = 24
LOSS_UNITS: Final = 1

_LONGEST: Final = 1 << 17
"""Bytes: more than any frame has."""

_BLANK: Final = NetRxFlag.csum_blank | NetRxFlag.data_validated
_MORE_DATA: Final = int(NetRxFlag.more_data)
_EXTRA_INFO: Final = int(NetRxFlag.extra_info)
_ERROR: Final = int(NetifRsp.ERROR)


class Receiver:
    """Puts frames into the pages that a guest has posted, or, where the frontend has chosen that, gives it
    others with the frames in them, of those that the machine has free.

    `now` gives system time in nanoseconds; `wake` has `serve` called at a time. Frames for which there are no
    pages wait; one that has waited too long is lost.
    """

    def __init__(
        self,
        frontend: Frontend,
        ring: BackRing,
        port: Port,
        *,
        choices: Choices,
        now: Callable[[], int],
        wake: Callable[[int], None],
        counts: Counts,
        observers: DeviceObservers,
    ) -> None:
        self._frontend = frontend
        self._ring = ring
        self._port = port
        self._now = now
        self._wake = wake
        self._counts = counts
        self._observers = observers
        self._most = MOST_SLOTS if choices.scattered else 1
        self._fill = give_frame if choices.flipped else _copy
        self._notifies = choices.notifies
        self._patience = PATIENCE if choices.notifies else POLL
        self._waiting: deque[tuple[int, Frame]] = deque()
        """Each with the time at which it is lost."""
        self._waiting_bytes = 0
        self._fault: Exception | None = None

    def save(self) -> ReceiverState:
        """What `restore` goes on from."""
        waiting = tuple(
            FrameState(lost_at, frame.data, frame.blank, frame.segment_size)
            for lost_at, frame in self._waiting
        )
        fault = None if self._fault is None else (isinstance(self._fault, RingFault), str(self._fault))
        return ReceiverState(self._ring.save(), waiting, fault)

    def restore(self, state: ReceiverState) -> None:
        """Go on from there. Raises ValueError for what cannot have been kept."""
        self._ring.restore(state.ring)
        for lost_at, data, blank, segment_size in state.waiting:
            check(0 <= lost_at < LATEST and 0 <= segment_size < 1 << 16, "no frame waits so long")
            check(ETH_HEADER <= len(data) <= _LONGEST, "no frame is so long")
            self._waiting.append((lost_at, Frame(data, blank=blank, segment_size=segment_size)))
            self._waiting_bytes += len(data)
        check(self._waiting_bytes <= MOST_QUEUED, "more waits than may")
        if state.fault is not None:
            is_ring, sentence = state.fault
            self._fault = RingFault(sentence) if is_ring else DeviceFault(sentence)

    def deliver(self, frame: Frame) -> bool:
        """Take a frame, into the ring if the guest has posted pages for it. False: it is lost. Called in the
        middle of others' work, so that what is wrong with this ring is told by the next `serve`."""
        slots = _slots(frame)
        if self._fault is not None or slots > self._most:
            return False
        try:
            if not self._waiting and self._ring.more(slots):
                self._put(frame)
                self._push()
                return True
        except (RingFault, DeviceFault) as fault:
            self._fault = fault
            self._frontend.call()
            return False
        if self._waiting_bytes + len(frame.data) > MOST_QUEUED:
            return False
        lost_at = self._now() + self._patience
        if not self._waiting:
            self._wake(lost_at)
        self._waiting.append((lost_at, frame))
        self._waiting_bytes += len(frame.data)
        if not self._notifies:
            self._frontend.call()
        return True

    def serve(self, budget: Budget) -> bool:
        """The guest may have posted pages: put what waits into them. Whether there is more to do now. Raises
        RingFault and DeviceFault."""
        if self._fault is not None:
            raise self._fault
        try:
            while self._waiting and self._ring.more(_slots(self._waiting[0][1])):
                if budget.exhausted:
                    return True
                frame = self._next_waiting()
                budget.spend(FRAME_UNITS * _slots(frame))
                self._put(frame)
        finally:
            self._push()
        return bool(self._waiting) and self._lose_old(budget)

    def _next_waiting(self) -> Frame:
        _, frame = self._waiting.popleft()
        self._waiting_bytes -= len(frame.data)
        return frame

    def _lose_old(self, budget: Budget) -> bool:
        """Drop the frames that have waited too long: who they are for does not look. Whether there are more
        of them."""
        now = self._now()
        while self._waiting and self._waiting[0][0] <= now:
            if budget.exhausted:
                return True
            budget.spend(LOSS_UNITS)
            self._next_waiting()
            self._counts.dropped += 1
        if self._waiting:
            self._wake(self._waiting[0][0])
        return False

    def _push(self) -> None:
        if self._ring.push():
            self._port.notify()

    def _put(self, frame: Frame) -> None:
        """Write a frame into as many of the posted pages as it takes, which are there."""
        size = len(frame.data)
        flags = _BLANK if frame.blank else 0
        if size <= PAGE_SIZE and not frame.segment_size:  # nearly all are like this
            self._write(frame.data, flags)
            return
        for offset in range(0, size, PAGE_SIZE):
            part = frame.data[offset : offset + PAGE_SIZE]
            more = _MORE_DATA if offset + PAGE_SIZE < size else 0
            if offset == 0 and frame.segment_size:
                self._write(part, flags | more | _EXTRA_INFO)
                self._say_segments(frame)
            else:
                self._write(part, (flags if offset == 0 else 0) | more)

    def _write(self, data: bytes, flags: int) -> None:
        number, _, ref = RX_REQUEST.unpack(self._request())
        status = len(data)
        try:
            self._fill(self._frontend.grants, ref, data, domid=self._frontend.backend_domid)
        except GrantRefusal as refusal:
            self._frontend.complain(f"a frame cannot be received: {refusal.sentence}")
            self._counts.dropped += 1
            status = _ERROR
        if self._observers.ring is not None:
            told = NetifRsp.ERROR if status < 0 else NetifRsp.OKAY
            domid = self._frontend.domid
            self._observers.ring(domid, "response", "vif", "rx", len(data), number, told.name)
        self._ring.respond(RX_RESPONSE.pack(number, 0, flags, status))

    def _say_segments(self, frame: Frame) -> None:
        """The slot after the first one: how the packet is to be cut. Its page is not used."""
        self._request()
        over_ipv6 = frame.headers.ethertype == EtherType.IPV6
        kind = NetifGsoType.TCPV6 if over_ipv6 else NetifGsoType.TCPV4
        self._ring.respond(gso_extra(frame.segment_size, kind))

    def _request(self) -> bytes:
        entry = self._ring.next()
        if entry is None:
            # They were there a moment ago.
            raise DeviceFault("pages for a frame were taken back")
        return entry


def _copy(table: GrantTable, ref: int, data: bytes, *, domid: int) -> None:
    write_grant(table, ref, 0, data, domid=domid)


def _slots(frame: Frame) -> int:
    """How many slots of a receive ring a frame takes."""
    pages = -(-len(frame.data) // PAGE_SIZE)
    return pages + 1 if frame.segment_size else pages
