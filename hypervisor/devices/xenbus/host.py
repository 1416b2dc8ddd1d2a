"""What the devices of one machine work with: the host as they see it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from paravane.devices.bus import Port
from paravane.devices.xenbus.fault import DeviceFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.bus import Bus
    from paravane.devices.xenstore import Store
    from paravane.grants import GrantMapping, GrantTable, HasGrants
    from paravane.registry import Domains
    from paravane.time.clock import Clock
    from paravane.time.timers import TimerQueue

T = TypeVar("T", bound="Shared")


class Outside(Protocol):
    """What reaches the machine from outside (`paravane.inbox.Inbox`)."""

    def watch(self, fileno: int, ready: Callable[[], object], *, for_guests: bool = True) -> None:
        """Call `ready` in the machine's thread whenever the descriptor is readable."""
        ...

    def adjust(self, fileno: int, *, readable: bool = True, room: Callable[[], object] | None = None) -> None:
        """Of a descriptor that is watched: call `room` whenever it takes bytes, and `ready` only if
        `readable`; one of the two at least."""
        ...

    def unwatch(self, fileno: int) -> None: ...

    @property
    def repeats(self) -> bool:
        """Whether what arrives did so in an earlier run: nothing of the host's is to be opened."""
        ...

    def source(self, name: str, take: Callable[[bytes | None], object]) -> None:
        """Have `take` called with all that arrives from a source of that name, and None when it has ended."""
        ...

    def forget(self, name: str) -> None:
        """A source is gone."""
        ...

    def arrived(self, source: str, data: bytes | None) -> None:
        """Something has come from a source, or it has ended: its taker is called, now or where a journal
        says."""
        ...

    def left(self, source: str, data: bytes) -> None:
        """A guest has sent something to where the source is."""
        ...

    def promise(self) -> Callable[[Callable[[], object]], None]:
        """Another thread works for a guest: what it is given back, it calls once, with what is to be done in
        the machine's thread then. A machine with nothing else to do waits for that."""
        ...


class BoundPort(Port, Protocol):
    """An end whose number is `port`, 0 once it was given up."""

    port: int

    @property
    def connected(self) -> bool:
        """Whether a guest has the other end now."""
        ...


class Events(Protocol):
    """The host's end of event channels (`paravane.events.HostEvents`)."""

    def bind(self, domid: int, remote_port: int, callback: Callable[[], None]) -> BoundPort: ...

    def resume(self, port: int, callback: Callable[[], None]) -> BoundPort: ...


class Shared(Protocol):
    """Something that there is once for all devices of a machine, such as its network switches."""

    def __init__(self, host: DeviceHost) -> None: ...

    def close(self) -> None:
        """The machine is closed."""
        ...


class DeviceHost:
    """One machine's host. `domid` is the domain that backends are in as far as guests can tell; `counted`
    says that the run is to be a function of its input alone, so that nothing may depend on how long the host
    takes.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        domains: Domains[HasGrants],
        clock: Clock,
        timers: TimerQueue,
        outside: Outside,
        counted: bool,
    ) -> None:
        self.store = store
        self.bus = bus
        self.clock = clock
        self.timers = timers
        self.outside = outside
        self.counted = counted
        self.domid = 0
        self.events: Events
        self._domains = domains
        self._shared: dict[type[Any], Any] = {}
        self._resumed: Counter[tuple[int, int, bool]] = Counter()

    def grants(self, domid: int) -> GrantTable:
        """A domain's grant table. Raises DeviceFault."""
        domain = self._domains.find(domid)
        if domain is None or domain.grants is None:
            raise DeviceFault(f"domain {domid} has no grant table")
        return domain.grants

    def resume_grant(self, domid: int, ref: int, *, writable: bool) -> GrantMapping:
        """A mapping of a domain's grant that there was before all was kept. Raises DeviceFault, and
        ValueError for one that there cannot have been: no more than are counted."""
        before = self._resumed[domid, ref, writable]
        self._resumed[domid, ref, writable] += 1
        return self.grants(domid).resume_for_backend(ref, writable=writable, before=before)

    def shared(self, kind: type[T]) -> T:
        """The machine's one instance of `kind`, made when it is asked for first."""
        if kind not in self._shared:
            self._shared[kind] = kind(self)
        found: T = self._shared[kind]
        return found

    def had(self, kind: type[T]) -> T | None:
        """The machine's one instance of `kind`, if it was asked for."""
        found: T | None = self._shared.get(kind)
        return found

    def close(self) -> None:
        """The machine is closed, after all its devices. Idempotent."""
        while self._shared:
            self._shared.popitem()[1].close()
