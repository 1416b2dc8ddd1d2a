"""The loop that runs domains: who is next, for how long, and what happens in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from paravane.cpu import SliceTimer
from paravane.ending import Ending, StopReason
from paravane.idle import Idler
from paravane.preemption import UNIT_TIME
from paravane.registry import CONTROL_DOMID
from paravane.scheduler import Scheduler
from paravane.time.timers import MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.inbox import Inbox, Journal
    from paravane.personality import Guest, GuestVcpu
    from paravane.platform import Platform
    from paravane.sched import Policy

LONGEST_SLICE = 10_000_000
"""Nanoseconds after which a guest is left so that what comes from outside, and who waits for a turn, are
looked at."""

SHORTEST_SLICE = 100_000
"""Nanoseconds: no slice of host time is made shorter for a timer that falls due, which may be that late."""

COMPUTED = 1_000_000
"""Nanoseconds of the processor in a slice that had to be ended, after which a vcpu counts as one that
computes."""

INSTRUCTION_TIME = 10
"""Nanoseconds an instruction takes where slices are counted in instructions."""

FEWEST_INSTRUCTIONS = 1000
"""Instructions: no counted slice is made shorter for a timer that falls due."""


class Slices(Protocol):
    """Somebody who has counted slices run in pieces, and may have the machine go back: `paravane.history`."""

    def between(self) -> None:
        """No guest executes, and nothing is half done."""
        ...

    def run(self, vcpu: GuestVcpu, instructions: int) -> None:
        """Run a whole slice (`GuestVcpu.run`)."""
        ...


class RunLoop:
    """Gives the processor to one vcpu after the other. One thread at a time."""

    def __init__(
        self,
        platform: Platform,
        domains: Mapping[int, Guest],
        policy: Policy,
        inbox: Inbox,
        slice_instructions: int,
        settle: Callable[[], None],
        unsettled: Callable[[], bool],
    ) -> None:
        """`settle` is called when no guest executes, before anybody is chosen to. `unsettled` says whether it
        would have something to do: then the machine waits for nothing else."""
        self.interrupted = False
        self.holds = 0
        self.leaving = False
        """Whoever runs the machine is to do something else with it first: `run` comes back with None."""
        self.slices: Slices | None = None
        self._when_stalled: list[Callable[[], None]] = []
        self._stall_told = False
        self.scheduler = Scheduler(platform, policy, counted=slice_instructions > 0)
        self._platform = platform
        self._domains = domains
        self._inbox = inbox
        self._idler = Idler(platform, inbox, policy)
        self._instructions = slice_instructions
        self._longest = slice_instructions * INSTRUCTION_TIME or LONGEST_SLICE
        self._slices = SliceTimer(LONGEST_SLICE / 1e9)
        self._slice_end = platform.timers.timer(MACHINE, "slice", self._slice_over)
        self._deadline: float | None = None
        self._until: int | None = None
        self._ends = 0  # system time at which the slice is over
        self._settle, self._unsettled = settle, unsettled
        platform.timers.earlier = self._timer_set

    def run(self, deadline: float | None, until: int | None = None) -> Ending | None:
        """Run until something ends it; `deadline` is on `time.monotonic`, `until` a system time that ends it
        where a slice has ended. None: `leaving`."""
        self._deadline, self._until = deadline, until
        with self._slices, self._platform.sigint:
            while True:
                self._platform.trace.raise_failure()
                self._settle()
                if self.slices is not None and not self.leaving:
                    self.slices.between()
                if self.leaving:
                    return None
                if (reason := self._stop_reason()) is not None:
                    return self._ending(reason)
                held = self.holds > 0
                self._inbox.deliver(_until(deadline) if held else 0)
                if held or self.holds or self.leaving:  # much may be otherwise after a hold
                    self._stall_told = False
                    continue
                self._inbox.passed()
                self._expire_timers()
                self._serve_backends()
                turn = self.scheduler.next()
                if turn is not None:
                    self._run_slice(*turn)
                elif self._may_stall() and not self._idle():
                    return Ending(StopReason.STALLED)

    @property
    def polling(self) -> int:
        """See `Idler.polling`: besides the scheduler's, all that has to be kept."""
        return self._idler.polling

    @polling.setter
    def polling(self, nanoseconds: int) -> None:
        self._idler.polling = nanoseconds

    def when_stalled(self, call: Callable[[], None]) -> None:
        """Have `call` made whenever nothing can move a guest any more, this time as well if it is so now."""
        self._when_stalled.append(call)
        self._stall_told = False

    def hold(self) -> None:
        """Run nobody until as many releases: the vcpu that runs now stops after the trap it serves, or
        with a journal when its slice is over."""
        self.holds += 1
        if self.scheduler.running is not None and self._inbox.journal is None:
            self.scheduler.running.stop()

    def rest(self) -> bool:
        """In the middle of a slice that has paused: hear what comes, and wait while the machine is held.
        False when the slice is not to be gone on with."""
        self._inbox.deliver(0)
        while True:
            late = self._deadline is not None and time.monotonic() >= self._deadline
            if late or self.interrupted or self.leaving or self._unsettled() or not self._anybody_lives():
                return False
            if not self.holds:
                return True
            self._inbox.deliver(_until(self._deadline))

    def take_over(self, other: RunLoop) -> None:
        """Go on in the place of another loop, with all that it was told from outside."""
        self.interrupted, self.holds, self.slices = other.interrupted, other.holds, other.slices
        self._when_stalled = other._when_stalled

    def keep(self, journal: Journal) -> None:
        """Have a journal from now on. Raises ValueError where slices are not counted in instructions."""
        if not self._instructions:
            raise ValueError("only a run whose slices are counted in instructions can be repeated")
        self._inbox.journal = journal
        self._platform.sigint.stops = False  # where slices end is part of what is repeated

    def _ending(self, reason: StopReason) -> Ending:
        vcpu = self.scheduler.running
        if reason is StopReason.DONE:
            self.scheduler.switch_to(None)
        return Ending(reason, vcpu, self._domains.get(vcpu.domid) if vcpu else None)

    def _stop_reason(self) -> StopReason | None:
        if not self._anybody_lives():
            return StopReason.DONE
        if self.interrupted or self._inbox.over:
            return StopReason.INTERRUPTED
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return StopReason.TIMEOUT
        if self._platform.trap_limit and self._platform.traps >= self._platform.trap_limit:
            return StopReason.TRAPS
        if self._until is not None and self._platform.clock.now() >= self._until:
            return StopReason.TIME
        return None

    def _serve_backends(self) -> None:
        """A portion for each domain whose backends have not done all as it returned to the guest. The domain
        is charged for it: who floods its console has the less of the processor."""
        bus = self._platform.bus
        for domid in list(bus.due):
            took = bus.serve(domid) * UNIT_TIME
            self._platform.clock.ran(took)
            self.scheduler.charge(domid, took)

    def _may_stall(self) -> bool:
        """Whether guests are left that only a timer or an input can move, and nothing else is to be done."""
        stops = self.interrupted or self._inbox.over or self._unsettled()
        return self._anybody_lives() and not self._platform.bus.due and not stops

    def _anybody_lives(self) -> bool:
        """A machine goes down with a control domain among its guests, as Xen's does with the hardware domain:
        when it has ended, and if it is gone by now."""
        control = self._domains.get(CONTROL_DOMID)
        if control is not None:
            return control.alive
        if self._platform.domains.find(CONTROL_DOMID) is None:
            return False
        return any(domain.alive for domain in self._domains.values())

    def _all_paused(self) -> bool:
        """Whether all guests that are left are paused: their timers are nothing to jump to, or virtual time
        would run away from them."""
        return all(domain.paused for domain in self._domains.values() if domain.alive)

    def _expire_timers(self) -> None:
        now = self._platform.clock.now()
        if self._platform.timers.deadline <= now:
            self._platform.timers.expire(now)

    # Slices.

    def _run_slice(self, vcpu: GuestVcpu, longest: int) -> None:
        """Run one vcpu until its slice is over or it gives the processor up.

        A slice ends when the next timer falls due, whoever's that is. One that was used up passes as long as
        it is, whatever the guest did in it: what its traps were charged is part of that. Counting only the
        traps would let time stand still for everybody who waits beside a guest that computes and now and then
        traps.
        """
        clock, scheduler = self._platform.clock, self.scheduler
        self._stall_told = False
        scheduler.begin(vcpu)
        began = clock.now()
        length = min(longest, self._longest)
        self._ends = min(began + length, max(self._platform.timers.next_deadline(), began + self._shortest()))
        passed = self._run_counted(vcpu) if self._instructions else self._run_timed(vcpu)
        # Not how long the slice was: on a loaded host one may be over before the guest had any of it.
        self._idler.worked(max(scheduler.used(), passed if self._instructions else 0))
        clock.ran(max(0, passed - (clock.now() - began)))
        yielded = vcpu.run_state.yielded
        scheduler.end()
        if yielded and vcpu.run_state.runnable:
            self._after_yield(vcpu)

    def _run_timed(self, vcpu: GuestVcpu) -> int:
        """A slice that ends when the host's time for it is over; how long it took in virtual time, as far as
        that can be told."""
        began = self._platform.clock.now()
        self._slices.arm(vcpu.cpu, (self._ends - began) / 1e9, lenient=not vcpu.computes)
        try:
            vcpu.run()
        finally:
            used_up = self._slices.disarm()
        # A slice may be over on a busy host before a guest that would have ended it had any of it.
        vcpu.computes = used_up and (vcpu.computes or self.scheduler.used() >= COMPUTED)
        return self._ends - began if used_up and vcpu.run_state.runnable else 0

    def _run_counted(self, vcpu: GuestVcpu) -> int:
        """A slice of so many instructions; how long those took. What the guest has the hypervisor do is no
        instruction of its own, so the time charged for that may end the slice as well."""
        began = self._platform.clock.now()
        instructions = -(-(self._ends - began) // INSTRUCTION_TIME)
        self._slice_end.arm(self._ends)
        vcpu.cpu.progress.begin(0)  # it may end as an event is delivered to it, before it executes anything
        try:
            if self.slices is None:
                vcpu.run(instructions)
            else:
                self.slices.run(vcpu, instructions)
        finally:
            self._slice_end.disarm()
        return vcpu.cpu.executed * INSTRUCTION_TIME

    def _shortest(self) -> int:
        if self._instructions:
            return min(self._instructions, FEWEST_INSTRUCTIONS) * INSTRUCTION_TIME
        return SHORTEST_SLICE

    def _slice_over(self) -> None:
        if self.scheduler.running is not None:
            self.scheduler.running.stop()

    def _timer_set(self, deadline: int) -> None:
        """A timer was set that is the next one to fall due: the slice that runs may last no longer."""
        running = self.scheduler.running
        if not self.scheduler.executing or running is None:
            return
        now = self._platform.clock.now()
        ends = max(deadline, now + self._shortest())
        if ends >= self._ends:
            return
        self._ends = ends
        if self._instructions:
            running.stop()  # the count of a run cannot be changed: another slice has what is left
        else:
            self._slices.shorten((ends - now) / 1e9)

    # Nothing to do.

    def _after_yield(self, vcpu: GuestVcpu) -> None:
        """Let others run first; when nobody else can, time passes. A guest that hears of ticks keeps the
        processor, or it would miss some; for the others there is no need to stop at each of them."""
        self.scheduler.policy.give_way(vcpu.entity)
        if self.scheduler.ready == 1 and not self._platform.bus.due:
            if not vcpu.hears_ticks:
                self.scheduler.switch_to(None)
            self._idler.polled(_until(self._deadline))

    def _idle(self) -> bool:
        """Nobody may run: wait for the next timer, for a cap to be lifted or for something from outside.
        False when none of that can ever come."""
        self.scheduler.switch_to(None)
        longest = _until(self._deadline)
        if not self._all_paused() and self._idler.wait(longest):
            return True
        if not self._inbox.expecting:
            return False
        told = self._tell_stall()
        if not told or self._inbox.journal is not None:  # there each round is a turn, whatever was told
            self._inbox.look(longest)
        return True

    def _tell_stall(self) -> bool:
        """Tell, once, that only somebody who looks at the guests keeps the machine from giving up. Whether
        that was told now: then who was told may have gone away, or have something done."""
        if self._stall_told or self._inbox.expecting_for_guests:
            return False
        self._stall_told = True
        for call in tuple(self._when_stalled):
            call()
        return True


def _until(deadline: float | None) -> float | None:
    """Seconds from now to `deadline`; None: for ever."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
