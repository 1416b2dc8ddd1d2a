"""A machine as plain state. Whatever cannot be kept of it yet is named, and nothing is saved then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from paravane.cpu import saved as processors
from paravane.devices.console import Console
from paravane.devices.xenbus.attachment import Attachment
from paravane.events import HostPort
from paravane.grants.mapping import giver_of
from paravane.hypervisor_console import HypervisorConsole
from paravane.memory import saved as memory
from paravane.registry import CONTROL_DOMID
from paravane.sched import Interleaved
from paravane.snapshot.devices import save_devices, save_network
from paravane.snapshot.errors import SnapshotError
from paravane.snapshot.pages import save_pages
from paravane.snapshot.state import (
    CONSOLE,
    POLICY_STATES,
    STORE,
    ChanceSaved,
    ConfigSaved,
    DomainSaved,
    Kind,
    LifeSaved,
    MachineSaved,
    ShareSaved,
    VcpuSaved,
)
from paravane.text import shown
from paravane.time.clock import VirtualClock
from paravane.traps.saved import save_peripherals
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.devices.bus import Backend, Port
    from paravane.devices.xenstore import Connection
    from paravane.devices.xenstore.connection import ConnectionState
    from paravane.domain import Domain
    from paravane.domain_config import DomainConfig
    from paravane.snapshot.parts import Parts
    from paravane.vcpu import Vcpu


def save(parts: Parts, *, debugged: bool = False) -> MachineSaved:
    """The state of a machine between two slices. Raises SnapshotError, a sentence, for what cannot be saved;
    with `debugged`, for who takes its debuggers along himself, it may have some."""
    platform, loop, policy = parts.platform, parts.loop, parts.policy
    _check(parts, debugged=debugged)
    if type(policy) not in POLICY_STATES:
        raise SnapshotError(f"the state of the scheduling policy {policy.name} cannot be saved")
    used = loop.scheduler.policy
    domains = parts.registry.present
    return MachineSaved(
        kind=Kind(
            platform.ram.nr_frames << PAGE_SHIFT,
            parts.seed,
            parts.slice_instructions,
            platform.debug,
            policy.name,
            parts.variation,
        ),
        now=platform.clock.now(),
        traps=platform.traps,
        last_domid=parts.registry.last,
        polling=loop.polling,
        # The processors first: what they have collected is put into their engines, and no frame is changed.
        domains=tuple(_domain(parts, domain) for domain in domains.values()),
        memory=memory.save(platform.memory),
        pages=save_pages(platform.memory),
        host_ports=parts.toolstack.ends.events.ports.save(),
        store=parts.toolstack.store.save(),
        console_ring=platform.console_ring.save(),
        flows=platform.trace.flows,
        timers=platform.timers.save(),
        policy=cast("Any", policy).save(loop.scheduler.numbers()),
        interleaved=used.save() if isinstance(used, Interleaved) else None,
        scheduler=loop.scheduler.save(),
        due=tuple(
            (domid, _called(domains[domid], backend))
            for domid, due in platform.bus.due.items()
            for backend in due
        ),
        network=save_network(parts.toolstack.devices),
        chance=ChanceSaved(
            None if platform.timers.late is None else platform.timers.late.save(),
            None if parts.faults is None else parts.faults.save(),
        ),
    )


def _check(parts: Parts, *, debugged: bool) -> None:
    """Raises SnapshotError for a machine of which something cannot be kept."""
    if type(parts.platform.clock) is not VirtualClock:
        raise SnapshotError(
            "a machine cannot be saved while its time is the host's: only virtual time stands still"
        )
    present = parts.registry.present
    if CONTROL_DOMID in present or parts.toolstack.ends.domid != CONTROL_DOMID:
        raise SnapshotError("a machine with a guest as its control domain cannot be saved yet")
    gone = [domain.domid for domain in parts.registry if domain.domid not in (CONTROL_DOMID, *present)]
    if gone:
        raise SnapshotError(
            f"domain {gone[0]} is gone and others still hold frames of it: that cannot be saved yet"
        )
    modelled = [domid for domid, domain in present.items() if domain.tlb is not None]
    if modelled:
        raise SnapshotError(f"domain {modelled[0]} has a modelled TLB, which cannot be saved yet")
    if parts.platform.bus.host_works:
        raise SnapshotError("the host still works for a guest: that cannot be saved")
    if parts.toolstack.store.untold:
        raise SnapshotError("a backend is still to hear of a change in xenstore: that cannot be saved")
    for domain in present.values():
        _check_domain(parts, domain)
        if not debugged:
            _check_unwatched(domain)


def _check_unwatched(domain: Domain) -> None:
    if domain.debugger is not None or any(vcpu.cpu.debuggers.attached for vcpu in domain.vcpus):
        raise SnapshotError(
            f"a debugger looks at {shown(domain.name)}, or somebody follows it: it cannot be saved meanwhile"
        )


def _check_domain(parts: Parts, domain: Domain) -> None:
    name = shown(domain.name)
    console = parts.lives.config(domain).console
    if console is not None and (console.end, console.log, console.tap) != (None, None, None):
        raise SnapshotError(f"the console of {name} is not on standard output alone: it cannot be saved yet")
    if not isinstance(domain.console, Console) or domain.store is None or len(domain.vcpus) == 0:
        raise SnapshotError(f"{name} was made without a console or xenstore: it cannot be saved yet")


def _domain(parts: Parts, domain: Domain) -> DomainSaved:
    lives = parts.lives
    console, store, limit = domain.console, domain.store, domain.log.limit
    assert isinstance(console, Console)
    assert store is not None
    hypervisor_console = domain.hypervisor_console
    assert isinstance(hypervisor_console, HypervisorConsole)
    born, quick = lives.age(domain)
    share = domain.share
    return DomainSaved(
        domid=domain.domid,
        name=domain.name,
        handle=domain.handle.bytes,
        life=LifeSaved(domain.image.elf.data, _config(lives.config(domain)), born, quick),
        share=ShareSaved(share.weight, share.cap, share.warp, share.warp_limit, share.unwarp),
        online_vcpus=domain.online_vcpus,
        shared_info=domain.shared_info,
        state=domain.state,
        memory=domain.memory.save(),
        events=domain.events.save_state(),
        grants=domain.grants.state,
        maptrack=domain.grants.maptrack.save(lambda mapped: giver_of(domain.grants, mapped) is not None),
        peripherals=save_peripherals(domain.peripherals),
        watchdogs=domain.watchdogs.state,
        log=limit.save(),
        line=hypervisor_console.line,
        console_port=_number(console.port),
        console=console.save(),
        store_port=_number(store.port),
        store=_connection(store),
        devices=save_devices(domain),
        introduced=parts.toolstack.store.introduced(domain.domid) is store,
        vcpus=tuple(_vcpu(vcpu) for vcpu in domain.vcpus),
    )


def _connection(store: Connection) -> ConnectionState:
    try:
        return store.save()
    except ValueError as error:
        raise SnapshotError(f"{error}: it cannot be saved before that has ended") from None


def _number(port: Port) -> int:
    """Of the host's end of a channel; 0 for one that was given up."""
    assert isinstance(port, HostPort)
    return port.port


def _vcpu(vcpu: Vcpu) -> VcpuSaved:
    return VcpuSaved(
        processor=processors.save(vcpu.cpu),
        paging=vcpu.paging.save(),
        time=vcpu.time.save(),
        traps=vcpu.traps.save(),
        waiting=vcpu.run_state.waiting,
        info_moved=vcpu.info_moved,
        computes=vcpu.computes,
    )


def _config(config: DomainConfig) -> ConfigSaved:
    return ConfigSaved(
        name=config.name,
        memory=config.memory,
        vcpus=config.vcpus,
        cmdline=config.cmdline,
        ramdisk=config.ramdisk,
        max_memory=config.max_memory,
        on_end=config.on_end,
        max_event_channels=config.max_event_channels,
        grants=config.grants,
        weight=config.weight,
        cap=config.cap,
        online_vcpus=config.online_vcpus,
        log_rate=config.log_rate,
    )


def _called(domain: Domain, backend: Backend) -> str:
    """What a backend of the domain's is called."""
    if isinstance(backend, Attachment):
        return backend.name
    return STORE if backend is domain.store else CONSOLE
