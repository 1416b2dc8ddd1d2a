"""A machine with its domains: the public face of the hypervisor.

with Machine() as machine:
    domain = machine.create(load_image(data), memory=32 << 20)
    machine.run(timeout=10)
    print(domain.reason, domain.console_output())
"""

from __future__ import annotations

import selectors
import time
from enum import Enum
from typing import TYPE_CHECKING

from paravane.cpu import Ram, SliceTimer
from paravane.memory import MachineMemory
from paravane.platform import Platform
from paravane.sched import RoundRobin
from paravane.time.clock import VirtualClock
from paravane.time.timers import NEVER
from paravane.toolstack import DomainConfig, Toolstack
from paravane.trace import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from paravane.domain import Domain
    from paravane.image import Image
    from paravane.sched import Policy
    from paravane.time.clock import Clock
    from paravane.trace import Trace
    from paravane.vcpu import Vcpu

PAGE = 4096
FIRST_GUEST_DOMID = 1
OWN_MEMORY, OWN_PER_DOMAIN = 1 << 20, 1 << 17
"""Bytes of machine memory the hypervisor keeps for itself, besides 1/64 of the guests'."""

MAX_WAIT = 0.05
"""Seconds after which a waiting machine looks again whether it was interrupted."""

YIELD_WAIT = 1_000_000
"""Nanoseconds that pass when the only runnable vcpu yields."""


class Ending(Enum):
    """Why `Machine.run` came back."""

    DONE = "every domain has ended"
    TIMEOUT = "the time given was used up"
    TRAPS = "the number of traps given was used up"
    STALLED = "every vcpu is blocked, and no timer or input can wake one"
    INTERRUPTED = "somebody asked it to stop"


