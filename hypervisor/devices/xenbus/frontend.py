"""A frontend that is ready, as its device meets it: what it wrote, and what it lends."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.devices.shared_ring import MOST_PAGES, BackRing
from paravane.devices.xenbus.fault import DeviceFault
from paravane.devices.xenbus.foreign import ForeignMapping
from paravane.grants import GrantRefusal
from paravane.refusal import Refusal
from paravane.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paravane.devices.bus import Port
    from paravane.devices.xenbus.host import BoundPort, DeviceHost
    from paravane.devices.xenstore.host_watches import HostWatch
    from paravane.grants import GrantMapping, GrantTable

_FRAME_UNITS: Final = 3
_LONGEST: Final = 64
"""Bytes of a frontend's node that are looked at: nothing that a device asks for is longer."""


class FrontendState(NamedTuple):
    """A connection: what its nodes said when it was made, which grants are mapped for it (and whether
    writable), the host's ends of its ports, and the places of its watches; each in order."""

    nodes: Mapping[str, str | None]
    maps: tuple[tuple[int, bool], ...]
    ports: tuple[int, ...]
    watches: tuple[int, ...]


class Frontend:
    """One connection of a frontend. Whatever is mapped and bound by it is given back when it is closed.

    Its nodes are the guest's to change at any time; each is read when it is asked for, and checked then.
    """

    def __init__(
        self,
        host: DeviceHost,
        domid: int,
        path: str,
        call: Callable[[], None],
        complain: Callable[[str], None],
    ) -> None:
        """`path` is its folder in xenstore, `call` puts its device on the bus, `complain` takes a sentence
        for the log."""
        self.domid = domid
        self.path = path
        self.call = call
        """Have `on_event` called soon."""
        self.complain = complain
        """Say in the log what the guest does wrong; of very many sentences only the first."""
        self.units = 0
        """Units of work (`Budget`) that it took to map what the guest lends, charged to the guest even when
        that came to nothing."""
        self._host = host
        self._port: Port | None = None
        self._held = ExitStack()
        self._nodes: dict[str, str | None] = {}
        self._maps: list[tuple[int, bool]] = []
        self._ports: list[BoundPort] = []
        self._watches: list[HostWatch] = []
        self._connecting = True

    @cached_property
    def grants(self) -> GrantTable:
        """What the guest grants, for mappings and copies as long as one request. Raises DeviceFault when the
        guest has no grant table any more."""
        return self._host.grants(self.domid)

    @property
    def backend_domid(self) -> int:
        """Whom the guest has to grant its frames to."""
        return self._host.domid

    def read(self, name: str, default: str | None = None) -> str:
        """What the guest wrote in a node. Raises DeviceFault when that is missing and there is no default."""
        value = self._find(name)
        if value is None:
            if default is None:
                raise DeviceFault(f"the frontend has written no {name}")
            return default
        return value

    def _find(self, name: str) -> str | None:
        value = self._host.store.find(f"{self.path}/{name}")
        found = None if value is None else printable(value, _LONGEST)
        if self._connecting:
            self._nodes[name] = found
        return found

    def number(self, name: str, default: int | None = None, *, most: int = 0xFFFF_FFFF) -> int:
        """A node that is a number from 0 to `most`. Raises DeviceFault for anything else."""
        text = self.read(name, None if default is None else str(default))
        if not (text.isascii() and text.isdecimal()) or int(text) > most:
            raise DeviceFault(f"the frontend's {name} is no number from 0 to {most}")
        return int(text)

    def references(self, name: str, *, most_order: int) -> list[int]:
        """The grant references of a ring of 2**`ring-page-order` pages, or of `num-ring-pages` as older
        frontends have it: `name`0, `name`1, ...; that of a single page is `name` alone, unless the frontend
        calls it `name`0. Raises DeviceFault."""
        if self._has("ring-page-order"):
            nr_pages = 1 << self.number("ring-page-order", most=most_order)
        else:
            nr_pages = self.number("num-ring-pages", 1, most=1 << most_order)
        if nr_pages.bit_count() != 1:
            raise DeviceFault(f"a ring of {nr_pages} pages: they are a power of two")
        if nr_pages == 1 and not self._has(f"{name}0"):
            return [self.number(name)]
        return [self.number(f"{name}{page}") for page in range(nr_pages)]

    def _has(self, name: str) -> bool:
        return self._find(name) is not None

    def port(self, name: str) -> int:
        """The event channel that a node names. Raises DeviceFault."""
        return self.number(name)

    def map(self, ref: int, *, writable: bool = True) -> GrantMapping:
        """A granted frame, until the frontend disconnects. Raises DeviceFault."""
        mapping = self._map(ref, writable=writable)
        self._maps.append((ref, writable))
        self._held.callback(mapping.close)
        return mapping

    def _map(self, ref: int, *, writable: bool) -> GrantMapping:
        try:
            return self.grants.map_for_backend(ref, writable=writable, domid=self._host.domid)
        except GrantRefusal as refusal:
            raise DeviceFault(f"grant {ref} cannot be mapped: {refusal.sentence}") from None

    def map_frames(self, mfns: Sequence[int], *, writable: bool = False) -> ForeignMapping:
        """Frames of the guest's by their machine frame numbers, for protocols that are older than grants:
        until the mapping is closed or the frontend disconnects. Raises DeviceFault, mapping none."""
        self.units += _FRAME_UNITS * len(mfns)
        try:
            mapping = ForeignMapping(self.grants.memory, mfns, writable=writable)
        except Refusal as refusal:
            raise DeviceFault(f"a frame cannot be mapped: {refusal.sentence}") from None
        self._held.callback(mapping.close)
        return mapping

    def ring(self, refs: Sequence[int], entry_size: int) -> BackRing:
        """The ring in these granted frames. Raises DeviceFault."""
        if not 0 < len(refs) <= MOST_PAGES:
            raise DeviceFault(f"a ring has 1 to {MOST_PAGES} pages, not {len(refs)}")
        ring = BackRing([self.map(ref).page for ref in refs], entry_size)
        self._held.callback(ring.release)
        return ring

    def listen(self, port: int) -> Port:
        """Have `on_event` called after each event from this port of the guest's, and once soon. Gives the
        backend's end, for devices with several. Raises DeviceFault when the guest does not offer it to the
        backend's domain."""
        self._port = self._bind(port)
        self._ports.append(self._port)
        self._held.callback(self._port.close)
        return self._port

    def _bind(self, port: int) -> BoundPort:
        try:
            return self._host.events.bind(self.domid, port, self.call)
        except Refusal as refusal:
            raise DeviceFault(f"event channel {port} cannot be bound: {refusal.sentence}") from None

    def watch(self, name: str, changed: Callable[[str], None]) -> None:
        """Call `changed` after each write of one of its nodes, until the frontend disconnects. The store is
        in the middle of a guest's request then: what the node says is for `on_event` to look at."""
        self.follow(f"{self.path}/{name}", changed)

    def follow(self, path: str, changed: Callable[[str], None]) -> None:
        """As `watch`, of any node."""
        watch = self._watch(path, changed)
        self._watches.append(watch)
        self._held.callback(watch.close)

    def _watch(self, path: str, changed: Callable[[str], None]) -> HostWatch:
        return self._host.store.watch(path, changed)

    def connected(self) -> None:
        """Its device has read all that it goes by."""
        self._connecting = False

    def save(self) -> FrontendState:
        """What a `ResumedFrontend` goes on from. Raises ValueError, a sentence, for what cannot be kept."""
        if not all(port.connected for port in self._ports):
            raise ValueError("its frontend has closed an event channel")
        return FrontendState(
            dict(self._nodes),
            tuple(self._maps),
            tuple(port.port for port in self._ports),
            tuple(watch.place for watch in self._watches),
        )

    def notify(self) -> None:
        """Fire the guest's end of the channel."""
        if self._port is not None:
            self._port.notify()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self._port = None
        self._held.close()


