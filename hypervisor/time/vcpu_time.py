"""All that one vcpu knows of time: its timers, its run states, and the records of both in its memory."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.event_channel import Virq
from paravane.abi.shared_info import VCPU_INFO, VCPU_TIME_INFO
from paravane.abi.vcpu import VCPU_RUNSTATE_INFO, XEN_RUNSTATE_UPDATE, Runstate, VcpuRunstateInfo
from paravane.classes import dataclass
from paravane.cpu import PageFault
from paravane.time.records import write_vcpu_time
from paravane.time.run_states import RunStates
from paravane.time.ticker import DEFAULT_PERIOD, Ticker
from paravane.time.timers import NEVER

if TYPE_CHECKING:
    from paravane.cpu import Ram
    from paravane.time.clock import Clock
    from paravane.time.timers import TimerQueue
    from paravane.vcpu_info import VcpuInfo

_TIME = VCPU_INFO.offsets["time"]
_ENTRY_TIME_TOP = VCPU_RUNSTATE_INFO.offsets["state_entry_time"] + 7

READS, LAST_READ = range(2)
READS_PER_MICROSECOND: Final = 64
LONGEST_STEP: Final = 10_000_000
"""How virtual time passes for a guest that reads nothing but the clock: each of so many reads in a row adds a
microsecond to the step that the next ones take, up to the longest, in nanoseconds. So a second is over after
11,000 reads and an hour after 700,000, and no step is more than a hundredth of a second's wait."""


@dataclass(frozen=True, slots=True)
class VcpuTimeState:
    """All that has to be kept of a vcpu's time. Times are nanoseconds of system time; addresses are linear, 0
    for none.

    `single_shot`: deadline (NEVER: not armed). `period`, `last_tick`: of the ticker. `reads`, `last_read`:
    how the guest has been reading the clock.
    """

    run_states: VcpuRunstateInfo
    single_shot: int = NEVER
    period: int = DEFAULT_PERIOD
    last_tick: int = 0
    run_state_area: int = 0
    time_area: int = 0
    reads: int = 0
    last_read: int = -1


class TimeHost(Protocol):
    """One vcpu as its time sees it. `name` is the vcpu's among all of the machine ("d1v0"), `info`
    says where its vcpu_info is."""

    @property
    def name(self) -> str: ...
    @property
    def info(self) -> VcpuInfo: ...
    @property
    def flags_run_states(self) -> bool:
        """Whether the guest is to see that its run states are being written."""
        ...

    def raise_virq(self, virq: Virq) -> None: ...
    def copy_to_guest(self, va: int, data: bytes) -> None:
        """Raises PageFault."""
        ...


