"""Where records come from that their subsystems do not write themselves.

Memory, events, timers, grants and devices know nothing of records: each has an `observer`, None as long as
nobody wants to know, that is called with numbers. Here are these observers, and what puts them there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.trace.records import Kind
from paravane.trace.sources.devices import DeviceSource
from paravane.trace.sources.events import EventSource
from paravane.trace.sources.memory import GrantSource, PageSource
from paravane.trace.sources.timers import TimerSource

if TYPE_CHECKING:
    from paravane.platform import Platform

__all__ = ["observe"]


def observe(platform: Platform) -> None:
    """Have the parts of a machine observed for as long as somebody wants the records."""
    wants, bus = platform.trace.wants, platform.bus
    pages, grants = PageSource(platform), GrantSource(platform)
    events, timers, devices = EventSource(platform), TimerSource(platform), DeviceSource(platform)

    def changed() -> None:
        platform.memory.types.observer = pages.told if wants(Kind.PAGE) else None
        platform.grants.observer = grants.told if wants(Kind.GRANT) else None
        platform.exchange.observer = events if wants(Kind.EVENT) else None
        platform.timers.observer = timers.told if wants(Kind.TIMER) else None
        bus.observers.ring = devices.ring if wants(Kind.RING) else None
        bus.observers.store = devices.store if wants(Kind.STORE) else None
        bus.observers.console = devices.console if wants(Kind.CONSOLE) else None

    platform.trace.watch(changed)
