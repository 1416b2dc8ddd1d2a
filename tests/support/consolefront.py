"""A console frontend, played from outside: hvc_xen's part of an extra console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.console import XENCONS_IN_SIZE, XENCONS_INTERFACE, XENCONS_OUT_SIZE
from paravane.abi.xenbus import XenbusState
from paravane.devices.console import ExtraConsoleDevice
from paravane.grants.entries import V1_PER_FRAME
from tests.support.frontend import MASK, Frontend

if TYPE_CHECKING:
    from paravane import Domain, Machine

_OFFSETS = XENCONS_INTERFACE.offsets


class Consolefront(Frontend):
    """The frontend of console `number`."""

    def __init__(self, machine: Machine, domain: Domain, number: int = 1) -> None:
        super().__init__(machine, domain, "console", number)
        attachment = domain.devices.find("console", number)
        assert attachment is not None
        assert isinstance(attachment.device, ExtraConsoleDevice)
        self.device = attachment.device
        self.ref, self.bytes = self.page()
        self._mfn = self.machine.platform.ram.words[
            (domain.grants.frames[self.ref // V1_PER_FRAME] << 10) + self.ref % V1_PER_FRAME * 2 + 1
        ]
        self.words = self.bytes.cast("I")

    def connect(self) -> XenbusState:
        """As hvc_xen connects. The backend's state then."""
        self.write("ring-ref", self.ref)
        self.write("port", self.listen())
        return self.switch(XenbusState.Initialised)

    def reconnect(self) -> XenbusState:
        """Close, clear the page and come back."""
        self.switch(XenbusState.Closed)
        self.domain.events.close(self.port)
        self.switch(XenbusState.Initialising)
        self.bytes[:] = bytes(len(self.bytes))
        return self.connect()

    def regrant(self) -> None:
        """Grant the page again that was revoked."""
        self.grant(self.ref, self._mfn)

    def get(self, name: str) -> int:
        return int(self.words[_OFFSETS[name] >> 2])

    def set(self, name: str, value: int) -> None:
        self.words[_OFFSETS[name] >> 2] = value & MASK

    def put(self, data: bytes) -> int:
        """Write as much as there is room for, and tell the backend. How much that was."""
        room = XENCONS_OUT_SIZE - (self.get("out_prod") - self.get("out_cons") & MASK)
        for at, byte in enumerate(data[:room], self.get("out_prod")):
            self.bytes[_OFFSETS["out"] + at % XENCONS_OUT_SIZE] = byte
        self.set("out_prod", self.get("out_prod") + min(len(data), room))
        self.event()
        return min(len(data), room)

    def take(self) -> bytes:
        """Everything that was typed, and tell the backend."""
        consumer, producer = self.get("in_cons"), self.get("in_prod")
        found = bytes(
            self.bytes[_OFFSETS["in_"] + (consumer + at) % XENCONS_IN_SIZE]
            for at in range(producer - consumer & MASK)
        )
        self.set("in_cons", producer)
        self.event()
        return found
