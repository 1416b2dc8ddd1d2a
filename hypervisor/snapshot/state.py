"""All that a machine is, as plain state: what a snapshot holds."""

from collections.abc import Mapping
from typing import Final

from paravane.abi.e820 import E820Entry
from paravane.abi.sched import ShutdownReason
from paravane.abi.trap import CpuUserRegs
from paravane.abi.vcpu import VcpuRunstateInfo
from paravane.abi.xenbus import XenbusState
from paravane.classes import dataclass
from paravane.cpu.saved import ProcessorSaved
from paravane.devices.block.late import LateRequest
from paravane.devices.block.request import Request
from paravane.devices.console.ring_console import ConsoleState
from paravane.devices.net.state import NetworkState
from paravane.devices.shared_ring import RingState
from paravane.devices.xenbus.frontend import FrontendState
from paravane.devices.xenstore import Node, Permission, Quota, StoreState
from paravane.devices.xenstore.connection import ConnectionState
from paravane.devices.xenstore.node_index import IndexState
from paravane.domain import DomainState
from paravane.events import EventState
from paravane.events.fifo import FifoState
from paravane.events.port import Port
from paravane.faults import FaultsState
from paravane.grants import GrantLimits
from paravane.grants.maptrack import MaptrackState
from paravane.grants.use import GrantState
from paravane.hypervisor_console import ConsoleRingState
from paravane.log_limit import LineLimitState, LogRate
from paravane.memory.pool import PoolState
from paravane.memory.saved import DomainMemoryState, InstalledState, MemoryState
from paravane.on_end import OnEnd
from paravane.run_state import Waiting
from paravane.sched import BorrowedVirtualTime, Credit, RoundRobin
from paravane.sched.bvt import BvtState
from paravane.sched.credit import CreditState
from paravane.sched.interleaved import InterleavedState
from paravane.sched.round_robin import RoundRobinState
from paravane.scheduler import SchedulerState
from paravane.snapshot.codec import Codec
from paravane.snapshot.device_state import DeviceSaved
from paravane.snapshot.pages import Pages
from paravane.time.timers import TimersState
from paravane.time.vcpu_time import VcpuTimeState
from paravane.trace.stream import Flows
from paravane.traps.callbacks import Callbacks
from paravane.traps.debug import DebugRegisters
from paravane.traps.saved import PeripheralsSaved, TrapsSaved
from paravane.traps.table import Gate
from paravane.variation import Variation
from paravane.watchdog import WatchdogState


@dataclass(frozen=True, slots=True)
class VcpuSaved:
    """A vcpu. `computes` is what the last slices told of it, where slices are not counted."""

    processor: ProcessorSaved
    paging: InstalledState
    time: VcpuTimeState
    traps: TrapsSaved
    waiting: Waiting
    info_moved: bool
    computes: bool


@dataclass(frozen=True, slots=True)
class ConfigSaved:
    """What a domain is made of in each of its lives, but for what is the host's: see `DomainConfig`."""

    name: str
    memory: int
    vcpus: int
    cmdline: str
    ramdisk: bytes | None
    max_memory: int | None
    on_end: OnEnd
    max_event_channels: int
    grants: GrantLimits
    weight: int
    cap: int
    online_vcpus: int | None
    log_rate: LogRate


@dataclass(frozen=True, slots=True)
class ShareSaved:
    """What a domain may have of the processor: see `Share`."""

    weight: int
    cap: int
    warp: int
    warp_limit: int
    unwarp: int


@dataclass(frozen=True, slots=True)
class LifeSaved:
    """A domain's present life: its image (an ELF file), what it was made as, when it began, after how many
    quick ones."""

    image: bytes
    config: ConfigSaved
    born: int
    quick: int


@dataclass(frozen=True, slots=True)
class DomainSaved:
    """A domain. `shared_info` is a machine address; the ports are the host's ends; `line` is what it has
    begun to write on the hypervisor's console."""

    domid: int
    name: str
    handle: bytes
    life: LifeSaved
    share: ShareSaved
    online_vcpus: int | None
    shared_info: int
    state: DomainState
    memory: DomainMemoryState
    events: EventState
    grants: GrantState
    maptrack: MaptrackState
    peripherals: PeripheralsSaved
    watchdogs: WatchdogState
    log: LineLimitState
    line: str
    console_port: int
    console: ConsoleState
    store_port: int
    store: ConnectionState
    introduced: bool
    devices: tuple[DeviceSaved, ...]
    vcpus: tuple[VcpuSaved, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a machine is made as: see `Machine`. `memory` in bytes."""

    memory: int
    seed: int
    slice_instructions: int
    debug: bool
    policy: str
    variation: Variation


@dataclass(frozen=True, slots=True)
class ChanceSaved:
    """What a variation leaves to chance, besides turns: see `Lateness` and `Faults`."""

    timers: bytes | None
    faults: FaultsState | None


@dataclass(frozen=True, slots=True)
class MachineSaved:
    """A machine. `now` is its system time; `due` has the backends that have something to do, each by its
    domain and what it is called (`CONSOLE`, `STORE`, or a device's name), in order; `last_domid` is the
    number that was given last."""

    kind: Kind
    now: int
    traps: int
    last_domid: int
    polling: int
    memory: MemoryState
    pages: Pages
    host_ports: tuple[Port | None, ...]
    store: StoreState
    console_ring: ConsoleRingState
    flows: Flows
    timers: TimersState
    policy: BvtState | CreditState | RoundRobinState
    interleaved: InterleavedState | None
    scheduler: SchedulerState
    due: tuple[tuple[int, str], ...]
    network: NetworkState | None
    chance: ChanceSaved
    domains: tuple[DomainSaved, ...]


CONSOLE: Final = "console"
STORE: Final = "store"
"""What the backends of a domain's own two rings are called."""

POLICY_STATES: Final[Mapping[type, type]] = {
    BorrowedVirtualTime: BvtState,
    Credit: CreditState,
    RoundRobin: RoundRobinState,
}
"""The policies whose state can be kept."""

CODEC: Final = Codec(
    (
        Callbacks,
        CpuUserRegs,
        DebugRegisters,
        FrontendState,
        E820Entry,
        FifoState,
        Gate,
        IndexState,
        LateRequest,
        Node,
        Permission,
        PoolState,
        Port,
        Quota,
        Request,
        RingState,
        ShutdownReason,
        VcpuRunstateInfo,
        XenbusState,
    )
)
"""How it is encoded."""
