"""Paravane: Xen's paravirtual machine in a process. `Machine` is the way in.

The names below are loaded when they are first used: the assembler and the tools that only look at images read
`hypervisor.abi` without starting an engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypervisor.abi.sched import ShutdownReason
    from hypervisor.domain import Domain
    from hypervisor.image import Image, ImageError, load_image
    from hypervisor.machine import Ending, Machine
    from hypervisor.time.clock import HostClock, VirtualClock
    from hypervisor.toolstack import DomainConfig

__all__ = [
    "Domain",
    "DomainConfig",
    "Ending",
    "HostClock",
    "Image",
    "ImageError",
    "Machine",
    "ShutdownReason",
    "VirtualClock",
    "load_image",
]

_HOMES = {
    "Domain": "hypervisor.domain",
    "DomainConfig": "hypervisor.toolstack",
    "Ending": "hypervisor.machine",
    "HostClock": "hypervisor.time.clock",
    "Image": "hypervisor.image",
    "ImageError": "hypervisor.image",
    "Machine": "hypervisor.machine",
    "ShutdownReason": "hypervisor.abi.sched",
    "VirtualClock": "hypervisor.time.clock",
    "load_image": "hypervisor.image",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