class Machine:
    """One physical machine: memory, time, a scheduler, domains. Close it, or use it in a `with`."""

    def __init__(
        self,
        memory: int = 128 << 20,
        *,
        seed: int = 0,
        clock: Clock | None = None,
        policy: Policy | None = None,
        slice_instructions: int = 0,
    ) -> None:
        """`memory` is machine memory in bytes, a multiple of 4096 up to 4 GiB, for all domains and the
        hypervisor's own.

        `seed` decides which machine frames a domain gets. With `slice_instructions` a time slice is that many
        guest instructions instead of a length of time, and the run is a function of its input alone.
        """
        ram = Ram(memory // PAGE)
        self.platform = Platform(ram, MachineMemory(ram, seed=seed), clock or VirtualClock())
        self.domains: dict[int, Domain] = {}
        self._policy = policy or RoundRobin()
        self._slice_instructions = slice_instructions
        self._toolstack = Toolstack(self.platform)
        self._inputs = selectors.PollSelector()  # epoll refuses regular files
        self._next_domid = FIRST_GUEST_DOMID
        self._running: Vcpu | None = None
        self._interrupted = False

    @property
    def trace(self) -> Trace:
        """The stream of records of everything the domains ask for."""
        return self.platform.trace

    @staticmethod
    def size_for(*domains: int) -> int:
        """Machine memory, in bytes, with room for domains of these sizes and what the hypervisor needs."""
        guests = sum(domains)
        return guests + guests // 64 + (OWN_MEMORY + len(domains) * OWN_PER_DOMAIN)

    def create(self, image: Image, config: DomainConfig) -> Domain:
        """A domain as `config` says, ready to run.

        Raises ImageError, with a sentence for the user, when the image cannot run in so much memory, and
        MemoryError when the machine has not so much left.
        """
        domid, self._next_domid = self._next_domid, self._next_domid + 1
        domain = self._toolstack.create(domid, image, config)
        domain.know_peers(lambda: frozenset(self.domains))
        self.domains[domid] = domain
        for vcpu in domain.vcpus:
            self._policy.add(vcpu)
            if self.trace.wants(Kind.EXCEPTION):
                vcpu.observe_traps()
        return domain

    def destroy(self, domain: Domain) -> None:
        """Take a domain away; its memory is erased and free for others."""
        for vcpu in domain.vcpus:
            self._policy.remove(vcpu)
            if vcpu is self._running:
                self._running = None
        del self.domains[domain.domid]
        self._toolstack.destroy(domain)

    def add_input(self, fileno: int, ready: Callable[[], None]) -> None:
        """Call `ready` between time slices whenever the file descriptor is readable."""
        self._inputs.register(fileno, selectors.EVENT_READ, ready)

    def remove_input(self, fileno: int) -> None:
        self._inputs.unregister(fileno)

    def interrupt(self) -> None:
        """Make `run` come back soon. May be called from a signal handler or an input callback."""
        self._interrupted = True

    def run(self, *, timeout: float | None = None, max_traps: int = 0) -> Ending:
        """Run the domains until all have ended, or for `timeout` host seconds, or for `max_traps` traps."""
        self._interrupted = False
        self.platform.trap_limit = self.platform.traps + max_traps if max_traps else 0
        deadline = time.monotonic() + timeout if timeout is not None else None
        with SliceTimer(self._policy.slice_length / 1e9) as slices:
            while self._anybody_lives():
                if (ending := self._ending(deadline)) is not None:
                    return ending
                self._poll_inputs(0)
                self._expire_timers()
                vcpu = self._policy.next()
                if vcpu is not None:
                    self._run_slice(vcpu, slices)
                elif not self._idle(deadline):
                    return Ending.STALLED
        return Ending.DONE

    def audit(self) -> list[str]:
        """Every difference between the frame table and what the page tables say; empty when all is right."""
        return self.platform.memory.audit()

    def close(self) -> None:
        """Free every processor and the machine's memory. Harmless when repeated."""
        for domain in self.domains.values():
            domain.close()
        self.domains.clear()
        self._inputs.close()
        self.platform.ram.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _anybody_lives(self) -> bool:
        return any(domain.alive for domain in self.domains.values())

    def _ending(self, deadline: float | None) -> Ending | None:
        if self._interrupted:
            return Ending.INTERRUPTED
        if deadline is not None and time.monotonic() >= deadline:
            return Ending.TIMEOUT
        if self.platform.trap_limit and self.platform.traps >= self.platform.trap_limit:
            return Ending.TRAPS
        return None

    def _run_slice(self, vcpu: Vcpu, slices: SliceTimer) -> None:
        """Run one vcpu until its slice is over or it gives the processor up."""
        clock, platform = self.platform.clock, self.platform
        self._switch_to(vcpu)
        traps = platform.traps
        if self._slice_instructions:
            vcpu.run(self._slice_instructions)
        else:
            slices.arm(vcpu.cpu)
            try:
                vcpu.run()
            finally:
                slices.disarm()
        if vcpu.yielded:
            self._after_yield(vcpu)
        elif platform.traps == traps:
            # It computed all the time, so only the slice tells how long.
            clock.ran(self._policy.slice_length)

    def _switch_to(self, vcpu: Vcpu | None) -> None:
        """Give the processor to another vcpu, or to nobody."""
        if vcpu is self._running:
            return
        if self._running is not None:
            self._running.time.switch_out(self._running.resting)
        self._running = vcpu
        if vcpu is not None:
            vcpu.time.switch_in()

    def _after_yield(self, vcpu: Vcpu) -> None:
        """A vcpu with nothing to do polls by yielding. When nobody else can run, neither spin the host nor
        stand still in time: wait a little for input, and let that time pass in the guest as well."""
        others = any(other.runnable for other in self._vcpus() if other is not vcpu)
        if not others:
            self._poll_inputs(YIELD_WAIT / 1e9)
            self.platform.clock.ran(YIELD_WAIT)

    def _idle(self, deadline: float | None) -> bool:
        """Nobody is runnable: wait for the next timer or for input. False when neither can ever come."""
        self._switch_to(None)
        next_timer = self.platform.timers.next_deadline()
        if next_timer != NEVER:
            wait = self.platform.clock.idle_until(next_timer) / 1e9
        elif self._inputs.get_map():
            wait = MAX_WAIT
        else:
            return False
        if deadline is not None:
            wait = min(wait, max(0.0, deadline - time.monotonic()))
        self._poll_inputs(min(wait, MAX_WAIT))
        return True

    def _poll_inputs(self, wait: float) -> None:
        if self._inputs.get_map():
            for key, _ in self._inputs.select(wait):
                key.data()
        elif wait > 0:
            time.sleep(wait)

    def _expire_timers(self) -> None:
        now = self.platform.clock.now()
        if self.platform.timers.deadline <= now:
            self.platform.timers.expire(now)

    def _vcpus(self) -> list[Vcpu]:
        return [vcpu for domain in self.domains.values() for vcpu in domain.vcpus]
