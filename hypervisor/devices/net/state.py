"""What has to be kept of the networks of a machine, so that they can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from paravane.devices.shared_ring import RingState

LATEST: Final = 1 << 61
"""Nanoseconds: no machine runs so long."""


class CountsState(NamedTuple):
    """See `Counts`."""

    frames: int
    bytes: int
    dropped: int
    refused: int


class CreditState(NamedTuple):
    """See `Rate` and `Credit`."""

    size: int
    interval: int
    left: int
    began: int


class SlotState(NamedTuple):
    """See `Slot`."""

    gref: int
    offset: int
    flags: int
    id: int
    size: int


class PacketState(NamedTuple):
    """A packet that waits for credit: see `Packet`. Extras: type, flags and body of each."""

    slots: tuple[SlotState, ...]
    extras: tuple[tuple[int, int, bytes], ...]
    nr_extras: int
    sound: bool


class FrameState(NamedTuple):
    """A frame that waits for pages, until it is lost at a system time."""

    lost_at: int
    data: bytes
    blank: bool
    segment_size: int


class TransmitterState(NamedTuple):
    ring: RingState
    waiting: PacketState | None


class ReceiverState(NamedTuple):
    """`fault`: what is wrong with the ring and has not been told yet, and whether that is its indices."""

    ring: RingState
    waiting: tuple[FrameState, ...]
    fault: tuple[bool, str] | None


class InterfaceState(NamedTuple):
    """See `Interface`."""

    mac: bytes
    sent: CountsState
    received: CountsState
    turn: int
    asked: bool
    credit: CreditState | None
    controlled: bool
    groups: tuple[bytes, ...]
    queues: tuple[tuple[TransmitterState, ReceiverState], ...]


class PortState(NamedTuple):
    """Who was heard at a port, and when, the latest at the end."""

    name: str
    heard: tuple[tuple[bytes, int], ...]


class NetworkState(NamedTuple):
    """The switches with their ports in order, and how many addresses were given out."""

    switches: tuple[tuple[str, tuple[PortState, ...]], ...]
    addresses: int


def check(holds: bool, what: str) -> None:
    """Raises ValueError unless it holds."""
    if not holds:
        raise ValueError(what)