class ResumedFrontend(Frontend):
    """A connection that was there before all was kept. While its device connects, its nodes say what they
    said then, and each grant, port and watch is the one that there is, in the same order. Raises ValueError
    for what cannot have been."""

    def __init__(
        self,
        host: DeviceHost,
        domid: int,
        path: str,
        call: Callable[[], None],
        complain: Callable[[str], None],
        state: FrontendState,
    ) -> None:
        super().__init__(host, domid, path, call, complain)
        self._left = tuple(map(iter, (state.maps, state.ports, state.watches)))
        self._said = state.nodes

    def connected(self) -> None:
        super().connected()
        if any(next(left, None) is not None for left in self._left):
            raise ValueError(f"more was lent to {self.path} than its device has taken")

    def _find(self, name: str) -> str | None:
        if not self._connecting:
            return super()._find(name)
        if name not in self._said:
            raise ValueError(f"nobody has looked at {name} of {self.path}")
        found = self._nodes[name] = self._said[name]
        return found

    def _map(self, ref: int, *, writable: bool) -> GrantMapping:
        if next(self._left[0], None) != (ref, writable):
            raise ValueError(f"grant {ref} was not mapped for {self.path}")
        return self._host.resume_grant(self.domid, ref, writable=writable)

    def _bind(self, port: int) -> BoundPort:
        number = next(self._left[1], None)
        if type(number) is not int:
            raise ValueError(f"port {port} was not bound for {self.path}")
        return self._host.events.resume(number, self.call)

    def _watch(self, path: str, changed: Callable[[str], None]) -> HostWatch:
        place = next(self._left[2], None)
        if type(place) is not int:
            raise ValueError(f"{path} was not watched")
        return self._host.store.resume_watch(path, changed, place)
