"""The observers of one machine, each in its place as long as somebody wants its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.trace.kinds import Kind
from paravane.trace.sources.devices import DeviceSource
from paravane.trace.sources.events import EventSource
from paravane.trace.sources.memory import GrantSource, PageSource
from paravane.trace.sources.timers import TimerSource

if TYPE_CHECKING:
    from paravane.platform import Platform


class Observers:
    """All of them; `settle` puts them where they are wanted, and takes them from where they are not."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._pages, self._grants = PageSource(platform), GrantSource(platform)
        self._events, self._timers = EventSource(platform), TimerSource(platform)
        self._devices = DeviceSource(platform)

    def settle(self) -> None:
        """To be called whenever other kinds of records are wanted than before."""
        platform, devices = self._platform, self._devices
        wants, bus = platform.trace.wants, platform.bus
        platform.memory.types.observer = self._pages.told if wants(Kind.PAGE) else None
        platform.grants.observer = self._grants.told if wants(Kind.GRANT) else None
        platform.exchange.observer = self._events if wants(Kind.EVENT) else None
        platform.timers.observer = self._timers.told if wants(Kind.TIMER) else None
        bus.observers.ring = devices.ring if wants(Kind.RING) else None
        bus.observers.store = devices.store if wants(Kind.STORE) else None
        bus.observers.console = devices.console if wants(Kind.CONSOLE) else None
