"""What a state says of several subsystems at once, and must be right before any of them relies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.event_channel import EVTCHN_FIFO_CONTROL_BLOCK, EVTCHN_FIFO_MAX_QUEUES
from paravane.abi.shared_info import VCPU_INFO
from paravane.abi.vcpu import Runstate
from paravane.events.port import State
from paravane.memory import saved as memory
from paravane.memory.frames import XEN_HEAP
from paravane.snapshot.errors import SnapshotError
from paravane.time.timers import NEVER
from paravane.traps.table import NR_VECTORS
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paravane.events.port import Port
    from paravane.memory import MachineMemory
    from paravane.snapshot.parts import Parts
    from paravane.snapshot.state import DomainSaved, MachineSaved
    from paravane.time.vcpu_time import VcpuTimeState
    from paravane.traps.callbacks import Callback
    from paravane.traps.saved import TrapsSaved
    from paravane.traps.table import Gate

_WORD: Final = 1 << 32
_LATEST: Final = NEVER // 2
"""Nanoseconds: no machine runs so long."""


def check_domains(parts: Parts, saved: MachineSaved) -> None:
    """Raises SnapshotError, or ValueError, where what domains have of memory or of each other cannot be."""
    machine = parts.platform.memory
    host = parts.toolstack.ends.domid
    ports: dict[int, Sequence[Port | None]] = {host: saved.host_ports}
    ports |= {kept.domid: kept.events.ports for kept in saved.domains}
    for kept in saved.domains:
        if len(kept.vcpus) != kept.life.config.vcpus:
            raise _contradiction(f"domain {kept.domid} has {len(kept.vcpus)} vcpus")
        _check_shared(machine, kept)
        _check_events(machine, kept)
        _check_ports(ports, kept.domid, len(kept.vcpus))
        memory.check_frames(machine, (active.mfn for active in kept.grants.active.values()))
        for vcpu in kept.vcpus:
            _check_traps(vcpu.traps)
            _check_time(saved.now, vcpu.time)
    _check_ports(ports, host, 1)


def check_numbers(saved: MachineSaved) -> None:
    """Raises SnapshotError where the machine's own numbers cannot be."""
    counts = (saved.now, saved.traps, saved.polling)
    if (
        not all(0 <= number < _LATEST for number in counts)
        or not 0 <= saved.last_domid < DomId.FIRST_RESERVED
    ):
        raise _contradiction("no machine runs so long")
    if not all(-_LATEST < deadline < NEVER for _, deadline in saved.timers.armed):
        raise _contradiction("a timer is armed for a time that never comes")


def _check_traps(traps: TrapsSaved) -> None:
    """What a vcpu has registered fits into where it is kept."""
    callbacks = traps.callbacks
    far: list[Gate | Callback] = [
        *traps.gates,
        callbacks.event,
        callbacks.failsafe,
        callbacks.sysenter,
        callbacks.syscall32,
    ]
    debug = traps.debug
    words = [*debug.address, debug.dr6, debug.dr7, debug.emulated, traps.kernel_sp, traps.cr2, traps.cr4]
    words += [traps.tsc_aux, traps.io_bitmap, traps.io_bitmap_ports, *(one.eip for one in far)]
    levels = [traps.iopl, *(gate.dpl for gate in traps.gates)]
    if len(traps.gates) != NR_VECTORS or len(debug.address) != 4:
        raise _contradiction(f"a trap table has {NR_VECTORS} gates, not {len(traps.gates)}")
    if not (_fit(words, 32) and _fit((traps.kernel_ss, *(one.cs for one in far)), 16) and _fit(levels, 2)):
        raise _contradiction("a trap leads nowhere")
    if not _fit([*traps.msrs, *traps.msrs.values()], 64):
        raise _contradiction("a register has 64 bits")


