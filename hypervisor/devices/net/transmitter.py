"""The transmit ring of a queue: packets out of the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.netif import NetifExtraType, NetifRsp, NetTxFlag
from paravane.devices.net.frame import Frame
from paravane.devices.net.packet import Packet, resumed_packet, save_packet, take_packet
from paravane.devices.net.state import TransmitterState
from paravane.devices.net.wire import TX_RESPONSE
from paravane.grants import GrantRefusal, read_grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.bus import Budget, Port
    from paravane.devices.net.switch import Counts
    from paravane.devices.observers import DeviceObservers
    from paravane.devices.shared_ring import BackRing
    from paravane.devices.xenbus import Frontend

PACKET_UNITS: Final = 16
"""Units of work of a packet, besides its slots and copies."""

SLOT_UNITS: Final = 8
COPY_UNITS: Final = 16
"""Of each station that a frame is offered to."""

_BLANK: Final = int(NetTxFlag.csum_blank)
_OKAY, _ERROR = int(NetifRsp.OKAY), int(NetifRsp.ERROR)
_NULL_RESPONSE: Final = TX_RESPONSE.pack(0, NetifRsp.NULL)


class Join(Protocol):
    def __call__(self, address: bytes, *, wanted: bool) -> bool:
        """A frontend wants to hear a multicast group, or not any more; whether that is done."""
        ...


class Transmitter:
    """Takes packets from a ring. `send` puts a frame on its way and says to how many it was offered; `allow`
    says whether there is credit for so many bytes, and has the queue called again when there is; `join`
    follows what a frontend wants of multicast groups."""

    def __init__(
        self,
        frontend: Frontend,
        ring: BackRing,
        port: Port,
        *,
        send: Callable[[Frame], int],
        allow: Callable[[int], bool],
        join: Join,
        counts: Counts,
        observers: DeviceObservers,
    ) -> None:
        self._frontend = frontend
        self._ring = ring
        self._port = port
        self._send = send
        self._allow = allow
        self._join = join
        self._counts = counts
        self._observers = observers
        self._waiting: Packet | None = None  # for credit

    def save(self) -> TransmitterState:
        """What `restore` goes on from."""
        waiting = None if self._waiting is None else save_packet(self._waiting)
        return TransmitterState(self._ring.save(), waiting)

    def restore(self, state: TransmitterState) -> None:
        """Go on from there. Raises ValueError for what cannot have been kept."""
        self._ring.restore(state.ring)
        if state.waiting is not None:
            self._waiting = resumed_packet(state.waiting)
            if len(self._waiting.slots) + self._waiting.nr_extras > self._ring.unanswered:
                raise ValueError("a packet waits that was answered")

    def serve(self, budget: Budget) -> bool:
        """Send packets until there is none, the credit is used up or the budget exhausted. Whether there is
        more to do now. Raises RingFault and DeviceFault."""
        try:
            return self._serve(budget)
        finally:
            if self._ring.push():
                self._port.notify()

    def _serve(self, budget: Budget) -> bool:
        while not budget.exhausted:
            packet, self._waiting = self._waiting, None
            if packet is None:
                packet = take_packet(self._ring)
                if packet is None:
                    if not self._ring.more():
                        return False
                    continue
                if self._observers.ring is not None:
                    self._tell(packet, "request", "")
            budget.spend(PACKET_UNITS + SLOT_UNITS * (len(packet.slots) + packet.nr_extras))
            if packet.extras and packet.multicast:
                self._answer(packet, _OKAY if self._change_groups(packet) else _ERROR)
                continue
            if packet.sound and not self._allow(packet.size):
                self._waiting = packet
                return False
            budget.spend(COPY_UNITS * self._transmit(packet))
        return True

    def _transmit(self, packet: Packet) -> int:
        """Copy a packet out of the guest and put it on its way. Returns to how many it was offered."""
        data = self._copy(packet) if packet.sound else None
        if data is None:
            self._counts.dropped += 1
            self._answer(packet, _ERROR)
            return 0
        segment_size = packet.segment_size if packet.extras else 0
        frame = Frame(data, blank=packet.slots[0].flags & _BLANK != 0, segment_size=segment_size)
        # Answered first: who gets it may hold others up, but the guest has its pages back.
        self._answer(packet, _OKAY)
        return self._send(frame)

    def _copy(self, packet: Packet) -> bytes | None:
        """The bytes of a packet; None when the guest does not grant them all."""
        grants, domid = self._frontend.grants, self._frontend.backend_domid
        try:
            parts = [
                read_grant(grants, ref, offset, size, domid=domid) for ref, offset, size in packet.pieces()
            ]
        except GrantRefusal as refusal:
            self._frontend.complain(f"a packet cannot be sent: {refusal.sentence}")
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _change_groups(self, packet: Packet) -> bool:
        done = True
        for kind, wanted in ((NetifExtraType.MCAST_ADD, True), (NetifExtraType.MCAST_DEL, False)):
            extra = packet.extras.get(kind)
            if extra is not None:
                done &= self._join(extra.body, wanted=wanted)
        return done

    def _answer(self, packet: Packet, status: int) -> None:
        """One response for each slot, in the order of the slots."""
        if self._observers.ring is not None:
            self._tell(packet, "response", NetifRsp(status).name)
        respond = self._ring.respond
        first, *rest = packet.slots
        respond(TX_RESPONSE.pack(first.id, status))
        for _ in range(packet.nr_extras):
            respond(_NULL_RESPONSE)
        for slot in rest:
            respond(TX_RESPONSE.pack(slot.id, status))

    def _tell(self, packet: Packet, what: str, status: str) -> None:
        if self._observers.ring is not None:
            first = packet.slots[0]
            self._observers.ring(self._frontend.domid, what, "vif", "tx", first.size, first.id, status)
