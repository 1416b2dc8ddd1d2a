"""Which ports of a domain exist, which of them are free, and which the next one is."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from paravane.abi.event_channel import EVTCHN_2L_NR_CHANNELS
from paravane.events.port import Port, State, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BUCKET: Final = 64
"""Xen creates ports by this many; one that was never created is -EINVAL, a created free one is `closed`."""

NO_IPI: Final = -1


class PortList:
    """The ports of one domain by number, and how many are in use. `entries` is all there is, None for a free
    port; it stays the same object, and is changed by `open` and `release` alone. `ipis` has, for native
    code, the vcpu that each IPI of the 2-level ABI interrupts, and `NO_IPI` for other ports."""

    def __init__(self, ports: Sequence[Port | None] | None = None) -> None:
        """`ports`: go on from what `save` gave."""
        self.entries: list[Port | None] = (
            [Port(State.RESERVED)] + [None] * (BUCKET - 1) if ports is None else _copied(ports)
        )
        self.nr_in_use = sum(usable(entry) for entry in self.entries)
        self.ipis = array("h", (NO_IPI,)) * EVTCHN_2L_NR_CHANNELS
        for port, entry in enumerate(self.entries):
            if entry is not None:
                self._note_ipi(port, entry)
        # No port below it is free.
        self._lowest_free = 1

    def save(self) -> tuple[Port | None, ...]:
        """Every port there is, by number."""
        return tuple(_copied(self.entries))

    def in_use(self) -> Iterator[tuple[int, Port]]:
        """The ports that the guest has in use, by number. They are not to be changed."""
        return ((number, port) for number, port in enumerate(self.entries) if usable(port))

    def at(self, port: int) -> Port | None:
        """A port, None for one that is free or does not exist."""
        return self.entries[port] if port < len(self.entries) else None

    def find_free(self, limit: int, is_busy: Callable[[int], bool]) -> int | None:
        """The lowest free port below `limit` that is not busy, created if need be; None when there is none.
        It stays free until it is opened."""
        entries, lowest = self.entries, 0
        for port in range(self._lowest_free, min(len(entries), limit)):
            if entries[port] is None:
                lowest = lowest or port
                if not is_busy(port):
                    self._lowest_free = lowest
                    return port
        port = len(entries)
        self._lowest_free = lowest or port
        if port >= limit:
            return None
        entries.extend([None] * BUCKET)
        return port

    def open(self, port: int, entry: Port) -> None:
        """Put a free port to use."""
        self.entries[port] = entry
        self.nr_in_use += 1
        self._note_ipi(port, entry)

    def release(self, port: int) -> None:
        """A port in use becomes free."""
        self.entries[port] = None
        self.nr_in_use -= 1
        self._lowest_free = min(self._lowest_free, port)
        if port < EVTCHN_2L_NR_CHANNELS:
            self.ipis[port] = NO_IPI

    def _note_ipi(self, port: int, entry: Port) -> None:
        if entry.state is State.IPI and port < EVTCHN_2L_NR_CHANNELS:
            self.ipis[port] = entry.vcpu_id


def _copied(ports: Sequence[Port | None]) -> list[Port | None]:
    return [entry and replace(entry) for entry in ports]
