"""One device on the bus: the backend's half of the handshake of its two `state` nodes
(public/io/xenbus.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.xenbus import XenbusState
from paravane.classes import NamedTuple
from paravane.devices.ring import RingFault
from paravane.devices.xenbus.complaints import Complaints
from paravane.devices.xenbus.fault import DeviceFault
from paravane.devices.xenbus.frontend import Frontend, FrontendState, ResumedFrontend
from paravane.devices.xenbus.nodes import announce, forget, paths_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.bus import Budget
    from paravane.devices.xenbus.device import Device, DeviceConfig, Nodes
    from paravane.devices.xenbus.host import DeviceHost

_HANDSHAKE_UNITS: Final = 32
"""Units of work of a look at the frontend's state, and of what that leads to."""

_USING: Final = frozenset(
    {
        XenbusState.Initialised,
        XenbusState.Connected,
        XenbusState.Closing,
        XenbusState.Reconfiguring,
        XenbusState.Reconfigured,
    }
)
"""States of a frontend that uses its device, and is asked before that goes away."""


class AttachmentState(NamedTuple):
    """A device on the bus: what its backend says of itself, whether it is to go and whether its frontend's
    state is to be looked at, how often its guest was complained of, the place of its watch, and the
    connection there is."""

    state: XenbusState
    leaving: bool
    looking: bool
    complaints: int
    watch: int
    frontend: FrontendState | None


