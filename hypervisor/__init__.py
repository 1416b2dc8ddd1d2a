"""Paravane: Xen's paravirtual machine in a process. `Machine` is the way in.

The names below are loaded when they are first used: the assembler and the tools that only look at images read
`paravane.abi` without starting an engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paravane.abi.sched import ShutdownReason
    from paravane.domain import Domain
    from paravane.ending import Ending, StopReason
    from paravane.image import Image, ImageError, load_image
    from paravane.machine import Machine, MachineBusyError
    from paravane.time.clock import HostClock, VirtualClock
    from paravane.toolstack import DomainConfig

__all__ = [
    "Domain",
    "DomainConfig",
    "Ending",
    "HostClock",
    "Image",
    "ImageError",
    "Machine",
    "MachineBusyError",
    "ShutdownReason",
    "StopReason",
    "VirtualClock",
    "load_image",
]

_HOMES = {
    "Domain": "paravane.domain",
    "DomainConfig": "paravane.toolstack",
    "Ending": "paravane.ending",
    "HostClock": "paravane.time.clock",
    "Image": "paravane.image",
    "ImageError": "paravane.image",
    "Machine": "paravane.machine",
    "MachineBusyError": "paravane.machine",
    "ShutdownReason": "paravane.abi.sched",
    "StopReason": "paravane.ending",
    "VirtualClock": "paravane.time.clock",
    "load_image": "paravane.image",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
