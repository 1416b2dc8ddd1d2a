"""What a device is to the bus: the one class to write for another kind of device.

A device is on the bus from `DomainDevices.attach` on until it is detached or its domain is gone. The bus
writes xl's nodes, follows the two `state` nodes, and calls the device:

    class Adder(Device):
        kind = "adder"                          # device/adder/N, backend/adder/DOMID/N
        number = 0

        def offer(self) -> Nodes:               # what a frontend may choose from, before it does
            return {"feature-carry": 1}

        def connect(self, frontend: Frontend) -> Nodes:
            self._frontend = frontend
            self._ring = frontend.ring(frontend.references("ring-ref", most_order=0), entry_size=16)
            frontend.listen(frontend.port("event-channel"))
            return {"width": 32}                # nodes that are there before the state says Connected

        def on_event(self, budget: Budget) -> bool:
            while not budget.exhausted:
                request = self._ring.next()     # a RingFault closes the device
                if request is None:
                    if not self._ring.more():
                        return False
                    continue
                self._ring.respond(self._sum(request))
                budget.spend(4)
                if self._ring.push():
                    self._frontend.notify()
            return True                         # there is more to do

        def disconnect(self) -> None:           # the bus takes ring, grants and port back after this
            del self._ring, self._frontend

        def close(self) -> None:                # it holds nothing of the host's
            pass

What a `connect` finds wrong, and what `on_event` cannot go on from, is a `DeviceFault`: the sentence becomes
the backend's `error` node, and the device closes until its frontend connects anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from paravane.abi.xenbus import XenbusState

if TYPE_CHECKING:
    from paravane.devices.bus import Budget
    from paravane.devices.xenbus.frontend import Frontend
    from paravane.devices.xenbus.host import DeviceHost

Nodes = Mapping[str, str | int]
"""Names of nodes, in the order in which they are written, and their values."""


class Device(ABC):
    """One device of one domain. Everything is called in the machine's thread, and nothing may wait.

    `kind` names its folder in xenstore and `number` it among those of its kind; `backend` is the backend's
    folder where that is called otherwise. `connects_at` has the frontend states in which a frontend has
    written all its nodes: some kinds of frontend then wait as Initialised, others are Connected at once.
    """

    kind: ClassVar[str]
    connects_at: ClassVar[frozenset[XenbusState]] = frozenset(
        {XenbusState.Initialised, XenbusState.Connected}
    )
    number: int

    def backend_nodes(self) -> Nodes:
        """What xl writes for the backend, besides what all have."""
        return {}

    def frontend_nodes(self) -> Nodes:
        """What xl writes for the frontend, besides what all have."""
        return {}

    def fixed_nodes(self) -> Nodes:
        """What xl writes for the frontend, and the guest may read but not change."""
        return {}

    def offer(self) -> Nodes:
        """What the backend itself writes before it waits for its frontend (InitWait)."""
        return {}

    @abstractmethod
    def connect(self, frontend: Frontend) -> Nodes:
        """The frontend is ready: read what it chose, map its ring, listen to its port. Gives the nodes to
        write before the backend is Connected. Raises DeviceFault; what was mapped is given back then."""

    @abstractmethod
    def on_event(self, budget: Budget) -> bool:
        """Do what is due, item by item, until nothing is or the budget is exhausted; each item spends what it
        cost. True when something is left that could be done now. Only while connected: after an event of the
        frontend's port, and after `Frontend.call`. Raises DeviceFault and RingFault only."""

    def reconfigure(self, frontend: Frontend) -> Nodes:
        """A connected frontend has changed its nodes (Reconfiguring). Gives the nodes to write before the
        backend says Reconfigured. Raises DeviceFault."""
        return {}

    @abstractmethod
    def disconnect(self) -> None:
        """The frontend is gone, or is not served any more: forget it. What it lent is given back after this,
        so nothing may use it any longer. Only after `connect`, and also when that raised."""

    @abstractmethod
    def close(self) -> None:
        """The device is gone for good, and so is what it stands on: files, sockets. Idempotent."""


class DeviceConfig(Protocol):
    """What a device is to be: plain data that outlives the domain, which may be restarted."""

    def open(self, host: DeviceHost) -> Device:
        """A device of this description. Raises ValueError, a sentence, when it cannot be had."""
        ...
