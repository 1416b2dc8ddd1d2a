"""A packet as a frontend puts it into its transmit ring: a first slot, extra ones, those of the rest."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final

from paravane.abi.netif import (
    XEN_NETIF_EXTRA_FLAG_MORE,
    XEN_NETIF_NR_SLOTS_MIN,
    NetifExtraType,
    NetifGsoType,
    NetTxFlag,
)
from paravane.classes import dataclass
from paravane.devices.net.headers import ETH_HEADER
from paravane.devices.net.state import PacketState, SlotState, check
from paravane.devices.net.wire import Extra, Slot, read_extra, read_slot
from paravane.devices.xenbus import DeviceFault
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.devices.shared_ring import BackRing

MOST_SLOTS: Final = XEN_NETIF_NR_SLOTS_MIN
"""Slots of a packet that is sent; one with more is answered with an error."""

FATAL_SLOTS: Final = 20
"""Slots after which a frontend has lost its way, as netback has it."""

_EXTRA_INFO: Final = int(NetTxFlag.extra_info)
_MORE_DATA: Final = int(NetTxFlag.more_data)
_GSO_TYPES: Final = (NetifGsoType.TCPV4, NetifGsoType.TCPV6)


@dataclass(slots=True)
class Packet:
    """The slots of a packet, each as it was when it was taken from the ring. `extras` has one of each type,
    the last one, of `nr_extras` in all. `sound`: it can be sent; else all its slots are answered with an
    error."""

    slots: list[Slot]
    extras: dict[int, Extra] = field(default_factory=dict)
    nr_extras: int = 0
    sound: bool = True

    @property
    def size(self) -> int:
        """Bytes of the whole packet, as its first slot says."""
        return self.slots[0].size

    @property
    def multicast(self) -> bool:
        """Whether it is no packet, but asks for a multicast group, or to be rid of one."""
        return NetifExtraType.MCAST_ADD in self.extras or NetifExtraType.MCAST_DEL in self.extras

    @property
    def segment_size(self) -> int:
        """Bytes of each segment that it is to be cut into; 0: none. Raises DeviceFault."""
        extra = self.extras.get(NetifExtraType.GSO)
        if extra is None:
            return 0
        size, kind = extra.segment
        if size == 0:
            raise DeviceFault("a packet is to be cut into segments of 0 bytes")
        if kind not in _GSO_TYPES:
            raise DeviceFault(f"a packet is to be cut into segments of type {kind}, which there is not")
        return size

    def pieces(self) -> list[tuple[int, int, int]]:
        """Where its bytes are: reference, offset and size of each slot. Raises DeviceFault for one that
        reaches over the end of its page."""
        first, *rest = self.slots
        if not rest and first.offset + first.size <= PAGE_SIZE:  # nearly all are like this
            return [(first.gref, first.offset, first.size)]
        own = first.size - sum([slot.size for slot in rest])
        pieces = [(first.gref, first.offset, own), *((slot.gref, slot.offset, slot.size) for slot in rest)]
        for _, offset, size in pieces:
            if offset + size > PAGE_SIZE:
                raise DeviceFault(f"{size} bytes from {offset} on reach over the end of a page")
        return pieces


def save_packet(packet: Packet) -> PacketState:
    """What `resumed_packet` goes on from."""
    slots = tuple(SlotState(*slot) for slot in packet.slots)
    extras = tuple((extra.type, extra.flags, extra.body) for extra in packet.extras.values())
    return PacketState(slots, extras, packet.nr_extras, packet.sound)


def resumed_packet(state: PacketState) -> Packet:
    """Raises ValueError for what no ring can have had."""
    check(0 < len(state.slots) <= FATAL_SLOTS and 0 <= state.nr_extras < 1 << 16, "a packet has no slots")
    for slot in state.slots:
        sizes = (slot.offset, slot.flags, slot.id, slot.size)
        check(0 <= slot.gref < 1 << 32 and all(0 <= one < 1 << 16 for one in sizes), "a slot is none")
    for kind, flags, body in state.extras:
        check(
            0 < kind < NetifExtraType.MAX and 0 <= flags < 1 << 8 and len(body) == 6, "an extra slot is none"
        )
    extras = {kind: Extra(kind, flags, body) for kind, flags, body in state.extras}
    return Packet([Slot(*slot) for slot in state.slots], extras, state.nr_extras, state.sound)


def take_packet(ring: BackRing) -> Packet | None:
    """The next packet of a transmit ring; None when there is none. Raises RingFault, and DeviceFault for
    slots that are no packet: nobody can tell where the next one would begin."""
    entry = ring.next()
    if entry is None:
        return None
    packet = Packet([read_slot(entry)])
    if packet.slots[0].flags & _EXTRA_INFO:
        _take_extras(ring, packet)
        if packet.multicast:
            return packet
    left = packet.size
    while packet.slots[-1].flags & _MORE_DATA:
        slot = read_slot(_next(ring))
        packet.slots.append(slot)
        if len(packet.slots) > FATAL_SLOTS:
            raise DeviceFault(f"a packet has more than {FATAL_SLOTS} slots")
        left -= slot.size
        packet.sound &= left >= 0
    packet.sound &= len(packet.slots) <= MOST_SLOTS and packet.size >= ETH_HEADER
    return packet


def _take_extras(ring: BackRing, packet: Packet) -> None:
    while True:
        extra = read_extra(_next(ring))
        packet.nr_extras += 1
        if not 0 < extra.type < NetifExtraType.MAX:
            raise DeviceFault(f"there is no extra information of type {extra.type}")
        packet.extras[extra.type] = extra
        if not extra.flags & XEN_NETIF_EXTRA_FLAG_MORE:
            return


def _next(ring: BackRing) -> bytes:
    """A slot that has to be there, as the one before says so: a frontend shows a packet as a whole."""
    entry = ring.next()
    if entry is None:
        raise DeviceFault("a packet ends before its last slot")
    return entry