class VcpuTime:
    """Timers and time records of one vcpu.

    `single_shot` is its one-shot timer, `ticker` its periodic one. The guest may register linear addresses of
    two records; they are looked up in whatever page tables the vcpu runs on when a record is written, and a
    page that is not mapped writable then is the guest's own loss, as in Xen.
    """

    def __init__(
        self,
        host: TimeHost,
        ram: Ram,
        clock: Clock,
        timers: TimerQueue,
        state: VcpuTimeState | None = None,
    ) -> None:
        if state is None:
            now = clock.now()
            start = VcpuRunstateInfo(Runstate.runnable, now, (0,) * len(Runstate))
            state = VcpuTimeState(start, last_tick=now)
        self._host = host
        self._ram = ram
        self._clock = clock
        self._timers = timers
        self.owner = host.name
        self.single_shot = timers.timer(self.owner, "single-shot", self._expired)
        self.single_shot.arm(state.single_shot)
        self.ticker = Ticker(timers, clock, self._expired, self.owner, state.period, state.last_tick)
        self.states = RunStates.restored(state.run_states)
        self.cell = array("q", (state.reads, state.last_read))
        """How often in a row the guest has read the clock (`READS`), and in which entry last (`LAST_READ`).
        Native code does with them as `read` does."""
        self._run_state_area = state.run_state_area
        self._time_area = state.time_area

    def save(self) -> VcpuTimeState:
        """What a later `VcpuTime` goes on from. Its timers are armed anew by that one, but for the next tick
        of a vcpu that has the processor: whoever keeps all timers of the machine keeps that one."""
        return VcpuTimeState(
            self.states.record(),
            self.single_shot.deadline,
            self.ticker.period,
            self.ticker.last,
            self._run_state_area,
            self._time_area,
            *self.cell,
        )

    def restore(self, state: VcpuTimeState) -> None:
        """Go on from what `save` gave, but for the timers, which are armed by whoever keeps those of the
        machine."""
        self.states = RunStates.restored(state.run_states)
        self.ticker.period, self.ticker.last = state.period, state.last_tick
        self._run_state_area, self._time_area = state.run_state_area, state.time_area
        self.cell[READS], self.cell[LAST_READ] = state.reads, state.last_read

    # What the scheduler does with the vcpu.

    def switch_in(self) -> None:
        """The vcpu gets the processor."""
        self.states.enter(Runstate.running, self._clock.now())
        self._write_run_states()
        self.ticker.resume()

    def switch_out(self, state: Runstate) -> None:
        """The vcpu loses the processor and is in `state` from now on."""
        self.ticker.pause()
        self.states.enter(state, self._clock.now())
        self._write_run_states()

    def rest(self, state: Runstate) -> None:
        """The vcpu, which does not have the processor, is in `state` from now on. The guest's record tells of
        it when it has the processor again."""
        self.states.enter(state, self._clock.now())

    def woken(self, state: Runstate) -> None:
        """What the vcpu waited for has happened. The guest's record tells when it has the processor again."""
        if self.states.state >= Runstate.blocked:
            self.states.enter(state, self._clock.now())

    def publish(self) -> None:
        """Write the system time into vcpu_info, and into the record that the guest registered."""
        at = self._host.info.maddr + _TIME
        write_vcpu_time(self._ram, at, self._clock.now())
        if self._time_area:
            self._write(self._time_area, bytes(self._ram.bytes[at : at + VCPU_TIME_INFO.size]))

    def read(self, entry: int) -> int:
        """System time for a guest that reads it in its `entry`-th entry into the hypervisor.

        One that does nothing else is waiting. Where time passes with the guest's work alone it would wait for
        long, so time goes faster the longer it waits, in steps that are small against what it waited already.
        None leads past the next timer, which may be somebody else's.
        """
        before, last = self.cell
        reads = before + 1 if entry == last + 1 else before // 2
        self.cell[READS], self.cell[LAST_READ] = reads, entry
        if reads >= READS_PER_MICROSECOND:
            step = min(reads // READS_PER_MICROSECOND * 1000, LONGEST_STEP)
            self._clock.ran(max(0, min(step, self._timers.next_deadline() - self._clock.now())))
        return self._clock.now()

    def stop(self) -> None:
        """Nothing fires any more."""
        self.single_shot.disarm()
        self.ticker.pause()

    # What the guest asks for.

    def register_run_states(self, va: int) -> None:
        """Keep the vcpu_runstate_info at `va` up to date (0: none), beginning now."""
        self._run_state_area = va
        self._write(va, VCPU_RUNSTATE_INFO.pack(self.states.record()))

    def register_time(self, va: int) -> None:
        """Keep a copy of the vcpu_time_info at `va` (0: none), beginning now."""
        self._time_area = va
        self.publish()

    def run_states(self) -> VcpuRunstateInfo:
        """The run states as of now."""
        return self.states.at(self._clock.now())

    def _write_run_states(self) -> None:
        """Bring the area up to date. A guest that asked for it sees XEN_RUNSTATE_UPDATE meanwhile, in the
        order of Xen's update_runstate_area: where a part of the area is not there, the flag does not stay."""
        area = self._run_state_area
        if not area:
            return
        record = self.states.record()
        if not self._host.flags_run_states:
            self._write(area, VCPU_RUNSTATE_INFO.pack(record))
            return
        top = area + _ENTRY_TIME_TOP
        flagged = record._replace(state_entry_time=record.state_entry_time | XEN_RUNSTATE_UPDATE)
        self._write(top, (flagged.state_entry_time >> 56).to_bytes(1, "little"))
        self._write(area, VCPU_RUNSTATE_INFO.pack(flagged))
        self._write(top, (record.state_entry_time >> 56).to_bytes(1, "little"))

    def _write(self, va: int, data: bytes) -> None:
        try:
            self._host.copy_to_guest(va, data)
        except PageFault:
            return

    def _expired(self) -> None:
        # A guest that takes the system time as it stands there, without the TSC, has it as old as its tick at
        # most: much virtual time may pass in one slice of the host's. Xen renews it each second at least.
        if self.states.state is Runstate.running:
            self.publish()
        self._host.raise_virq(Virq.TIMER)
