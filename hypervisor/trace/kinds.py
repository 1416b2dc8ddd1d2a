"""What records are about: apart from them, as these are asked for by who traces only."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Kind(Enum):
    """What a record is about; the values are the names `--trace-events` takes."""

    HYPERCALL = "hypercall"
    REFUSAL = "refusal"
    TRAP = "trap"
    EVENT = "event"
    TIMER = "timer"
    SCHEDULE = "schedule"
    PAGE = "page"
    GRANT = "grant"
    RING = "ring"
    STORE = "store"
    CONSOLE = "console"
    DOMAIN = "domain"
    INSTRUCTION = "instruction"
    BREAKPOINT = "breakpoint"

    # Every record is looked up by its kind, and Enum's own hash is computed in Python.
    __hash__ = object.__hash__


class DomainEvent(Enum):
    """What happened to a domain."""

    BUILT = "built"
    ENDED = "shut down"
    CRASHED = "crashed"
    RESUMED = "resumed"
    DESTROYED = "destroyed"


DEFAULT: Final = "hypercall,refusal,trap,event,domain"
"""The kinds that read well as they come: what guests ask and get."""
