"""Who has the processor: between the policy, which sees entities, and the vcpus that they are."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from paravane import trace as traces
from paravane.classes import dataclass
from paravane.sched import Interleaved
from paravane.trace import Kind

if TYPE_CHECKING:
    from paravane.personality import GuestVcpu
    from paravane.platform import Platform
    from paravane.sched import Entity, Policy

SHORTEST_REST: Final = 50_000
"""Nanoseconds of a turn, less than which are not worth handing on."""

STALE: Final = 50_000
"""Nanoseconds after which the processor time of this thread is read anew."""

PREEMPTED: Final = "preempted"
"""Why a vcpu lost the processor to one that woke."""


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """All that has to be kept between two slices besides what the policy knows: who was switched in last, why
    it stopped, what is left of the turn that the policy gave, who is to have a look at something in the rest
    of it, and how long each has run. Vcpus are numbered in the order in which they came."""

    running: int | None
    why: str
    left: int
    kicked: tuple[int, ...]
    used: tuple[int, ...]


class Scheduler:
    """Tells a policy who is ready and who used how much, and has who it chooses switched in.

    What an entity used is what the machine's clock advanced while it ran or, where that is more, the
    processor time that the host spent on it: virtual time counts a trap as cheap as on hardware, but those
    who make the host work are to be charged for it. With `counted` slices it is the clock's time alone, so
    that who runs when is a function of the guests.

    `running` is the vcpu that was switched in last; `executing` says that it is in its slice right now.
    """

    def __init__(self, platform: Platform, policy: Policy, *, counted: bool) -> None:
        self.running: GuestVcpu | None = None
        self.executing = False
        self.policy = policy
        self.ready = 0
        self._platform = platform
        self._counted = counted
        self._read_at = -STALE  # on time.monotonic_ns, when the thread's processor time was `_read`
        self._read = 0
        self._vcpus: dict[Entity, GuestVcpu] = {}
        self._first: dict[int, Entity] = {}  # domid -> who is charged for what is done for the domain
        self._clock_began = self._host_began = self._charged = 0
        self._why = ""
        self._preempted = False
        self._left = 0  # nanoseconds of the turn that the policy gave
        self._kicked: dict[GuestVcpu, None] = {}

    def save(self) -> SchedulerState:
        """What `restore` goes on from. No guest is executing."""
        numbers = self.numbers()
        return SchedulerState(
            None if self.running is None else numbers[self.running.entity],
            self._why,
            self._left,
            tuple(numbers[vcpu.entity] for vcpu in self._kicked),
            tuple(entity.used for entity in numbers),
        )

    def restore(self, state: SchedulerState) -> None:
        """Go on from what `save` gave, with the same vcpus, the policy having gone on already. Raises
        ValueError, a sentence, for a state that cannot be."""
        vcpus = list(self._vcpus.values())
        named = [*state.kicked] if state.running is None else [*state.kicked, state.running]
        if len(state.used) != len(vcpus) or not all(0 <= number < len(vcpus) for number in named):
            raise ValueError(f"the times of {len(state.used)} vcpus are told, and there are {len(vcpus)}")
        self.running = None if state.running is None else vcpus[state.running]
        self._why, self._left = state.why, state.left
        self._kicked = {vcpus[number]: None for number in state.kicked}
        for vcpu, used in zip(vcpus, state.used, strict=True):
            vcpu.entity.used = used
        self.ready = sum(vcpu.entity.awake for vcpu in vcpus)

    def numbers(self) -> dict[Entity, int]:
        """A number for each entity, from 0 on, in the order in which they came."""
        return {entity: number for number, entity in enumerate(self._vcpus)}

    def add(self, vcpu: GuestVcpu) -> None:
        """A vcpu exists."""
        self._vcpus[vcpu.entity] = vcpu
        self._first.setdefault(vcpu.domid, vcpu.entity)
        self.policy.add(vcpu.entity)
        vcpu.run_state.schedule(partial(self._readiness_changed, vcpu), partial(self._kick, vcpu))

    def remove(self, vcpu: GuestVcpu) -> None:
        """A vcpu is going away. No guest is executing."""
        entity = vcpu.entity
        self.ready -= entity.awake
        self.policy.remove(entity)
        del self._vcpus[entity]
        if self._first.get(vcpu.domid) is entity:
            del self._first[vcpu.domid]
        vcpu.run_state.schedule(_ignore, _nothing)
        self._kicked.pop(vcpu, None)
        if vcpu is self.running:
            self.running = None

    def next(self) -> tuple[GuestVcpu, int] | None:
        """The vcpu to run now, and for how many nanoseconds at most; None when none may."""
        while self._kicked and self._left >= SHORTEST_REST:
            vcpu = next(iter(self._kicked))
            del self._kicked[vcpu]
            if vcpu.run_state.runnable:
                return vcpu, self._left
        self._kicked.clear()
        turn = self.policy.next()
        if turn is None:
            return None
        self._left = turn.length
        return self._vcpus[turn.entity], turn.length

    def begin(self, vcpu: GuestVcpu) -> None:
        """A slice of a vcpu begins."""
        self.switch_to(vcpu)
        self._preempted = False
        self._clock_began, self._host_began, self._charged = self._platform.clock.now(), self._host_time(), 0
        self.executing = True

    def end(self) -> None:
        """The slice is over, and the clock tells so."""
        self._charge_running()
        self._left -= self._charged
        self.executing = False
        if self.running is not None:
            why = self.running.run_state.why_stopped
            self._why = PREEMPTED if self._preempted and why == "slice over" else why

    def used(self) -> int:
        """Nanoseconds that the slice which executes has taken so far."""
        return max(self._platform.clock.now() - self._clock_began, self._host_time() - self._host_began)

    def charge(self, domid: int, nanoseconds: int) -> None:
        """So much was done for a domain outside its slices."""
        if domid in self._first:
            self.policy.charge(self._first[domid], nanoseconds)

    def switch_to(self, vcpu: GuestVcpu | None) -> None:
        """Give the processor to another vcpu, or to nobody."""
        running = self.running
        if vcpu is running:
            return
        if running is not None:
            self._tell(running, "out", self._why)
            running.run_state.switch_out()
        self.running = vcpu
        if vcpu is not None:
            self._tell(vcpu, "in")
            vcpu.run_state.switch_in()

    def _readiness_changed(self, vcpu: GuestVcpu, ready: bool) -> None:
        """A vcpu, any one, could use the processor from now on, or could not."""
        self._charge_running()
        if not ready:
            self.ready -= 1
            self.policy.sleep(vcpu.entity)
            return
        self.ready += 1
        if self.policy.wake(vcpu.entity) and self.executing and self.running is not None:
            self._preempted = True
            self.running.stop()

    def _kick(self, vcpu: GuestVcpu) -> None:
        """A vcpu is to look at an event or an NMI. On a machine with a processor for each it would do so now:
        one that runs beside it, in the same domain, leaves it the rest of its turn. To others that happens
        only as the policy wants it, when the vcpu wakes. Where chance says who is next it says so here too:
        an interrupt may be late."""
        running = self.running
        if self.executing and running is not None and running is not vcpu and running.domid == vcpu.domid:
            if not (isinstance(self.policy, Interleaved) and self.policy.deciding):
                self._kicked[vcpu] = None
            self._preempted = True
            running.stop()

    def _charge_running(self) -> None:
        """Charge who executes now for what it used since it was charged last."""
        if not self.executing or self.running is None:
            return
        used = self.used()
        if used > self._charged:
            self.policy.charge(self.running.entity, used - self._charged)
            self._charged = used

    def _host_time(self) -> int:
        """Processor time of this thread in nanoseconds; 0 where slices are counted.

        To read it is a system call, which costs as much as a hypercall does of it, and short slices would
        read it four times each. So for a moment after each reading what has passed since is taken for it: who
        runs then may be charged that moment too much, if the host had this thread wait meanwhile.
        """
        if self._counted:
            return 0
        now = time.monotonic_ns()
        if now - self._read_at > STALE:
            self._read_at, self._read = now, time.thread_time_ns()
        return self._read + now - self._read_at

    def _tell(self, vcpu: GuestVcpu, what: str, why: str = "") -> None:
        trace = self._platform.trace
        if trace.wants(Kind.SCHEDULE):
            head = (self._platform.clock.now(), vcpu.domid, vcpu.vcpu_id, vcpu.place())
            trace.write(traces.ScheduleRecord(*head, what, why))


def _ignore(_ready: bool) -> None:
    """A vcpu that is going away interests nobody."""


def _nothing() -> None:
    """See `_ignore`."""
