"""Paravane: Xen's paravirtual machine in a process. `boot` runs a kernel in one call, `Machine` has the rest.
`BareMachine` runs a kernel that was written for a bare PC instead.

The names below are loaded when they are first used: the assembler and the tools that only look at images read
`paravane.abi` without starting an engine.
"""

from __future__ import annotations

from importlib import import_module

# `typing` itself takes long enough to load that a Ctrl-C in between would be shown as a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from paravane.abi.sched import ShutdownReason
    from paravane.boot_result import BootResult, Call, RecordsLost
    from paravane.devices.block import Disk
    from paravane.devices.console import ConsoleSpec, ExtraConsole, parse_console
    from paravane.devices.framebuffer import Vfb
    from paravane.devices.net.vif import Vif
    from paravane.domain import Domain
    from paravane.domain_config import DomainConfig
    from paravane.ending import Ending, StopReason
    from paravane.full.machine import BareMachine
    from paravane.full.state import Sensitive
    from paravane.image import Image, ImageError, load_image
    from paravane.machine import Machine
    from paravane.on_end import Action, OnEnd
    from paravane.outside import MachineBusyError
    from paravane.quick import boot
    from paravane.time.clock import HostClock, VirtualClock
    from paravane.together import Guest, boot_together
    from paravane.trace import (
        ConsoleRecord,
        DomainRecord,
        EventRecord,
        GrantRecord,
        HypercallRecord,
        Kind,
        PageRecord,
        Record,
        RefusalRecord,
        RingRecord,
        ScheduleRecord,
        SendRecord,
        StoreRecord,
        TimerRecord,
        Trace,
        TrapRecord,
        UpcallRecord,
        VirqRecord,
    )
    from paravane.trace.text import line as trace_line

__all__ = [
    "Action",
    "BareMachine",
    "BootResult",
    "Call",
    "ConsoleRecord",
    "ConsoleSpec",
    "Disk",
    "Domain",
    "DomainConfig",
    "DomainRecord",
    "Ending",
    "EventRecord",
    "ExtraConsole",
    "GrantRecord",
    "Guest",
    "HostClock",
    "HypercallRecord",
    "Image",
    "ImageError",
    "Kind",
    "Machine",
    "MachineBusyError",
    "OnEnd",
    "PageRecord",
    "Record",
    "RecordsLost",
    "RefusalRecord",
    "RingRecord",
    "ScheduleRecord",
    "SendRecord",
    "Sensitive",
    "ShutdownReason",
    "StopReason",
    "StoreRecord",
    "TimerRecord",
    "Trace",
    "TrapRecord",
    "UpcallRecord",
    "Vfb",
    "Vif",
    "VirqRecord",
    "VirtualClock",
    "boot",
    "boot_together",
    "load_image",
    "parse_console",
    "trace_line",
]

_HOMES = {
    "Action": "paravane.on_end",
    "BareMachine": "paravane.full.machine",
    "BootResult": "paravane.boot_result",
    "Call": "paravane.boot_result",
    "ConsoleRecord": "paravane.trace",
    "ConsoleSpec": "paravane.devices.console",
    "Disk": "paravane.devices.block",
    "Domain": "paravane.domain",
    "DomainConfig": "paravane.domain_config",
    "DomainRecord": "paravane.trace",
    "Ending": "paravane.ending",
    "EventRecord": "paravane.trace",
    "ExtraConsole": "paravane.devices.console",
    "GrantRecord": "paravane.trace",
    "Guest": "paravane.together",
    "HostClock": "paravane.time.clock",
    "HypercallRecord": "paravane.trace",
    "Image": "paravane.image",
    "ImageError": "paravane.image",
    "Kind": "paravane.trace",
    "Machine": "paravane.machine",
    "MachineBusyError": "paravane.outside",
    "OnEnd": "paravane.on_end",
    "PageRecord": "paravane.trace",
    "Record": "paravane.trace",
    "RecordsLost": "paravane.boot_result",
    "RefusalRecord": "paravane.trace",
    "RingRecord": "paravane.trace",
    "ScheduleRecord": "paravane.trace",
    "SendRecord": "paravane.trace",
    "Sensitive": "paravane.full.state",
    "ShutdownReason": "paravane.abi.sched",
    "StopReason": "paravane.ending",
    "StoreRecord": "paravane.trace",
    "TimerRecord": "paravane.trace",
    "Trace": "paravane.trace",
    "TrapRecord": "paravane.trace",
    "UpcallRecord": "paravane.trace",
    "Vfb": "paravane.devices.framebuffer",
    "Vif": "paravane.devices.net.vif",
    "VirqRecord": "paravane.trace",
    "VirtualClock": "paravane.time.clock",
    "boot": "paravane.quick",
    "boot_together": "paravane.together",
    "load_image": "paravane.image",
    "parse_console": "paravane.devices.console",
    "trace_line": "paravane.trace.text:line",
}
"""Name -> the module it lives in, and its name there where that is another one."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)
