"""A frontend that is ready, as its device meets it: what it wrote, and what it lends."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Final

from paravane.devices.shared_ring import MOST_PAGES, BackRing
from paravane.devices.xenbus.fault import DeviceFault
from paravane.devices.xenbus.foreign import ForeignMapping
from paravane.grants import GrantRefusal
from paravane.refusal import Refusal
from paravane.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.devices.bus import Port
    from paravane.devices.xenbus.host import DeviceHost
    from paravane.grants import GrantMapping, GrantTable

_FRAME_UNITS: Final = 3
_LONGEST: Final = 64
"""Bytes of a frontend's node that are looked at: nothing that a device asks for is longer."""


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
        value = self._host.store.find(f"{self.path}/{name}")
        if value is None:
            if default is None:
                raise DeviceFault(f"the frontend has written no {name}")
            return default
        return printable(value, _LONGEST)

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
        return self._host.store.find(f"{self.path}/{name}") is not None

    def port(self, name: str) -> int:
        """The event channel that a node names. Raises DeviceFault."""
        return self.number(name)

    def map(self, ref: int, *, writable: bool = True) -> GrantMapping:
        """A granted frame, until the frontend disconnects. Raises DeviceFault."""
        try:
            mapping = self.grants.map_for_backend(ref, writable=writable, domid=self._host.domid)
        except GrantRefusal as refusal:
            raise DeviceFault(f"grant {ref} cannot be mapped: {refusal.sentence}") from None
        self._held.callback(mapping.close)
        return mapping

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
        try:
            self._port = self._host.events.bind(self.domid, port, self.call)
        except Refusal as refusal:
            raise DeviceFault(f"event channel {port} cannot be bound: {refusal.sentence}") from None
        self._held.callback(self._port.close)
        return self._port

    def watch(self, name: str, changed: Callable[[str], None]) -> None:
        """Call `changed` after each write of one of its nodes, until the frontend disconnects. The store is
        in the middle of a guest's request then: what the node says is for `on_event` to look at."""
        self._held.callback(self._host.store.watch(f"{self.path}/{name}", changed).close)

    def notify(self) -> None:
        """Fire the guest's end of the channel."""
        if self._port is not None:
            self._port.notify()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self._port = None
        self._held.close()
