"""A way out of the machine as a station on a switch, and one that only repeats what came by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from paravane.devices.net.frame import Frame
from paravane.devices.net.offloads import NOTHING

if TYPE_CHECKING:
    from paravane.devices.net.outside import Inputs
    from paravane.devices.net.switch import Port, Switch


class Way(ABC):
    """A way out. What comes by it goes through `Inputs`, which may keep it. Close it."""

    offloads = NOTHING

    def __init__(self, name: str, inputs: Inputs, switch: Switch) -> None:
        self._source = f"{name} on {switch.name}"
        self._inputs = inputs
        self.port: Port = switch.plug(name, self)
        inputs.source(self._source, self._take)

    def deliver(self, frame: Frame) -> bool:
        """Send a frame out. One that there is no room for is lost."""
        self._inputs.left(self._source, frame.data)
        return self._send_out(frame)

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether anything can still come or go."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""

    @abstractmethod
    def _send_out(self, frame: Frame) -> bool: ...

    def _leave(self) -> None:
        """It is closed, and on its switch no more."""
        self.port.unplug()
        self._inputs.forget(self._source)

    def _arrived(self, data: bytes | None) -> None:
        """A frame has come from outside, or nothing can come any more."""
        self._inputs.arrived(self._source, data)

    def _take(self, data: bytes | None) -> None:
        if data is None:
            self.port.unplug()
        else:
            self.port.send(Frame(data))


class RepeatedWay(Way):
    """One that leads nowhere: what came by it in an earlier run comes again."""

    def __init__(self, name: str, inputs: Inputs, switch: Switch) -> None:
        super().__init__(name, inputs, switch)
        self._ended = False

    @property
    def alive(self) -> bool:
        return not self._ended

    def close(self) -> None:
        self._ended = True
        self._leave()

    def _take(self, data: bytes | None) -> None:
        self._ended |= data is None
        super()._take(data)

    def _send_out(self, frame: Frame) -> bool:
        return not self._ended