def _check_time(now: int, time: VcpuTimeState) -> None:
    """What a vcpu knows of time fits into the records that its guest reads."""
    record = time.run_states
    past = (record.state_entry_time, time.last_tick)
    if not all(0 <= one <= now for one in past) or not all(0 <= one < _LATEST for one in record.time):
        raise _contradiction(f"at {now} a vcpu remembers {max(past)}")
    if len(record.time) != len(Runstate) or not _fit((time.period, time.reads), 62):
        raise _contradiction("a vcpu has run in other ways than there are")
    if not -1 <= time.last_read < _LATEST or not _fit((time.run_state_area, time.time_area), 32):
        raise _contradiction("a record of time is beyond the address space")


def _fit(numbers: Iterable[int], bits: int) -> bool:
    return all(0 <= number < 1 << bits for number in numbers)


def _check_shared(machine: MachineMemory, kept: DomainSaved) -> None:
    """The hypervisor's frames that a domain shares are marked so."""
    frames = (kept.shared_info >> PAGE_SHIFT, *kept.grants.frames, *kept.grants.status_frames)
    if kept.shared_info % PAGE_SIZE or not all(machine.frames.flags[mfn] & XEN_HEAP for mfn in frames):
        raise _contradiction(f"domain {kept.domid} shares frames that are its own")


def _check_events(machine: MachineMemory, kept: DomainSaved) -> None:
    """Wherever the hypervisor writes of events is a frame that the domain has, and that is held."""
    events, shared = kept.events, kept.shared_info >> PAGE_SHIFT
    nr_vcpus = len(kept.vcpus)
    if len(events.vcpu_infos) != nr_vcpus or not all(0 <= vcpu_id < nr_vcpus for vcpu_id in events.pollers):
        raise _contradiction(f"domain {kept.domid} has no {len(events.vcpu_infos)} places of vcpus")
    places = [(maddr, VCPU_INFO.size) for maddr in events.vcpu_infos if maddr is not None]
    if events.fifo is not None:
        fifo = events.fifo
        queues = nr_vcpus * EVTCHN_FIFO_MAX_QUEUES
        if len(fifo.control_blocks) != nr_vcpus or len(fifo.tails) != queues:
            raise _contradiction(f"domain {kept.domid} has queues of events for other vcpus")
        if not all(0 <= queue < queues for queue in fifo.queues.values()):
            raise _contradiction(f"a port of domain {kept.domid} is in no queue")
        places += [(maddr, EVTCHN_FIFO_CONTROL_BLOCK.size) for maddr in fifo.control_blocks if maddr]
        places += [(mfn << PAGE_SHIFT, PAGE_SIZE) for mfn in fifo.array]
    for maddr, size in places:
        mfn, offset = maddr >> PAGE_SHIFT, maddr % PAGE_SIZE
        memory.check_own(machine, (mfn,), kept.domid)
        if offset & 3 or offset + size > PAGE_SIZE or not (mfn == shared or machine.held_writable[mfn]):
            raise _contradiction(f"nothing of domain {kept.domid} can be at {maddr:#x}")


def _check_ports(ports: Mapping[int, Sequence[Port | None]], domid: int, nr_vcpus: int) -> None:
    """Each end of a channel has another one, which says the same."""
    if not ports[domid]:
        raise _contradiction(f"domain {domid} has no port 0")
    for number, port in enumerate(ports[domid]):
        if port is None:
            continue
        if not 0 <= port.vcpu_id < nr_vcpus or not 0 <= port.virq < _WORD:
            raise _contradiction(f"port {number} of domain {domid} notifies nobody")
        if port.state is State.INTERDOMAIN:
            others = ports.get(port.remote_domid, ())
            other = others[port.remote_port] if 0 <= port.remote_port < len(others) else None
            if other is None or (other.state, other.remote_domid, other.remote_port) != (
                State.INTERDOMAIN,
                domid,
                number,
            ):
                raise _contradiction(f"port {number} of domain {domid} has no other end")


def _contradiction(sentence: str) -> SnapshotError:
    return SnapshotError(f"the snapshot contradicts itself: {sentence}")
