"""A machine made of plain state, in a machine that is new and has no domains yet."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from paravane.abi.domid import DomId
from paravane.abi.grant_table import GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE
from paravane.cpu import EngineError
from paravane.cpu import saved as processors
from paravane.devices.console import Console
from paravane.domain import Domain
from paravane.domain_config import DomainConfig
from paravane.grants.audit import audit_grants
from paravane.grants.use import GrantState
from paravane.hypervisor_console import HypervisorConsole
from paravane.image import ImageError, load_image
from paravane.memory import DomainMemory, audit
from paravane.memory import saved as memory
from paravane.platform import TRAPS
from paravane.refusal import Refusal
from paravane.sched import Interleaved, Share
from paravane.snapshot import checks
from paravane.snapshot.devices import restore_devices, restore_network
from paravane.snapshot.errors import SnapshotError
from paravane.snapshot.pages import load_pages
from paravane.snapshot.state import CONSOLE, POLICY_STATES, STORE
from paravane.text import shown
from paravane.time.clock import VirtualClock
from paravane.traps.saved import restore_peripherals
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paravane.devices.block import Disk
    from paravane.devices.bus import Backend
    from paravane.devices.console import Sink
    from paravane.grants import GrantMapping
    from paravane.grants.maptrack import KeptGrant
    from paravane.snapshot.parts import Parts
    from paravane.snapshot.state import ChanceSaved, ConfigSaved, DomainSaved, MachineSaved, VcpuSaved
    from paravane.vcpu import Vcpu

_CONTRADICTIONS: Final = (
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    Refusal,
    EngineError,
    ImageError,
)
"""What numbers that nobody has saved lead to, wherever they are taken for something."""


def restore(
    parts: Parts,
    saved: MachineSaved,
    sinks: Mapping[str, Sink],
    disks: Mapping[str, Sequence[Disk]] | None = None,
    *,
    trusted: bool = False,
) -> None:
    """Have a machine that was made as `saved` says go on where that one was. `sinks` take the console output
    of domains, by name; the others keep it; `disks` are those of theirs that stand on files. `trusted`: what
    it says of frames is not looked at twice. Raises SnapshotError for a state that contradicts itself, and
    MemoryError; the machine is good for nothing then but to be closed."""
    try:
        with ExitStack() as unfinished:
            _restore(parts, saved, sinks, disks or {}, unfinished)
            unfinished.pop_all()
        if not trusted:
            _audit(parts)
    except SnapshotError:
        raise
    except _CONTRADICTIONS as error:
        raise SnapshotError(f"the snapshot contradicts itself: {shown(str(error))[:200]}") from error


def _restore(
    parts: Parts,
    saved: MachineSaved,
    sinks: Mapping[str, Sink],
    disks: Mapping[str, Sequence[Disk]],
    unfinished: ExitStack,
) -> None:
    """`unfinished` closes what is not the machine's yet, should it come to that."""
    platform, loop = parts.platform, parts.loop
    machine = platform.memory
    assert isinstance(platform.clock, VirtualClock)
    checks.check_numbers(saved)
    platform.clock.cell[0] = saved.now
    platform.counts[TRAPS] = saved.traps
    memory.restore(machine, saved.memory)
    load_pages(machine, saved.pages)
    for tables in saved.memory.m2p_tables.values():
        memory.check_own(machine, tables, DomId.XEN)
    machine.remake_own(saved.memory.m2p_tables)
    parts.toolstack.store.restore(saved.store)
    parts.toolstack.ends.events.ports.restore(saved.host_ports)
    domains = [_found(parts, kept, sinks) for kept in saved.domains]
    parts.registry.last = saved.last_domid
    checks.check_domains(parts, saved)
    for domain, kept in zip(domains, saved.domains, strict=True):
        unfinished.callback(domain.close)
        _furnish(parts, domain, kept, disks.get(kept.name, ()))
    _restore_schedule(parts, saved)
    _restore_chance(parts, saved.chance)
    platform.console_ring.restore(saved.console_ring)
    platform.trace.flows = saved.flows
    restore_network(parts.toolstack.devices, saved.network)
    platform.timers.restore(saved.timers)
    loop.polling = saved.polling
    for domid, name in saved.due:
        platform.bus.call(_backend(parts.registry.present[domid], name))


def _backend(domain: Domain, name: str) -> Backend:
    """Raises LookupError for one that the domain has not."""
    backends = {one.name: one for one in domain.devices} | {CONSOLE: domain.console, STORE: domain.store}
    return cast("Backend", backends[name])


def _audit(parts: Parts) -> None:
    """Raises SnapshotError where the frame table says something else than the page tables."""
    differences = audit(parts.platform.memory) + audit_grants(parts.platform.grants)
    if differences:
        raise SnapshotError(f"the snapshot contradicts itself: {differences[0]}")


def _restore_schedule(parts: Parts, saved: MachineSaved) -> None:
    scheduler, policy = parts.loop.scheduler, parts.policy
    state: Any = saved.policy
    if type(state) is not POLICY_STATES.get(type(policy)):
        raise SnapshotError(f"the snapshot contradicts itself: it has no state of the policy {policy.name}")
    cast("Any", policy).restore(state, tuple(scheduler.numbers()))
    if isinstance(scheduler.policy, Interleaved):
        if saved.interleaved is None:
            raise SnapshotError("the snapshot contradicts itself: it has no state of turns of chance")
        scheduler.policy.restore(saved.interleaved)
    scheduler.restore(saved.scheduler)


