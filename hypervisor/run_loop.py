"""The loop that runs domains: who is next, for how long, and what happens in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from paravane.cpu import SliceTimer
from paravane.ending import Ending, StopReason
from paravane.preemption import UNIT_TIME
from paravane.time.timers import NEVER
from paravane.trace import Kind, ScheduleRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.domain import Domain
    from paravane.inbox import Inbox
    from paravane.platform import Platform
    from paravane.sched import Policy
    from paravane.vcpu import Vcpu

MAX_WAIT = 0.05
"""Seconds after which a waiting machine looks again whether something changed."""

YIELD_WAIT = 1_000_000
"""Nanoseconds that pass when the only runnable vcpu yields."""

INSTRUCTION_TIME = 10
"""Nanoseconds an instruction takes where slices are counted in instructions."""


class RunLoop:
    """Gives the processor to one vcpu after the other. One thread at a time."""

    def __init__(
        self,
        platform: Platform,
        domains: Mapping[int, Domain],
        policy: Policy[Vcpu],
        inbox: Inbox,
        slice_instructions: int,
        between_slices: Callable[[], None],
    ) -> None:
        """`between_slices` is called when no guest executes, before anybody is chosen to."""
        self.interrupted = False
        self.holds = 0
        self.when_stalled: list[Callable[[], None]] = []
        self._stall_told = False
        self._platform = platform
        self._domains = domains
        self._policy = policy
        self._inbox = inbox
        self._slice_instructions = slice_instructions
        self._slice_time = slice_instructions * INSTRUCTION_TIME or policy.slice_length
        self._slice_end = platform.timers.timer("machine", "slice", self._slice_over)
        self._between_slices = between_slices
        self._running: Vcpu | None = None
        self._why_stopped = ""

    def run(self, deadline: float | None) -> Ending:
        """Run until something ends it; `deadline` is on `time.monotonic`."""
        with SliceTimer(self._policy.slice_length / 1e9) as slices:
            while True:
                self._platform.trace.raise_failure()
                self._between_slices()
                if (reason := self._stop_reason(deadline)) is not None:
                    return self._ending(reason)
                self._inbox.deliver(self._within(deadline, MAX_WAIT) if self.holds else 0)
                if self.holds:
                    self._stall_told = False
                    continue
                self._expire_timers()
                self._serve_backends()
                vcpu = self._policy.next()
                if vcpu is not None:
                    self._run_slice(vcpu, slices)
                elif self._may_stall() and not self._idle(deadline):
                    return Ending(StopReason.STALLED)

    def _ending(self, reason: StopReason) -> Ending:
        vcpu = self._running
        if reason is StopReason.DONE:
            self._switch_to(None)
        return Ending(reason, vcpu, self._domains.get(vcpu.domid) if vcpu else None)

    def hold(self) -> None:
        """Run nobody until as many releases: the vcpu that runs now stops after the trap it serves."""
        self.holds += 1
        if self._running is not None:
            self._running.stop()

    def forget(self, vcpu: Vcpu) -> None:
        """A vcpu is gone."""
        if vcpu is self._running:
            self._running = None

    def _stop_reason(self, deadline: float | None) -> StopReason | None:
        if not self._anybody_lives():
            return StopReason.DONE
        if self.interrupted:
            return StopReason.INTERRUPTED
        if deadline is not None and time.monotonic() >= deadline:
            return StopReason.TIMEOUT
        if self._platform.trap_limit and self._platform.traps >= self._platform.trap_limit:
            return StopReason.TRAPS
        return None

    def _serve_backends(self) -> None:
        """A portion for each domain whose backends have not done all as it returned to the guest."""
        if self._platform.bus.due:
            self._platform.clock.ran(self._platform.bus.turn() * UNIT_TIME)

    def _may_stall(self) -> bool:
        """Whether guests are left that only a timer or an input can move."""
        return self._anybody_lives() and not self._platform.bus.due

    def _anybody_lives(self) -> bool:
        return any(domain.alive for domain in self._domains.values())

    def _all_paused(self) -> bool:
        """Whether all guests that are left are paused: their timers are nothing to jump to, or virtual time
        would run away from them."""
        return all(domain.paused for domain in self._domains.values() if domain.alive)

    def _run_slice(self, vcpu: Vcpu, slices: SliceTimer) -> None:
        """Run one vcpu until its slice is over or it gives the processor up.

        A slice that was used up passes as long as it is, whatever the guest did in it: what its traps were
        charged is part of that. Counting only the traps would let time stand still for everybody who waits
        beside a guest that computes and now and then traps.
        """
        clock = self._platform.clock
        self._stall_told = False
        self._switch_to(vcpu)
        began = clock.now()
        used_up = self._run_counted(vcpu) if self._slice_instructions else self._run_timed(vcpu, slices)
        self._why_stopped = vcpu.run_state.why_stopped
        if vcpu.run_state.yielded:
            self._after_yield(vcpu)
        elif used_up and vcpu.run_state.runnable:
            clock.ran(max(0, self._slice_time - (clock.now() - began)))

    def _run_timed(self, vcpu: Vcpu, slices: SliceTimer) -> bool:
        """A slice that ends when the host's time for it is over; whether that is why it ended."""
        slices.arm(vcpu.cpu)
        try:
            vcpu.run()
        finally:
            used_up = slices.disarm()
        return used_up

    def _run_counted(self, vcpu: Vcpu) -> bool:
        """A slice of so many instructions; whether it had them all. What the guest has the hypervisor do is
        no instruction of its own, so the time charged for that may end the slice as well."""
        self._slice_end.arm(self._platform.clock.now() + self._slice_time)
        try:
            return vcpu.run(self._slice_instructions)
        finally:
            self._slice_end.disarm()

    def _slice_over(self) -> None:
        if self._running is not None:
            self._running.stop()

    def _switch_to(self, vcpu: Vcpu | None) -> None:
        """Give the processor to another vcpu, or to nobody."""
        if vcpu is self._running:
            return
        if self._running is not None:
            self._tell(self._running, "out", self._why_stopped)
            self._running.run_state.switch_out()
        self._running = vcpu
        if vcpu is not None:
            self._tell(vcpu, "in")
            vcpu.run_state.switch_in()

    def _tell(self, vcpu: Vcpu, what: str, why: str = "") -> None:
        trace = self._platform.trace
        if trace.wants(Kind.SCHEDULE):
            head = (self._platform.clock.now(), vcpu.domid, vcpu.vcpu_id, vcpu.place())
            trace.write(ScheduleRecord(*head, what, why))

    def _after_yield(self, vcpu: Vcpu) -> None:
        """A vcpu with nothing to do polls by yielding. When nobody else can run, neither spin the host nor
        stand still in time: wait a little for input, and let that time pass in the guest as well."""
        others = any(other.run_state.runnable for other in self._vcpus() if other is not vcpu)
        if not others:
            self._inbox.deliver(YIELD_WAIT / 1e9)
            self._platform.clock.ran(YIELD_WAIT)

    def _idle(self, deadline: float | None) -> bool:
        """Nobody is runnable: wait for the next timer or for input. False when neither can ever come."""
        self._switch_to(None)
        next_timer = self._platform.timers.next_deadline()
        if next_timer != NEVER and not self._all_paused():
            wait = self._platform.clock.idle_until(next_timer) / 1e9
        elif self._inbox.expecting:
            wait = MAX_WAIT
            self._tell_stall()
        else:
            return False
        self._inbox.deliver(self._within(deadline, min(wait, MAX_WAIT)))
        return True

    def _tell_stall(self) -> None:
        """Tell, once, that only somebody who looks at the guests keeps the machine from giving up."""
        if not self._stall_told and not self._inbox.expecting_for_guests:
            self._stall_told = True
            for call in tuple(self.when_stalled):
                call()

    @staticmethod
    def _within(deadline: float | None, wait: float) -> float:
        return wait if deadline is None else max(0.0, min(wait, deadline - time.monotonic()))

    def _expire_timers(self) -> None:
        now = self._platform.clock.now()
        if self._platform.timers.deadline <= now:
            self._platform.timers.expire(now)

    def _vcpus(self) -> list[Vcpu]:
        return [vcpu for domain in self._domains.values() for vcpu in domain.vcpus]
