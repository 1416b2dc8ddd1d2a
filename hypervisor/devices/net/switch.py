"""A learning switch: frames from one port go to the port where their destination was last heard.

A station that is told of a frame may be a guest's interface, a program of the host, a tap device. None of
them can keep the others from theirs: what one has no room for is dropped, and counted at its port.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol

from paravane.classes import dataclass
from paravane.devices.net.addresses import MAC_SIZE, is_group, is_link_local
from paravane.devices.net.errors import OffloadError
from paravane.devices.net.firewall import Direction
from paravane.devices.net.headers import ETH_HEADER
from paravane.devices.net.offloads import check as check_offloads
from paravane.devices.net.offloads import fit
from paravane.devices.net.state import LATEST, CountsState, PortState, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.net.firewall import Firewall
    from paravane.devices.net.frame import Frame
    from paravane.devices.net.offloads import Offloads
    from paravane.devices.net.pcap import Capture

AGEING: Final = 300 * 10**9
"""Nanoseconds after which a station that was not heard any more is forgotten (IEEE 802.1D's default)."""

MOST_STATIONS: Final = 256
"""Addresses remembered of one port: a guest that makes up others forgets its own old ones only."""


class Station(Protocol):
    """Who is connected to a port."""

    @property
    def offloads(self) -> Offloads:
        """What may be left undone on frames for it."""
        ...

    def deliver(self, frame: Frame) -> bool:
        """Take a frame that the switch has for it. False: there is no room, and it is lost. Must not raise,
        nor come back to the switch."""
        ...


@dataclass(slots=True)
class Counts:
    """What passed a port in one direction: whole frames and their bytes; those that were lost for want of
    room or because they made no sense, and those that the firewall kept back."""

    frames: int = 0
    bytes: int = 0
    dropped: int = 0
    refused: int = 0

    def save(self) -> CountsState:
        """What `restore` goes on from."""
        return CountsState(self.frames, self.bytes, self.dropped, self.refused)

    def restore(self, state: CountsState) -> None:
        """Go on counting from there."""
        self.frames, self.bytes, self.dropped, self.refused = state

    def passed(self, frame: Frame) -> None:
        self.frames += 1
        self.bytes += len(frame.data)


@dataclass(slots=True, eq=False)
class Port:
    """One port of a switch. `sent` is what its station sent, `received` what it got. `capture` records both,
    as they would be seen on a wire; what the firewall keeps from a station does not reach its wire."""

    switch: Switch
    name: str
    station: Station
    firewall: Firewall | None = None
    capture: Capture | None = None
    sent: Counts = field(default_factory=Counts)
    received: Counts = field(default_factory=Counts)
    heard: dict[bytes, int] = field(default_factory=dict)

    def send(self, frame: Frame) -> int:
        """A frame of the station's. Returns to how many others it was offered, each of which cost a copy, and
        how many frames had to be made of it."""
        if len(frame.data) < ETH_HEADER:
            self.sent.dropped += 1
            return 0
        if self.capture is not None:
            self.capture.record(frame)
        if self.firewall is not None and not self.firewall.passes(frame, Direction.OUT):
            self.sent.refused += 1
            return 0
        self.sent.passed(frame)
        return self.switch.forward(self, frame)

    def unplug(self) -> None:
        """Give the port up. Idempotent."""
        self.switch.unplug(self)

    def receive(self, frame: Frame, parts: list[Frame]) -> None:
        """A frame for the station, in the parts that it can take."""
        if self.firewall is not None and not self.firewall.passes(frame, Direction.IN):
            self.received.refused += 1
            return
        for part in parts:
            if self.station.deliver(part):
                self.received.passed(part)
                if self.capture is not None:
                    self.capture.record(part)
            else:
                self.received.dropped += 1


class Switch:
    """Ports, and where each station was last heard. `now` gives system time in nanoseconds."""

    def __init__(self, name: str, now: Callable[[], int]) -> None:
        self.name = name
        self.ports: list[Port] = []
        self._now = now
        self._where: dict[bytes, Port] = {}

    def plug(
        self, name: str, station: Station, *, firewall: Firewall | None = None, capture: Capture | None = None
    ) -> Port:
        """A new port for a station."""
        port = Port(self, name, station, firewall, capture)
        self.ports.append(port)
        return port

    def unplug(self, port: Port) -> None:
        """Forget a port and whoever was heard there. Idempotent."""
        if port in self.ports:
            self.ports.remove(port)
        for mac in port.heard:
            if self._where.get(mac) is port:
                del self._where[mac]
        port.heard.clear()

    def save(self) -> tuple[PortState, ...]:
        """What `restore` goes on from."""
        return tuple(PortState(port.name, tuple(port.heard.items())) for port in self.ports)

    def restore(self, state: tuple[PortState, ...]) -> None:
        """Have the ports in that order, and know whom they have heard. Raises ValueError for other ports than
        there are."""
        ports = {port.name: port for port in self.ports}
        names = [kept.name for kept in state]
        check(
            len(ports) == len(self.ports) == len(names) and set(names) == set(ports),
            "a switch has other ports",
        )
        self.ports = [ports[name] for name in names]
        for port, kept in zip(self.ports, state, strict=True):
            check(len(kept.heard) <= MOST_STATIONS, "a port has heard too many")
            for mac, when in kept.heard:
                check(
                    len(mac) == MAC_SIZE and 0 <= when < LATEST and mac not in self._where,
                    "nobody was heard so",
                )
                port.heard[mac] = when
                self._where[mac] = port

    def forward(self, sender: Port, frame: Frame) -> int:
        """Pass a frame on: to the port of its destination, or to all others when that is a group or nobody
        knows where it is. Returns to how many, with the frames that had to be made of it."""
        destination, source = frame.data[:6], frame.data[6:12]
        if is_group(source) or is_link_local(destination):
            sender.sent.dropped += 1
            return 0
        if frame.blank:
            try:
                check_offloads(frame)
            except OffloadError:
                sender.sent.dropped += 1
                return 0
        self._learn(source, sender)
        known = None if is_group(destination) else self._find(destination)
        if known is sender:
            return 0  # its neighbour on the same wire has heard it already
        receivers = [known] if known is not None else [port for port in self.ports if port is not sender]
        if not frame.blank:  # everybody can take it as it is
            for port in receivers:
                port.receive(frame, [frame])
            return len(receivers)
        made: dict[Offloads, list[Frame]] = {}
        for port in receivers:
            offloads = port.station.offloads
            if offloads not in made:  # once for all that are alike
                made[offloads] = fit(frame, offloads)
            port.receive(frame, made[offloads])
        return sum(len(parts) for parts in made.values()) + len(receivers)

    def _learn(self, mac: bytes, port: Port) -> None:
        before = self._where.get(mac)
        if before is not None and before is not port:
            before.heard.pop(mac, None)
        heard = port.heard
        if len(heard) > 1:
            # Taken out first, so that they stay in the order in which they were last heard.
            heard.pop(mac, None)
        heard[mac] = self._now()
        self._where[mac] = port
        if len(heard) > MOST_STATIONS:
            oldest = next(iter(heard))
            del heard[oldest], self._where[oldest]

    def _find(self, mac: bytes) -> Port | None:
        port = self._where.get(mac)
        if port is not None and self._now() - port.heard[mac] > AGEING:
            del self._where[mac], port.heard[mac]
            return None
        return port