def _restore_chance(parts: Parts, chance: ChanceSaved) -> None:
    """Raises ValueError for the state of other chances than the machine has."""
    timers, faults = parts.platform.timers.late, parts.faults
    if (timers is None) != (chance.timers is None) or (faults is None) != (chance.faults is None):
        raise ValueError("other things are left to chance")
    if timers is not None and chance.timers is not None:
        timers.restore(chance.timers)
    if faults is not None and chance.faults is not None:
        faults.restore(chance.faults)


def _found(parts: Parts, kept: DomainSaved, sinks: Mapping[str, Sink]) -> Domain:
    """A domain with memory, event channels and grants, by which others find it."""
    image = load_image(kept.life.image)
    config = _config(kept.life.config, sinks.get(kept.name))
    machine = parts.platform.memory
    memory.check_own(machine, kept.memory.area_tables, DomId.XEN)
    memory.check_own(machine, (kept.shared_info >> PAGE_SHIFT, *kept.grants.frames), kept.domid)
    memory.check_own(machine, kept.grants.status_frames, kept.domid)
    own = DomainMemory(
        machine,
        kept.domid,
        image.geometry,
        max_pages=kept.memory.max_pages,
        max_vcpus=config.vcpus,
        area_tables=kept.memory.area_tables,
    )
    own.restore(kept.memory)
    share = Share(
        kept.share.weight,
        kept.share.cap,
        warp=kept.share.warp,
        warp_limit=kept.share.warp_limit,
        unwarp=kept.share.unwarp,
    )
    domain = Domain(parts.platform, kept.domid, kept.name, image, own, share, config.log_rate)
    domain.handle = UUID(bytes=kept.handle)
    domain.online_vcpus, domain.shared_info, domain.state = kept.online_vcpus, kept.shared_info, kept.state
    parts.registry.enter(domain)
    parts.toolstack.ends.resume_ground(
        domain, config.max_event_channels, config.grants, kept.events, kept.grants
    )
    parts.lives.resume(domain, image, config, kept.life.born, kept.life.quick)
    return domain


def _furnish(parts: Parts, domain: Domain, kept: DomainSaved, disks: Sequence[Disk]) -> None:
    """All else, which may name other domains."""
    domain.grants.maptrack.restore(kept.maptrack, partial(_giver, parts))
    restore_peripherals(domain.peripherals, kept.peripherals)
    domain.watchdogs.restore(kept.watchdogs)
    domain.log.limit.restore(kept.log)
    console = domain.hypervisor_console
    assert isinstance(console, HypervisorConsole)
    console.line = kept.line
    for vcpu_id, vcpu in enumerate(kept.vcpus):
        _restore_vcpu(parts.toolstack.add_vcpu(domain, vcpu_id), vcpu)
    _connect(parts, domain, kept)
    restore_devices(domain, kept.devices, disks)
    parts.registry.begin(domain)
    for one in domain.vcpus:
        parts.loop.scheduler.add(one)


def _restore_vcpu(vcpu: Vcpu, kept: VcpuSaved) -> None:
    vcpu.paging.restore(kept.paging)
    vcpu.time.restore(kept.time)
    vcpu.traps.restore(kept.traps)
    vcpu.run_state.restore(kept.waiting)
    if kept.info_moved:
        vcpu.resume_info()
    vcpu.computes = kept.computes
    processors.restore(vcpu.cpu, kept.processor)


def _connect(parts: Parts, domain: Domain, kept: DomainSaved) -> None:
    """The backends of its rings, each over the page and the port that it had."""
    ends, grants = parts.toolstack.ends, domain.grants
    end = ends.open_console(domain, parts.lives.config(domain))

    def take(ref: int) -> Callable[[], GrantMapping]:
        return partial(grants.resume_for_backend, ref, writable=True)

    console = ends.serve_console(
        domain, end, take(GNTTAB_RESERVED_CONSOLE), partial(ends.events.resume, kept.console_port)
    )
    assert isinstance(console, Console)
    console.restore(kept.console)
    store = ends.serve_store(
        domain, take(GNTTAB_RESERVED_XENSTORE), partial(ends.events.resume, kept.store_port), resumed=True
    )
    store.restore(kept.store)
    if kept.introduced:
        parts.toolstack.store.resume_connection(domain.domid, store)


def _giver(parts: Parts, kept: KeptGrant) -> GrantState:
    """The table of the domain that granted something; that of nobody, once it is gone."""
    table = parts.platform.grants.table_of(kept.domid) if kept.alive else None
    if table is not None and kept.ref not in table.state.active:
        raise SnapshotError(f"the snapshot contradicts itself: grant {kept.ref} is mapped and not in use")
    return GrantState(closed=True) if table is None else table.state


def _config(kept: ConfigSaved, sink: Sink | None) -> DomainConfig:
    return DomainConfig(**{one.name: getattr(kept, one.name) for one in fields(kept)}, sink=sink)
