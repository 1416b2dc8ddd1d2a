"""The host's ends of its guests: what every domain stands on, its ring pages, and the backends behind
them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from paravane.devices.console import Console, ConsoleSpec, ControlConsole
from paravane.devices.xenbus import DomainDevices
from paravane.devices.xenstore import Connection
from paravane.events import EventChannels, HostEvents
from paravane.grants import GrantTable
from paravane.grants.mapping import release_mappings
from paravane.time.records import write_wall_clock
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.console import HostEnd
    from paravane.devices.xenbus import DeviceHost
    from paravane.devices.xenstore import Store
    from paravane.domain import Domain
    from paravane.domain_config import DomainConfig
    from paravane.events import EventState, HostPort
    from paravane.grants import GrantLimits, GrantMapping
    from paravane.grants.use import GrantState
    from paravane.platform import Platform

    Bind = Callable[[Callable[[], None]], HostPort]
    """Gives the host's end of a channel, whose events call back."""
    Take = Callable[[], GrantMapping]
    """Gives the ring page."""

Backend = TypeVar("Backend", Console, Connection)


class DomainEnds:
    """Makes them. `domid` is where the host is as far as guests can tell, and `events` are its event
    channels."""

    domid: int
    events: HostEvents

    def __init__(self, platform: Platform, store: Store, devices: DeviceHost) -> None:
        self._platform = platform
        self._store = store
        self._devices = devices

    def settle_in(self, domid: int) -> None:
        """The host is that domain from now on, without any ports."""
        self.domid = self._devices.domid = domid
        self.events = self._devices.events = HostEvents(self._platform.exchange, domid)

    def lay_ground(self, domain: Domain, max_port: int, limits: GrantLimits) -> None:
        """What every domain has before it has memory of its own."""
        domain.shared_info = domain.memory.share_xen_frame() << PAGE_SHIFT
        self._stand(domain, max_port, limits)
        write_wall_clock(self._platform.ram, domain.shared_info, self._platform.clock.wall_base())

    def resume_ground(
        self, domain: Domain, max_port: int, limits: GrantLimits, events: EventState, grants: GrantState
    ) -> None:
        """The same of a domain that was kept, in frames that it has already: its `shared_info` is known."""
        self._stand(domain, max_port, limits, events, grants)

    def _stand(
        self,
        domain: Domain,
        max_port: int,
        limits: GrantLimits,
        events: EventState | None = None,
        grants: GrantState | None = None,
    ) -> None:
        domain.devices = DomainDevices(self._devices, domain.domid)
        domain.events = EventChannels(
            domain.domid,
            self._platform.exchange,
            self._platform.ram,
            self._platform.memory,
            domain.shared_info,
            nr_vcpus=domain.memory.max_vcpus,
            max_port=max_port,
            privileged=domain.privileged,
            paused=lambda: domain.paused,
            wake=domain.wake,
            state=events,
        )
        domain.resources.callback(domain.events.destroy)
        domain.grants = GrantTable(domain.memory, self._platform.grants, limits, grants)
        domain.resources.callback(domain.grants.close)
        domain.resources.callback(release_mappings, domain.grants)
        domain.resources.callback(domain.devices.close)

    def map(self, domain: Domain, ref: int) -> GrantMapping:
        """The ring page of a reserved grant: while it is mapped, the guest cannot give it to others."""
        return domain.grants.map_for_backend(ref, writable=True, domid=self.domid)

    def open_console(self, domain: Domain, config: DomainConfig) -> HostEnd:
        """The host's end of its first console, which is closed after its backend. Raises ValueError."""
        spec = config.console or ConsoleSpec()
        end = domain.console_end = spec.open(self._devices, config.sink or domain.keep_output)
        domain.resources.callback(end.close)
        return end

    def give_console(self, domain: Domain, config: DomainConfig) -> None:
        """The control domain's console is the hypervisor's."""
        end = self.open_console(domain, config)
        console = ControlConsole(end.write, domain.events.raise_virq)
        domain.console = domain.hypervisor_console = console
        domain.resources.callback(end.finish)
        end.join(console)

    def serve_console(self, domain: Domain, end: HostEnd, take: Take, bind: Bind) -> Console:
        """The backend of its console, and where that is on the host."""
        make = partial(Console, sink=end.write, domid=domain.domid, observers=self._platform.bus.observers)
        console = self._backend(domain, bind, lambda port: make(self._page(domain, take), port))
        domain.console = console
        domain.resources.callback(end.finish)
        end.join(console)
        return console

    def serve_store(self, domain: Domain, take: Take, bind: Bind, *, resumed: bool = False) -> Connection:
        """The backend of its ring to xenstore; `resumed`: the page says already what that can do."""
        make = partial(Connection, self._store, domain.domid, bus=self._platform.bus, resumed=resumed)
        connection = self._backend(domain, bind, lambda port: make(page=self._page(domain, take), port=port))
        domain.store = connection
        return connection

    def _backend(self, domain: Domain, bind: Bind, make: Callable[[HostPort], Backend]) -> Backend:
        """A backend that does not exist before it has its own end of a channel. An event puts it on the
        bus."""
        made: list[Backend] = []
        bus = self._platform.bus
        backend = make(bind(lambda: bus.call(made[0]) if made else None))
        made.append(backend)
        domain.resources.callback(bus.remove, backend)
        domain.resources.callback(backend.close)
        return backend

    def _page(self, domain: Domain, take: Take) -> memoryview:
        mapping = take()
        domain.resources.callback(mapping.close)
        return mapping.page
