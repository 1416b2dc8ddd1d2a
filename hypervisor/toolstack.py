"""What the control domain does around a guest: make it, connect console and store, take it away again."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from paravane import contents
from paravane.abi.errno import Errno
from paravane.abi.event_channel import Virq
from paravane.abi.grant_table import GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE
from paravane.builder import amount
from paravane.classes import dataclass
from paravane.cpu.geometry import PAE
from paravane.devices.console import Console, NoConsole
from paravane.devices.xenbus import DeviceHost
from paravane.devices.xenstore import Connection, Store, domain_path, forget_domain, populate_domain
from paravane.domain import Domain
from paravane.domain_ends import DomainEnds
from paravane.hypercalls import Caller, Dispatcher
from paravane.hypercalls.version import CONSTANT_ANSWERS
from paravane.image import ImageError
from paravane.image.source_text import SourceText
from paravane.image.unknown import unknown_image
from paravane.memory import DomainMemory
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID, HOST_DOMID
from paravane.sched import Share
from paravane.trace import DomainEvent
from paravane.vcpu import Vcpu
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.builder import Rings
    from paravane.control_plane import ControlPlane, NewDomain
    from paravane.devices.xenbus.host import Outside
    from paravane.domain_config import DomainConfig
    from paravane.events.port_table import PortTable
    from paravane.image import Image
    from paravane.migration import Loaded
    from paravane.platform import Platform
    from paravane.registry import Registry
    from paravane.tlb.spec import TlbSpec
    from paravane.vcpu import Hypercalls

    _Fill = Callable[[Domain, int, int], Rings]
    """Gives a domain its memory and its vcpus their state, by the ports of its console and its store."""

log = logging.getLogger(__name__)

SLACK_PAGES = 256
"""Pages a domain may have beyond its `memory=`: xl allows 1 MiB more (LIBXL_MAXMEM_CONSTANT)."""

Backend = TypeVar("Backend", Console, Connection)


@dataclass(frozen=True, slots=True)
class ControlDomain:
    """The host as guests meet it: domain 0, or a driver domain where a guest is the control domain. It has no
    memory of the machine, and grants nothing."""

    events: PortTable
    domid: int = CONTROL_DOMID
    memory: None = None
    grants: None = None


class Toolstack:
    """What the control domain of one machine has: xenstore, and the host's ends of the guests' event
    channels. It makes domains and takes them away.

    `control` is what the machine does for a control domain among its guests.
    """

    control: ControlPlane

    def __init__(
        self,
        platform: Platform,
        registry: Registry[Domain, ControlDomain],
        outside: Outside,
        *,
        counted: bool = False,
    ) -> None:
        """`outside` is how host files and threads reach the machine; a `counted` run is a function of its
        input alone."""
        self._platform = platform
        self._registry = registry
        self.store = Store(observers=platform.bus.observers)
        self._devices = DeviceHost(
            store=self.store,
            bus=platform.bus,
            domains=platform.domains,
            clock=platform.clock,
            timers=platform.timers,
            outside=outside,
            counted=counted,
        )
        self.ends = DomainEnds(platform, self.store, self._devices)
        self._enter_host(CONTROL_DOMID)
        self.store.introduce_again = self._introduce_again

    @property
    def devices(self) -> DeviceHost:
        """What the devices of its domains work with."""
        return self._devices

    def _enter_host(self, domid: int) -> None:
        self.ends.settle_in(domid)
        self._registry.enter(ControlDomain(self.ends.events.ports, domid))

    def close(self) -> None:
        """The machine is closed, and its domains are: let go of what their devices had of the host."""
        self._devices.close()

    def _free_control_domid(self) -> int:
        """The control domain's number, for a guest: the first one, or another life of that. Raises
        ValueError."""
        if self.ends.domid == CONTROL_DOMID and self._registry.empty:
            self._registry.leave(CONTROL_DOMID)
            self._enter_host(HOST_DOMID)
        if self._registry.find(CONTROL_DOMID) is not None:
            raise ValueError("the control domain has to be the first domain of a machine, and its only one")
        return CONTROL_DOMID

    def create(self, image: Image, config: DomainConfig) -> Domain:
        """A domain at its start of day, its first vcpu ready to run. Raises ValueError for a control domain
        that is not the first and for a device that cannot be had, ImageError when the image does not fit into
        its memory, MemoryError when the domain does not fit into the machine, and leaves nothing behind then.
        """
        return self._whole(image, config, partial(contents.of_image, image, config))

    def restore(self, loaded: Loaded, config: DomainConfig) -> Domain:
        """A domain that was saved (`paravane.migration.load`), its vcpus where they were. Raises StreamError
        for one that cannot run here, ValueError for a device that cannot be had, MemoryError when it does not
        fit into the machine, and leaves nothing behind then."""
        domain = self._whole(unknown_image(), config, partial(contents.as_saved, loaded))
        domain.handle = loaded.settings.handle
        return domain

    def _whole(self, image: Image, config: DomainConfig, fill: _Fill) -> Domain:
        try:
            return self._create(image, config, fill)
        except MemoryError as error:
            size = amount(config.memory >> PAGE_SHIFT)
            raise MemoryError(f"a domain of {size} does not fit into this machine: {error}") from None

    def found(self, wanted: NewDomain) -> Domain:
        """A domain without memory, vcpus, console and store: what it is to be, the control domain makes of
        it. Raises ValueError when its number is taken, or all are, and MemoryError; leaves nothing behind
        then."""
        domid = self._registry.free_domid() if wanted.domid is None else wanted.domid
        memory = DomainMemory(
            self._platform.memory, domid, PAE, max_pages=0, max_vcpus=wanted.max_vcpus, privileged=False
        )
        domain = Domain(self._platform, domid, f"Domain-{domid}", unknown_image(), memory)
        domain.handle = wanted.handle
        self._registry.enter(domain)
        domain.console = NoConsole()
        try:
            self.ends.lay_ground(domain, wanted.max_port, wanted.grants)
            domain.tell(DomainEvent.BUILT)
        except BaseException:
            self.destroy(domain)
            raise
        return domain

    def add_vcpu(self, domain: Domain, vcpu_id: int) -> Vcpu:
        """The next vcpu of a domain, without a context."""
        return domain.add_vcpu(self._vcpu(domain, vcpu_id))

    def _create(self, image: Image, config: DomainConfig, fill: _Fill) -> Domain:
        if config.tlb is not None:
            _check_tlb(image, config.tlb)
        domid = self._free_control_domid() if config.privileged else self._registry.free_domid()
        nr_pages = config.memory >> PAGE_SHIFT
        memory = DomainMemory(
            self._platform.memory,
            domid,
            image.geometry,
            max_pages=nr_pages + SLACK_PAGES,
            memory_map_pages=config.most_memory >> PAGE_SHIFT,
            max_vcpus=config.vcpus,
            privileged=config.privileged,
        )
        memory.target = nr_pages
        share = Share(config.weight, config.cap)
        domain = Domain(self._platform, domid, config.name, image, memory, share, config.log_rate)
        domain.max_memory = config.most_memory
        domain.online_vcpus = config.online_vcpus
        domain.tlb = config.tlb
        self._registry.enter(domain)
        domain.sources = SourceText(config.source_folders) if config.source_text else None
        try:
            self._build(domain, config, fill)
            domain.tell(DomainEvent.BUILT)
            self._platform.trace.raise_failure()
        except BaseException:
            self.destroy(domain)
            raise
        return domain

    def ring(self, domain: Domain, port: int) -> bool:
        """Fire a port of the domain's that it has allocated for the host: whether it is one."""
        try:
            bound = self.ends.events.bind(domain.domid, port, _nothing)
        except Refusal as refusal:
            log.info("domain %d has no port %d to be rung at: %s", domain.domid, port, refusal)
            return False
        bound.notify()
        bound.close()
        return True

    def destroy(self, domain: Domain) -> None:
        """Take a domain away with everything it had; completely, even when a console sink, a trace subscriber
        or a watch that hears of it raises, which comes out after that."""
        with ExitStack() as steps:  # taken from the last to the first, whichever of them raises
            steps.callback(self._platform.trace.raise_failure)
            # Whoever released it from xenstore has left what it did not own.
            if not domain.privileged and self.store.find(domain_path(domain.domid)) is not None:
                steps.callback(forget_domain, self.store, domain.domid)
            steps.callback(domain.tell, DomainEvent.DESTROYED)
            steps.callback(self._platform.exchange.raise_global, Virq.DOM_EXC)
            steps.callback(domain.memory.destroy)
            steps.callback(domain.close)

    def _build(self, domain: Domain, config: DomainConfig, fill: _Fill) -> None:
        ends = self.ends
        ends.lay_ground(domain, config.max_event_channels, config.grants)
        # In the order of xl, whose guests find the store at port 1 and the console at port 2.
        rings = not config.privileged
        store_port = ends.events.ports.alloc_unbound(domain.domid, ends.domid) if rings else 0
        console_port = ends.events.ports.alloc_unbound(domain.domid, ends.domid) if rings else 0
        for vcpu_id in range(config.vcpus):
            self.add_vcpu(domain, vcpu_id)
        frames = fill(domain, console_port, store_port)
        if rings:
            self._connect(domain, config, frames, console_port, store_port)
        else:
            ends.give_console(domain, config)

    def _connect(
        self, domain: Domain, config: DomainConfig, frames: Rings, console_port: int, store_port: int
    ) -> None:
        """Its rings and its nodes in xenstore."""
        ends = self.ends
        domain.grants.reserve(GNTTAB_RESERVED_CONSOLE, frames.console_mfn, ends.domid)
        domain.grants.reserve(GNTTAB_RESERVED_XENSTORE, frames.store_mfn, ends.domid)
        populate_domain(
            self.store,
            domain.domid,
            domain.name,
            config.memory >> 10,
            max_memory_kib=config.most_memory >> 10,
            vcpus=[vcpu_id < config.online for vcpu_id in range(config.vcpus)],
            console_mfn=frames.console_mfn,
            console_port=console_port,
            store_mfn=frames.store_mfn,
            store_port=store_port,
        )
        bind, take = partial(ends.events.bind, domain.domid), partial(ends.map, domain)
        end = ends.open_console(domain, config)
        self.store.write(f"{domain_path(domain.domid)}/console/tty", end.tty)  # as xenconsoled does
        ends.serve_console(domain, end, partial(take, GNTTAB_RESERVED_CONSOLE), partial(bind, console_port))
        store = ends.serve_store(domain, partial(take, GNTTAB_RESERVED_XENSTORE), partial(bind, store_port))
        for device in config.devices:
            domain.devices.attach(device)
        self.store.introduce(domain.domid, store)

    def _introduce_again(self, domid: int, port: int) -> None:
        """Connect a domain to xenstore over another of its ports, as an administrator asks: its ring is where
        it was. Raises Refusal(EINVAL) for a domain that was made without one, and Refusal for a port that
        does not wait for the host; but one that had been introduced is then left without a port, as by
        xenstored."""
        domain = self._registry.find(domid)
        connection = domain.store if isinstance(domain, Domain) else None
        if connection is None or connection.closed:  # others may hold frames of one that is gone
            raise Refusal(Errno.EINVAL, f"there is no domain {domid} that has a ring of xenstore's")
        bind = partial(self.ends.events.bind, domid, port, partial(self._platform.bus.call, connection))
        if self.store.introduced(domid) is None:
            connection.introduce(bind())
            return
        connection.disconnect()
        try:
            connection.introduce(bind())
        except Refusal as refusal:
            log.warning("domain %d has no port to xenstore any more: %s", domid, refusal)
            connection.introduce(None)

    def _vcpu(self, domain: Domain, vcpu_id: int) -> Vcpu:
        def hypercalls(vcpu: Vcpu) -> Hypercalls:
            return Dispatcher(Caller(self._platform, domain, vcpu, self.control)).call

        return Vcpu(self._platform, domain, vcpu_id, hypercalls, CONSTANT_ANSWERS)


def _check_tlb(image: Image, tlb: TlbSpec) -> None:
    """Raises ImageError for a kernel that cannot run on a processor with this TLB."""
    from paravane.abi.tlb import TLB_USER_END, TlbKind  # noqa: PLC0415 - loaded for who asks for it only

    if image.geometry.name != PAE.name:
        raise ImageError("a modelled TLB is for kernels with PAE, and this one has tables of two levels")
    if tlb.kind is TlbKind.software and image.virt_base < TLB_USER_END:
        raise ImageError(
            f"a kernel that refills its TLB has to be where nothing is missed, from {TLB_USER_END:#x} on, "
            f"and this one is at {image.virt_base:#x}"
        )


def _nothing() -> None:
    """For a port that is only rung: nobody rings back."""
