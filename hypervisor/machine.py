"""A machine with its domains: the public face of the hypervisor.

with Machine() as machine:
    domain = machine.create(load_image(data), DomainConfig(memory=32 << 20))
    machine.run(timeout=10)
    print(domain.reason, domain.console_output())
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from paravane.abi.event_channel import Virq
from paravane.administration import Administration
from paravane.arguments import check_type
from paravane.cpu import Ram
from paravane.cpu.interrupts import DeferredSigint
from paravane.domain_config import DomainConfig
from paravane.grants.audit import audit_grants
from paravane.image import Image
from paravane.inbox import Inbox
from paravane.lives import Lives
from paravane.machine_control import MachineControl
from paravane.machine_size import size_for
from paravane.memory import MachineMemory, audit, check_nr_frames
from paravane.outside import MachineBusyError, Outside
from paravane.platform import Platform
from paravane.registry import Registry
from paravane.rewindable import Rewindable
from paravane.run_loop import RunLoop
from paravane.savable import Savable
from paravane.sched import POLICIES, BorrowedVirtualTime, Interleaved
from paravane.time.clock import VirtualClock
from paravane.toolstack import Toolstack
from paravane.trace import Trace
from paravane.trace.sources import observe
from paravane.variation import PLAIN, Variation
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from paravane.devices.xenstore import Store, StoreSocket
    from paravane.domain import Domain
    from paravane.ending import Ending
    from paravane.faults import Fault, Faults
    from paravane.sched import Policy
    from paravane.snapshot import Kind
    from paravane.snapshot.parts import Parts
    from paravane.time.clock import Clock
    from paravane.toolstack import ControlDomain

DETERMINISTIC_SLICE = 1_000_000
"""Instructions in a slice that suit most guests, where a run is to be a function of its input alone."""


class Machine(Administration, Outside, Savable, Rewindable):
    """One physical machine: memory, time, a scheduler, domains. Close it, or use it in a `with`.

    It belongs to one thread at a time. While `run` lasts, any other thread may call `post` and `interrupt`,
    and nothing else; console sinks, trace subscribers and input callbacks are called in the running thread
    and may use everything but `run`. What a subscriber raises ends `run` as soon as nothing is half done.
    """

    def __init__(
        self,
        memory: int = 128 << 20,
        *,
        seed: int = 0,
        clock: Clock | None = None,
        policy: Policy | None = None,
        slice_instructions: int = 0,
        debug: bool = True,
        variation: Variation = PLAIN,
    ) -> None:
        """`memory` is machine memory in bytes, a multiple of 4096 up to 4 GiB, for all domains and the
        hypervisor's own.

        `policy` says which vcpu runs when (`paravane.sched`; None: borrowed virtual time); it is for this
        machine alone.

        `seed` decides which machine frames a domain gets. With `slice_instructions` a time slice is that many
        guest instructions instead of a length of time, and the run is a function of its input alone. A seed
        other than 0 then also decides, among vcpus that are ready, how long turns are and who has the next
        one: each seed is another order in which they meet. `variation` says what else it decides, and how
        many such decisions there are; it is for counted slices alone.
        With `debug=False` guests find a release build of Xen, whose console_io is not for them.
        """
        Savable.__init__(self)
        self._closed = True  # until there is something to close
        for name, number in (("memory", memory), ("seed", seed), ("slice_instructions", slice_instructions)):
            check_type(name, number, int)
        if slice_instructions < 0:
            raise ValueError(f"slice_instructions must not be negative, as {slice_instructions} is")
        if variation != PLAIN and not (slice_instructions and seed):
            raise ValueError("a variation is for counted slices and a seed other than 0")
        self._runner: int | None = None
        self._run_lock = threading.Lock()
        check_nr_frames(memory >> PAGE_SHIFT)
        self._seed, self._slice_instructions, self._variation = seed, slice_instructions, variation
        self._inbox = Inbox()
        self._sigint = DeferredSigint()
        self._equip(memory, clock or VirtualClock(), policy or BorrowedVirtualTime(), Trace(), debug=debug)
        self._doomed: list[Domain] = []
        self._store_sockets: list[StoreSocket] = []
        self._close_wanted = False
        self._closed = False

    def _equip(self, memory: int, clock: Clock, policy: Policy, trace: Trace, *, debug: bool) -> None:
        ram = Ram(memory >> PAGE_SHIFT)
        self._registry: Registry[Domain, ControlDomain] = Registry()
        memory_map = MachineMemory(ram, self._registry, seed=self._seed)
        self.platform = Platform(
            ram, memory_map, self._registry, clock, trace=trace, sigint=self._sigint, debug=debug
        )
        # The control domain hears once more of a domain when nothing of it is left, as from Xen.
        self._registry.when_left = partial(self.platform.exchange.raise_global, Virq.DOM_EXC)
        self._end_observation = observe(self.platform)
        self.platform.timers.late = self._variation.lateness(self._seed)
        self._policy = policy
        counted = self._slice_instructions > 0
        self._chance = (
            Interleaved(policy, self._seed, self._variation.decisions) if counted and self._seed else None
        )
        self._toolstack = Toolstack(self.platform, self._registry, self._inbox, counted=counted)
        self._faults: Faults | None = None
        if self._variation.faults:
            from paravane.faults import Faults  # noqa: PLC0415 - loaded for who asks for it only

            self._faults = Faults(self.platform, self.store, self._variation, self._seed)
        self._loop = RunLoop(
            self.platform,
            self.domains,
            self._chance or policy,
            self._inbox,
            self._slice_instructions,
            self._settle,
            self._unsettled,
        )
        self._toolstack.control = MachineControl(
            self._registry, self._toolstack, self._loop.scheduler, self.destroy
        )
        self._lives = Lives(clock, self._build, self._take_away, self.rename, self.store.shut_down)

    size_for = staticmethod(size_for)

    @property
    def domains(self) -> Mapping[int, Domain]:
        """The machine's guests by number, always up to date; those that are being destroyed are not among
        them."""
        return self._registry.present

    @property
    def decisions(self) -> int:
        """How many turns were left to chance so far."""
        return 0 if self._chance is None else self._chance.taken

    @property
    def nr_faults(self) -> int:
        """How many faults there were so far of those that the variation leaves to chance."""
        return 0 if self._faults is None else self._faults.count

    @property
    def first_faults(self) -> tuple[Fault, ...]:
        """The first of them, up to `paravane.faults.KEPT`."""
        return () if self._faults is None else tuple(self._faults.first)

    @property
    def trace(self) -> Trace:
        """The stream of records of everything the domains ask for."""
        return self.platform.trace

    @property
    def store(self) -> Store:
        """The xenstore that the domains share."""
        return self._toolstack.store

    def serve_store(self, path: Path) -> StoreSocket:
        """Have programs of this user reach xenstore by a socket at `path`, with the rights of domain 0: those
        of Xen's tools find it by XENSTORED_PATH. No guest waits for them (see `when_stalled`). It closes with
        the machine, or before. Raises OSError where no socket can be made, or somebody listens already."""
        self._check_thread("open a socket")
        self._check_open()
        from paravane.devices.xenstore import StoreSocket  # noqa: PLC0415 - loaded for who asks for it only

        made = StoreSocket(self.store, path, self._inbox)
        self._store_sockets.append(made)
        return made

    def create(self, image: Image, config: DomainConfig, *, paused: bool = False) -> Domain:
        """A domain as `config` says, ready to run; `paused`, it does not before it is unpaused.

        Raises ImageError, with a sentence for the user, when the image cannot run in so much memory,
        MemoryError when the machine or its host has not so much left, and ValueError for a cap that its
        policy keeps none of, and for a device that cannot be had.
        """
        self._check_thread("create a domain")
        self._check_open()
        check_type("image", image, Image)
        check_type("config", config, DomainConfig)
        check_type("paused", paused, bool)
        self._check_cap(config.cap)
        domain = self._build(image, config)
        if paused:
            domain.pause()
        return domain

    def destroy(self, domain: Domain) -> None:
        """Take a domain away; its memory is erased and free for others. Idempotent.

        Called by a console sink, a trace subscriber, ... it takes effect before any guest runs again. What
        one of them raises as it hears of the end is raised here when all is done.
        """
        self._check_thread("destroy a domain")
        if self.domains.get(domain.domid) is not domain or domain in self._doomed:
            return
        self._doomed.append(domain)
        if self._runner is None:
            with self._occupied():
                pass  # it is over for the doomed at the end
        else:
            # Its processor may be in the middle of the very hypercall that called us.
            for vcpu in domain.vcpus:
                vcpu.stop()

    def end_restarts(self) -> None:
        """From now on destroy the domains that would be restarted when they end: all is to come to an end."""
        self._check_thread("end restarts")
        self._lives.restarts = False

    def run(
        self,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        max_traps: int = 0,
        until: int | None = None,
    ) -> Ending:
        """Run the domains until all have ended, or for `timeout` host seconds, or until `deadline` (as
        `time.monotonic` counts), or for `max_traps` traps, or until the first end of a slice at which system
        time is `until` (nanoseconds) or later, which changes nothing for the guests. MachineBusyError while
        it is running already."""
        with self._occupied():
            self._check_open()
            for name, limit in (("timeout", timeout), ("deadline", deadline)):
                check_type(name, limit, int, float, type(None))
            check_type("max_traps", max_traps, int)
            check_type("until", until, int, type(None))
            if any(limit is not None and math.isnan(limit) for limit in (timeout, deadline)) or max_traps < 0:
                raise ValueError("a limit of a run must be a number, and not a negative one of traps")
            self.platform.limit_traps(self.platform.traps + max_traps if max_traps else 0)
            if timeout is not None:
                end = time.monotonic() + timeout
                deadline = end if deadline is None else min(deadline, end)
            try:
                while (ending := self._loop.run(deadline, until)) is None:
                    self._go_back()
                return ending
            finally:
                self._loop.interrupted = False

    @classmethod
    def _made_as(cls, kind: Kind) -> Self:
        from paravane import snapshot  # noqa: PLC0415 - loaded for who asks for it only

        if kind.policy not in POLICIES:
            raise snapshot.SnapshotError("the snapshot is damaged: there is no such scheduling policy")
        try:
            return cls(
                kind.memory,
                seed=kind.seed,
                policy=POLICIES[kind.policy](),
                slice_instructions=kind.slice_instructions,
                debug=kind.debug,
                variation=kind.variation,
            )
        except ValueError as error:
            raise snapshot.SnapshotError(f"the snapshot is damaged: {error}") from None

    def _parts(self) -> Parts:
        from paravane.snapshot.parts import Parts  # noqa: PLC0415 - loaded for who asks for it only

        return Parts(
            self.platform,
            self._registry,
            self._toolstack,
            self._loop,
            self._lives,
            self._inbox,
            self._policy,
            self._seed,
            self._slice_instructions,
            self._variation,
            self._faults,
        )

    def audit(self) -> list[str]:
        """Every difference between the frame table and what the page tables say, and between modelled TLBs
        and what the engine sees of them; empty when all is right."""
        self._check_thread("audit the machine")
        self._check_open()
        seen = [
            f"{domain.name}, vcpu {vcpu.vcpu_id}: {difference}"
            for domain in self.domains.values()
            for vcpu in domain.vcpus
            for difference in vcpu.cpu.differences()
        ]
        return audit(self.platform.memory) + audit_grants(self.platform.grants) + seen

    def close(self) -> None:
        """Free every processor and the machine's memory. Idempotent. Called from inside `run`, it makes that
        come back (INTERRUPTED) and takes effect then; from inside `destroy`, as soon as that is done."""
        self._check_thread("close the machine")
        if self._closed:
            return
        if self._runner is not None:
            self._close_wanted = True
            self.interrupt()
            for domain in self.domains.values():
                for vcpu in domain.vcpus:
                    vcpu.stop()
            return
        self._closed = True
        with ExitStack() as steps:  # taken from the last to the first, whichever of them raises
            steps.callback(self._inbox.close)
            self._dismantle(steps)
            for made in self._store_sockets:
                steps.callback(made.close)

    def _dismantle(self, steps: ExitStack) -> None:
        self._registry.when_left = None  # part of a circle, which would be freed only by a collection
        domains = list(self.domains.values())
        for domain in domains:  # whoever hears of the end has none to destroy any more
            self._lives.forget(domain)
            self._registry.retire(domain)
        steps.callback(self.platform.trace.raise_failure)
        steps.callback(self.platform.ram.close)
        steps.callback(self._end_observation)
        steps.callback(self._toolstack.close)
        for domain in reversed(domains):
            steps.callback(domain.close)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn("a Machine was dropped without being closed", ResourceWarning, 1, self)
            self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the machine is closed")

    def _ring(self, domain: Domain, port: int) -> bool:
        return self._toolstack.ring(domain, port)

    def _check_cap(self, cap: int) -> None:
        if cap and not self._policy.keeps_caps:
            raise ValueError(f"the scheduling policy {self._policy.name} keeps no caps; credit does")

    def _check_thread(self, what: str) -> None:
        if self._runner not in (None, threading.get_ident()):
            raise MachineBusyError(f"another thread runs the machine: only that one can {what} now")

    @contextmanager
    def _occupied(self) -> Iterator[None]:
        """The machine is this thread's alone. What callbacks ask for meanwhile, that domains be destroyed or
        the machine closed, is done at the end, whatever raises. MachineBusyError when it is occupied already.
        """
        if not self._run_lock.acquire(blocking=False):
            whose = "by this thread" if self._runner == threading.get_ident() else "by another thread"
            raise MachineBusyError(f"the machine is being run already, {whose}")
        self._runner = threading.get_ident()
        try:
            yield
        finally:
            try:
                self._settle()
                self.platform.trace.raise_failure()
            finally:
                self._runner = None
                self._run_lock.release()
                if self._close_wanted:
                    self.close()

    def _build(self, image: Image, config: DomainConfig) -> Domain:
        domain = self._toolstack.create(image, config)
        self._begin(domain, image, config)
        return domain

    def _begin(self, domain: Domain, image: Image, config: DomainConfig) -> None:
        """A domain that was made of this is one of the machine's from now on."""
        self._registry.begin(domain)
        self._lives.begin(domain, image, config)
        for vcpu in domain.vcpus:
            self._loop.scheduler.add(vcpu)

    def _settle(self) -> None:
        """Take away the domains that were destroyed meanwhile: all of them, also when a console sink or a
        trace subscriber raises at the end of one. Then do with those that ended what is to become of them.
        """
        try:
            while self._doomed:
                self._take_away(self._doomed.pop(0))
        except BaseException:
            self._settle()
            raise
        if not self._close_wanted:
            self._lives.settle()
        self._between_slices.make()

    def _unsettled(self) -> bool:
        return bool(self._doomed) or self._lives.unsettled or self._between_slices.asked

    def _take_away(self, domain: Domain) -> None:
        self._lives.forget(domain)
        for vcpu in domain.vcpus:
            self._loop.scheduler.remove(vcpu)
        self._registry.retire(domain)
        self._toolstack.destroy(domain)
