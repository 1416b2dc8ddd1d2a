"""The host's end of event channels: the backends of domain 0, each port a Python callback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.event_channel import EVTCHN_FIFO_NR_CHANNELS
from paravane.events.port_table import PortTable
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.events.ports import Exchange


class HostPort:
    """One end of a channel that a backend holds."""

    def __init__(self, channels: PortTable, port: int, release: Callable[[int], None]) -> None:
        self._channels = channels
        self._release = release
        self.port = port

    @property
    def connected(self) -> bool:
        """Whether a guest holds the other end now."""
        return not self.closed and self._channels.connected(self.port)

    @property
    def closed(self) -> bool:
        return self.port == 0

    def notify(self) -> None:
        """Fire the other end. Nothing happens when the guest has closed it or has never bound it."""
        if not self.closed:
            self._channels.send(self.port)

    def close(self) -> None:
        """Give the port up; the guest's end becomes unbound. Closing twice is allowed."""
        if not self.closed:
            self._channels.close(self.port)
            self._release(self.port)
            self.port = 0


class HostEvents:
    """The control domain's event channels, where backends are as far as guests can tell. A callback runs
    inside the send that fires it, so it must be short and must not raise; it may notify.
    """

    nr_ports = EVTCHN_FIFO_NR_CHANNELS
    """As many as Xen's FIFO ABI gives domain 0: enough for every port of a hundred guests."""

    def __init__(self, exchange: Exchange, domid: int = CONTROL_DOMID) -> None:
        self._callbacks: dict[int, Callable[[], None]] = {}
        self.ports = PortTable(domid, exchange, self, nr_vcpus=1, max_port=self.nr_ports - 1, privileged=True)

    def bind(self, domid: int, remote_port: int, callback: Callable[[], None]) -> HostPort:
        """Connect to a port that domain `domid` has allocated for domain 0.

        Raises Refusal(ESRCH) without such a domain and Refusal(EINVAL) when the port does not wait for
        domain 0. As with any binding the new end fires at once, for notifications that came too early.
        """
        port = self.ports.bind_interdomain(domid, remote_port, before_first=self._listener(callback))
        return HostPort(self.ports, port, self._forget)

    def resume(self, port: int, callback: Callable[[], None]) -> HostPort:
        """The end of a channel that was bound before its ports were kept, for the backend that goes on with
        it. Raises ValueError where `port` is not one; 0 is one that was given up."""
        if port == 0:
            return HostPort(self.ports, 0, self._forget)
        if not self.ports.connected(port):
            raise ValueError(f"port {port} of domain {self.ports.domid} is not connected")
        if port in self._callbacks:
            raise ValueError(f"port {port} of domain {self.ports.domid} is somebody else's")
        self.listen(port, callback)
        return HostPort(self.ports, port, self._forget)

    def listen(self, port: int, callback: Callable[[], None]) -> None:
        """Have a port of the control domain's, such as one for a virtual interrupt, call back."""
        self._callbacks[port] = callback

    def init(self, port: int) -> None:
        """Nothing is kept of a port before somebody listens."""

    def set_pending(self, port: int, vcpu_id: int) -> None:
        callback = self._callbacks.get(port)
        if callback is not None:
            callback()

    def is_pending(self, port: int) -> bool:
        """A callback leaves nothing pending."""
        return False

    def clear_pending(self, port: int) -> None:
        """A callback leaves nothing pending."""

    def unmask(self, port: int, vcpu_id: int) -> None:
        """The host masks nothing."""

    def is_masked(self, port: int) -> bool:
        """The host masks nothing."""
        return False

    def is_busy(self, port: int) -> bool:
        """A closed port can be given away at once."""
        return False

    def _listener(self, callback: Callable[[], None]) -> Callable[[int], None]:
        def listen(port: int) -> None:
            self.listen(port, callback)

        return listen

    def _forget(self, port: int) -> None:
        self._callbacks.pop(port, None)
