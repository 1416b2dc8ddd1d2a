"""The words by which filters select records: names of records, and what some of their fields can be.

A part of the hypervisor that has records with another word adds it here; the tests look at what it tells.
"""

from __future__ import annotations

from typing import Final

from paravane.abi.blkif import BlkifOp
from paravane.abi.xs_wire import XsMessage
from paravane.memory.frames import FrameType

EVENT: Final = ("send", "upcall", "virq")

TIMER: Final = ("armed", "disarmed", "expired", "single-shot", "tick", "poll", "watchdog 1", "watchdog 2")

SCHEDULE: Final = (
    *("in", "out", "woken"),
    *("slice over", "preempted", "blocked", "polling", "yielded", "down", "ended", "paused", "held"),
)

PAGE_TYPES: Final = tuple(kind.name.lower() for kind in FrameType)
PAGE: Final = ("type", "validated", "refused", "devalidated", "pinned", "unpinned", *PAGE_TYPES)

GRANT: Final = ("map", "copy", "release", "transfer")

STORE: Final = tuple(XsMessage.__members__)

RING: Final = (
    *("request", "response"),
    *("console", "store", "vbd", "vif", "vfb", "vkbd"),
    *("out", "in", "tx", "rx"),
    *STORE,
    *(name for name in BlkifOp.__members__ if name not in STORE),
    *("UPDATE", "RESIZE", "KEY", "MOTION", "POS"),
)

CONSOLE: Final = ("out", "in")

BREAKPOINT: Final = ("breakpoint", "read", "write", "access")
