"""What a domain is to be, by the wish of who makes it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from paravane.arguments import check_callable, check_type
from paravane.classes import dataclass
from paravane.devices.console import ConsoleSpec
from paravane.events import MAX_EVENT_CHANNELS
from paravane.grants import GrantLimits
from paravane.log_limit import LogRate
from paravane.memory import MAX_VCPUS
from paravane.on_end import OnEnd
from paravane.sched import STANDARD_WEIGHT, Share

if TYPE_CHECKING:
    from os import PathLike

    from paravane.devices.console import Sink
    from paravane.devices.xenbus import DeviceConfig
    from paravane.tlb.spec import TlbSpec

_OWN_PORTS = 2
"""Ports that a guest has at its start of day: the store's and the console's."""


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """What a guest is to be: `memory` in bytes, of which its balloon may later be asked to have up to
    `max_memory` (None: no more); `vcpus`, of which it starts all but the first itself, once xenstore has
    them online (`online_vcpus`; None: all); `sink` takes the bytes that its console puts out (None: the
    domain keeps them); it may take less than all, see `paravane.devices.console.Sink`. With a `console` its
    console is there instead: on a terminal, a socket, in a file. Consoles that it has besides this one are
    among its `devices` (`paravane.ExtraConsole`).

    `max_event_channels` is xl's: the highest port the guest may have; as a port is taken when a guest has one
    end of a channel, 2 are needed for its console and its store.

    `grants` bounds its grant table and what it may map of others'.

    `privileged`: it is the machine's control domain, number 0, which may make other domains and do to them
    what it likes. It has to be the machine's first, and has the hypervisor's console instead of a ring.

    `on_end` says what becomes of it when it has ended; without it, it stays as it is.

    `weight` (1 to 65535) and `cap` (in percent of one processor, 0 for none) say what it may have of the
    processor beside others, as xl's `cpu_weight` and `cap` do.

    `devices` are opened, in this order, as the domain is made, and again for each of its further lives.

    `log_rate` bounds the lines that it causes in the log: those of console_io, and warnings about it.

    `tlb`: its processors have that TLB, and not the engine's own (`paravane.tlb`).

    `source_text`: reports quote the source files that the image names. Whoever makes an image can have any
    file of the host named there, so only for images that one trusts. Relative names that the current folder
    does not have are looked for in `source_folders`.
    """

    name: str = "guest"
    memory: int = 32 << 20
    vcpus: int = 1
    cmdline: str = ""
    ramdisk: bytes | None = None
    sink: Sink | None = None
    max_memory: int | None = None
    on_end: OnEnd = field(default_factory=OnEnd)
    source_text: bool = False
    source_folders: tuple[str | PathLike[str], ...] = ()
    max_event_channels: int = MAX_EVENT_CHANNELS
    grants: GrantLimits = GrantLimits()
    weight: int = STANDARD_WEIGHT
    cap: int = 0
    online_vcpus: int | None = None
    privileged: bool = False
    devices: tuple[DeviceConfig, ...] = ()
    log_rate: LogRate = LogRate()
    console: ConsoleSpec | None = None
    tlb: TlbSpec | None = None

    def __post_init__(self) -> None:
        """Raises TypeError for a value of a wrong type, by its name, and ValueError for so many vcpus as no
        domain has, for too few channels, for a `max_memory` that is less than `memory` and for a weight or
        cap that there is not and for devices of the control domain, which is where devices are."""
        check_type("name", self.name, str)
        check_type("memory", self.memory, int)
        check_type("vcpus", self.vcpus, int)
        if not 1 <= self.vcpus <= MAX_VCPUS:
            raise ValueError(f"a domain has from 1 to {MAX_VCPUS} vcpus, not {self.vcpus}")
        check_type("online_vcpus", self.online_vcpus, int, type(None))
        if not 1 <= self.online <= self.vcpus:
            raise ValueError(f"of {self.vcpus} vcpus {self.online} cannot be online")
        check_type("max_memory", self.max_memory, int, type(None))
        check_type("on_end", self.on_end, OnEnd)
        if self.most_memory < self.memory:
            raise ValueError(f"a domain of {self.memory} bytes cannot have {self.max_memory} at most")
        check_type("cmdline", self.cmdline, str)
        check_type("ramdisk", self.ramdisk, bytes, type(None))
        check_type("source_text", self.source_text, bool)
        check_type("source_folders", self.source_folders, tuple)
        check_type("privileged", self.privileged, bool)
        check_type("log_rate", self.log_rate, LogRate)
        check_type("console", self.console, ConsoleSpec, type(None))
        if self.tlb is not None:
            from paravane.tlb.spec import TlbSpec  # noqa: PLC0415 - loaded for who asks for it only

            check_type("tlb", self.tlb, TlbSpec)
        check_type("devices", self.devices, tuple)
        if self.privileged and self.devices:
            raise ValueError("the control domain can be given no devices: nobody is there to carry them")
        check_type("max_event_channels", self.max_event_channels, int)
        if self.max_event_channels < _OWN_PORTS:
            raise ValueError(
                f"max_event_channels must be {_OWN_PORTS} or more, not {self.max_event_channels}: "
                "console and store need a port each"
            )
        check_type("grants", self.grants, GrantLimits)
        check_type("weight", self.weight, int)
        check_type("cap", self.cap, int)
        Share(self.weight, self.cap)
        if self.sink is not None:
            check_callable("sink", self.sink)

    @property
    def online(self) -> int:
        """How many of its vcpus xenstore shows as online."""
        return self.vcpus if self.online_vcpus is None else self.online_vcpus

    @property
    def overhead(self) -> int:
        """Bytes that the hypervisor needs for it, beyond what every domain of its memory costs."""
        return 0 if self.tlb is None else self.vcpus * self.tlb.overhead

    @property
    def most_memory(self) -> int:
        """Bytes that its balloon may be asked to have at most."""
        return self.memory if self.max_memory is None else self.max_memory
