"""Where records come from that their subsystems do not write themselves.

Memory, events, timers, grants and devices know nothing of records: each has an `observer`, None as long as
nobody wants to know, that is called with numbers. Here are these observers, and what puts them there. They
are loaded, and made, when the first of their records is wanted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from paravane.trace.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.platform import Platform
    from paravane.trace.sources.observers import Observers

__all__ = ["observe"]

_OBSERVED: Final = (
    Kind.PAGE,
    Kind.GRANT,
    Kind.EVENT,
    Kind.TIMER,
    Kind.RING,
    Kind.STORE,
    Kind.CONSOLE,
)
"""The kinds of their records."""


def observe(platform: Platform) -> Callable[[], None]:
    """Have the parts of a machine observed for as long as somebody wants the records. Calling the result ends
    that."""
    wants = platform.trace.wants
    observers: Observers | None = None

    def changed() -> None:
        nonlocal observers
        if observers is None:
            if not any(wants(kind) for kind in _OBSERVED):
                return
            observers = import_module("paravane.trace.sources.observers").Observers(platform)
        observers.settle()

    return platform.trace.watch(changed)