class Attachment:
    """A device of a domain, followed by its nodes until it is detached. It is what the bus serves
    (`Backend`).

    `state` is what the backend says of itself; `paths` are its folders in xenstore. The frontend may write
    any state at any time, so each look starts from the two states as they are now, whatever came between:

    | the frontend says | the backend |
    |---|---|
    | Initialising, InitWait | gives up a connection there may be, and waits for the frontend (InitWait) |
    | a state in which it has written its nodes | connects, and is Connected; or fails, and is Closing |
    | Reconfiguring | looks at the nodes anew, and says Reconfigured |
    | Closing | is Closing |
    | Closed, or nothing that is a state | is Closed; a device that is to go is gone |
    """

    def __init__(
        self,
        host: DeviceHost,
        domid: int,
        device: Device,
        config: DeviceConfig,
        gone: Callable[[Attachment], None],
        kept: AttachmentState | None = None,
    ) -> None:
        """Make its nodes and offer the device, which was opened as `config` says; or go on with those that
        there are, where it is one that was `kept`. `gone` is called once, when it is off the bus. Raises
        ValueError, DeviceFault and RingFault for what cannot have been kept."""
        self.domid = domid
        self.device = device
        self.config = config
        self.state = XenbusState.Initialising
        self._host = host
        self._gone = gone
        self._frontend: Frontend | None = None
        self._leaving = self._closed = self._looking = False
        self._complaints = Complaints(domid, self.name)
        if kept is not None:
            self.paths = paths_of(device, domid, host.domid)
            self._resume(kept)
            return
        self.paths = announce(host.store, device, domid, host.domid)
        self._write(device.offer())
        self._write({"hotplug-status": "connected"})
        self._switch(XenbusState.InitWait)
        self._watch = host.store.watch(f"{self.paths.front}/state", self._state_written)

    def save(self) -> AttachmentState:
        """What another one goes on from. Raises ValueError, a sentence, for what cannot be kept."""
        frontend = None if self._frontend is None else self._frontend.save()
        return AttachmentState(
            self.state, self._leaving, self._looking, self._complaints.made, self._watch.place, frontend
        )

    def _resume(self, kept: AttachmentState) -> None:
        self.state, self._leaving, self._looking = kept.state, kept.leaving, kept.looking
        self._complaints.made = kept.complaints
        store = self._host.store
        self._watch = store.resume_watch(f"{self.paths.front}/state", self._state_written, kept.watch)
        if kept.frontend is not None:
            frontend = ResumedFrontend(
                self._host, self.domid, self.paths.front, self._call, self._complaints.say, kept.frontend
            )
            self._frontend = frontend
            try:
                self.device.connect(frontend)
                frontend.connected()
            except BaseException:
                self._disconnect()
                raise

    @property
    def name(self) -> str:
        """Its kind and number, as in `vbd/51712`."""
        return f"{self.device.kind}/{self.device.number}"

    @property
    def connected(self) -> bool:
        """Whether a frontend uses the device now."""
        return self._frontend is not None

    @property
    def closed(self) -> bool:
        """Whether the device is off the bus."""
        return self._closed

    @property
    def backend_domid(self) -> int:
        """The domain that its backend is in."""
        return self._host.domid

    def serve(self, budget: Budget) -> bool:
        """Follow the frontend's state, then do what the device has to do."""
        if self._looking:
            self._looking = False
            budget.spend(_HANDSHAKE_UNITS)
            self._look(budget)
        if self._frontend is None:
            return False
        try:
            return self.device.on_event(budget)
        except RingFault as fault:
            self._fail(f"its ring is impossible: {fault}")
        except DeviceFault as fault:
            self._fail(str(fault))
        return False

    def renew(self, nodes: Nodes) -> None:
        """The device has changed, its size for example: write that, and tell a connected frontend by a state
        that is written anew."""
        self._write(nodes)
        if self.state is XenbusState.Connected:
            self._switch(XenbusState.Connected)

    def detach(self, *, force: bool = False) -> None:
        """Take the device away: at once where no frontend uses it, or with `force`; else the frontend is
        asked to let go (`online` 0, Closing), and the device goes when it has. Idempotent."""
        if self._closed:
            return
        if force or self._frontend_state() not in _USING:
            self.close()
            return
        self._leaving = True
        self._write({"online": 0})
        self._switch(XenbusState.Closing)

    def close(self) -> None:
        """Off the bus at once, with its nodes. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        self._host.bus.remove(self)
        self._disconnect()
        self.device.close()
        forget(self._host.store, self.paths)
        self._gone(self)

    def _state_written(self, path: str) -> None:
        # The store is in the middle of a guest's request: what that leads to is done on the bus, where it is
        # charged, and where several changes in a row are one.
        self._looking = True
        self._host.bus.call(self)

    def _look(self, budget: Budget) -> None:
        """Act on the frontend's state as it is now."""
        state = self._frontend_state()
        if state in self.device.connects_at and not self._leaving:
            self._connect(budget)
        elif state in (XenbusState.Initialising, XenbusState.InitWait):
            # Also one that was connected: its kernel was replaced, or has lost its device's state.
            self._disconnect()
            if self._leaving:
                self.close()
            elif self.state is not XenbusState.InitWait:
                self._switch(XenbusState.InitWait)
        elif state is XenbusState.Reconfiguring and self._frontend is not None:
            self._reconfigure(self._frontend)
        elif state is XenbusState.Closing:
            if self.state is not XenbusState.Closing:
                self._switch(XenbusState.Closing)
        elif state in (XenbusState.Closed, XenbusState.Unknown):
            self._disconnect()
            if self._leaving:
                self.close()
            elif self.state is not XenbusState.Closed:
                self._switch(XenbusState.Closed)

    def _connect(self, budget: Budget) -> None:
        if self._frontend is not None:
            if self.state is XenbusState.Reconfigured:
                self._switch(XenbusState.Connected)
            return
        frontend = Frontend(self._host, self.domid, self.paths.front, self._call, self._complaints.say)
        self._frontend = frontend
        try:
            nodes = self.device.connect(frontend)
        except RingFault as fault:
            self._fail(f"its ring is impossible: {fault}")
        except DeviceFault as fault:
            self._fail(str(fault))
        else:
            frontend.connected()
            self._host.store.remove(f"{self.paths.back}/error")
            self._write(nodes)
            self._switch(XenbusState.Connected)
        budget.spend(frontend.units)

    def _reconfigure(self, frontend: Frontend) -> None:
        try:
            nodes = self.device.reconfigure(frontend)
        except DeviceFault as fault:
            self._fail(str(fault))
        else:
            self._write(nodes)
            self._switch(XenbusState.Reconfigured)

    def _disconnect(self) -> None:
        if self._frontend is not None:
            self.device.disconnect()
            self._frontend.close()
            self._frontend = None

    def _fail(self, sentence: str) -> None:
        """The device cannot go on with this frontend. It may connect anew, and others notice nothing."""
        self._complaints.say(f"closed: {sentence}")
        self._disconnect()
        self._write({"error": sentence})
        self._switch(XenbusState.Closing)

    def _call(self) -> None:
        if not self._closed:
            self._host.bus.call(self)

    def _frontend_state(self) -> XenbusState:
        value = self._host.store.find(f"{self.paths.front}/state")
        # A single digit: as much as anybody writes there.
        if value is None or len(value) != 1 or not b"0" <= value <= b"8":
            return XenbusState.Unknown
        return XenbusState(int(value))

    def _switch(self, state: XenbusState) -> None:
        self.state = state
        self._write({"state": int(state)})

    def _write(self, nodes: Nodes) -> None:
        for name, value in nodes.items():
            self._host.store.write(f"{self.paths.back}/{name}", value)
