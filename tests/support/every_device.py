"""One device of each kind with a frontend that can be told to stop, to lie and to begin anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from paravane.abi.grant_table import GNTTAB_NR_RESERVED_ENTRIES
from paravane.abi.ring import SRING
from paravane.abi.xenbus import XenbusState
from paravane.devices.block import Disk, number_of
from paravane.devices.console.extra import ExtraConsole
from paravane.devices.framebuffer.vfb import Vfb, Vkbd
from paravane.devices.net.vif import Vif
from tests.support.frontend import Frontend
from tests.support.screen import FramebufferFrontend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from paravane import Domain, Machine
    from paravane.devices.xenbus import Attachment, DeviceConfig

FIRST = GNTTAB_NR_RESERVED_ENTRIES
_RINGS = ("req_event", "rsp_event")


class AnyFrontend(ABC):
    """A frontend of some kind of device. `nodes` are what it writes before it is `ready`; its frames and
    grants are the same ones each time it connects. It may be made before the device is there."""

    kind: str
    number = 0
    ready = XenbusState.Initialised

    def __init__(self, machine: Machine, domain: Domain, *, first_ref: int = FIRST) -> None:
        """`first_ref`: its grants are those from there on."""
        self.machine = machine
        self.domain = domain
        self.front = Frontend(machine, domain, self.kind, self.number)
        self.front._next_ref = first_ref
        self.nodes: dict[str, str | int] = {}
        self.pages: list[memoryview] = []

    @abstractmethod
    def config(self, folder: Path) -> DeviceConfig:
        """The device, which may have files in `folder`."""

    def attach(self, folder: Path) -> Attachment:
        """Give the domain its device."""
        attachment = self.machine.attach(self.domain, self.config(folder))
        self.front.serve()
        return attachment

    def listen(self) -> None:
        """Have another port for the next connection."""
        if self.front.port:
            self.domain.events.close(self.front.port)
        self.nodes[self.port_node] = self.front.listen()

    port_node = "event-channel"

    def write(self, nodes: Mapping[str, str | int] | None = None) -> None:
        """Write its nodes, or these."""
        for name, value in (self.nodes if nodes is None else nodes).items():
            self.front.write(name, value)

    def connect(self) -> None:
        """As it should be done, whatever was before."""
        self.front.switch(XenbusState.Closed)
        assert self.front.switch(XenbusState.Initialising) is XenbusState.InitWait
        for page in self.pages:
            page[:] = bytes(len(page))
            for name in _RINGS:
                page[SRING.offsets[name]] = 1
        self.begin()
        self.listen()
        self.write()
        assert self.front.switch(self.ready) is XenbusState.Connected, self.front.backend("error")
        self.front.switch(XenbusState.Connected)

    def begin(self) -> None:  # noqa: B027 - most have nothing more in their pages
        """Put into its pages what a frontend of its kind begins with."""

    def lend(self, *names: str) -> None:
        """Grant a page for each of these nodes."""
        for name in names:
            self.nodes[name], page = self.front.page()
            self.pages.append(page)


class DiskFrontend(AnyFrontend):
    kind, number = "vbd", number_of("xvdb")

    def __init__(self, machine: Machine, domain: Domain, *, first_ref: int = FIRST) -> None:
        super().__init__(machine, domain, first_ref=first_ref)
        self.lend("ring-ref")
        self.nodes["protocol"] = "x86_32-abi"

    def config(self, folder: Path) -> DeviceConfig:
        path = folder / "disk.img"
        if not path.exists():
            path.write_bytes(bytes(1 << 20))
        return Disk(path, vdev="xvdb")


class VifFrontend(AnyFrontend):
    kind = "vif"
    ready = XenbusState.Connected

    def __init__(self, machine: Machine, domain: Domain, *, first_ref: int = FIRST) -> None:
        super().__init__(machine, domain, first_ref=first_ref)
        self.lend("tx-ring-ref", "rx-ring-ref")
        self.nodes["request-rx-copy"] = 1

    def config(self, folder: Path) -> DeviceConfig:
        return Vif()


class ConsoleFrontend(AnyFrontend):
    kind, number, port_node = "console", 1, "port"

    def __init__(self, machine: Machine, domain: Domain, *, first_ref: int = FIRST) -> None:
        super().__init__(machine, domain, first_ref=first_ref)
        self.lend("ring-ref")

    def begin(self) -> None:
        self.pages[0][:] = bytes(len(self.pages[0]))

    def config(self, folder: Path) -> DeviceConfig:
        return ExtraConsole()


class KeyboardFrontend(AnyFrontend):
    kind = "vkbd"

    def __init__(self, machine: Machine, domain: Domain, *, first_ref: int = FIRST) -> None:
        super().__init__(machine, domain, first_ref=first_ref)
        self.lend("page-gref")

    def begin(self) -> None:
        self.pages[0][:] = bytes(len(self.pages[0]))

    def config(self, folder: Path) -> DeviceConfig:
        return Vkbd(Vfb())


class ScreenFrontend(AnyFrontend):
    kind = "vfb"

    def __init__(self, machine: Machine, domain: Domain, *, first_ref: int = FIRST) -> None:
        super().__init__(machine, domain, first_ref=first_ref)
        self._painter: FramebufferFrontend | None = None

    def begin(self) -> None:
        if self._painter is None:
            self._painter = FramebufferFrontend(self.machine, self.domain)
            self.nodes["page-ref"] = self._painter.mfn
        self._painter.describe(64, 32, 256, 32)

    def config(self, folder: Path) -> DeviceConfig:
        return Vfb()


EVERY: tuple[type[AnyFrontend], ...] = (
    DiskFrontend,
    VifFrontend,
    ConsoleFrontend,
    KeyboardFrontend,
    ScreenFrontend,
)
