"""What a domain owns, how it ends, and what its administrator hears of it."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from paravane import report as reports
from paravane import trace as traces
from paravane.abi.event_channel import Virq
from paravane.abi.sched import SHUTDOWN_MAX, ShutdownReason
from paravane.abi.shared_info import SHARED_INFO
from paravane.abi.vcpu import Runstate
from paravane.classes import dataclass
from paravane.cpu import CodeGroup
from paravane.hypervisor_console import HypervisorConsole
from paravane.log_limit import DomainLog, LineLimit, LogRate
from paravane.place import Places
from paravane.sched import Share
from paravane.text import shown
from paravane.trace import DomainEvent, Kind
from paravane.traps import Peripherals
from paravane.watchdog import Watchdogs

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from paravane.devices.console import ControlConsole, HostEnd
    from paravane.devices.xenbus import DomainDevices
    from paravane.devices.xenstore import Connection
    from paravane.events import EventChannels
    from paravane.grants import GrantTable
    from paravane.image import Image
    from paravane.image.source_text import SourceText
    from paravane.memory import DomainMemory
    from paravane.platform import Platform
    from paravane.tlb.spec import TlbSpec
    from paravane.vcpu import Vcpu

_MAX_PFN = SHARED_INFO.offsets["arch.max_pfn"]

MOST_PAUSES = 255
"""Pauses that are counted; Xen refuses one more with -EOVERFLOW."""

TRANSCRIPT = 16 << 20
"""Bytes of console output that a domain keeps."""


@dataclass(slots=True)
class DomainState:
    """What has to be kept of a domain besides what its parts keep: how it ended, and what it has printed.

    `shutdown_code` is what a later shutdown reports whatever reason it gives, `reason` why the domain ended
    (None: it lives), `crash_report` what its administrator is told of a crash. `pauses` counts how often its
    administrator has paused it, and `max_memory` is what it may be asked to have at most, in bytes.
    """

    shutdown_code: int | None = None
    pauses: int = 0
    max_memory: int = 0
    reason: ShutdownReason | None = None
    crash_report: str = ""
    transcript: bytearray = field(default_factory=bytearray)


class DomainConsole(Protocol):
    """A domain's console, seen from outside: see `paravane.devices.console.Console`."""

    @property
    def room(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    def feed(self, data: bytes) -> int: ...
    def when_room(self, callback: Callable[[], None]) -> None: ...
    def resume(self) -> None: ...


class DomainDebugger(Protocol):
    """A debugger, as the domain that it looks at sees it."""

    def crashing(self, sentence: str, crash: Callable[[], None], *, own: bool) -> bool:
        """The domain is about to crash: by what it did or, with `own`, because its kernel asked for it. True:
        not yet; the debugger calls `crash` later, and the vcpus do not run before."""
        ...

    def over(self) -> None:
        """The domain has ended, or is being taken away."""
        ...


class Domain:
    """One guest: memory, vcpus, event channels, grants, and how it ended.

    `resources` are closed with the domain, those made last first. `console` is what a terminal joins: the
    ring console, for the control domain the hypervisor's console, and nothing for a domain whose console
    another guest carries; `console_end` is where that is on the host.
    """

    events: EventChannels
    grants: GrantTable
    console: DomainConsole
    console_end: HostEnd | None = None
    devices: DomainDevices
    store: Connection | None = None

    def __init__(
        self,
        platform: Platform,
        domid: int,
        name: str,
        image: Image,
        memory: DomainMemory,
        share: Share | None = None,
        log_rate: LogRate | None = None,
    ) -> None:
        """`share` is what it may have of the processor (None: as much as others), `log_rate` how many lines
        it may cause in the log (None: the usual)."""
        self.share = share or Share()
        self.platform = platform
        self.domid = domid
        self.name = name
        self.image = image
        self.places = Places(image)
        self.sources: SourceText | None = None
        self.memory = memory
        self.debugger: DomainDebugger | None = None
        self.when_ended: Callable[[Domain], None] | None = None
        limit = LineLimit(log_rate or LogRate(), platform.clock.now)
        self.log = DomainLog(logging.getLogger(f"paravane.d{domid}"), limit, lambda: platform.trace.muted)
        self.vcpus: list[Vcpu] = []
        self.online_vcpus: int | None = None
        """How many of them its administrator wants it to use; None: all."""
        self.tlb: TlbSpec | None = None
        """The TLB of each of its processors; None: the engine's own, which is fast and counts nothing."""
        self.shared_info = 0
        self.state = DomainState()
        self.resources = ExitStack()
        self.hypervisor_console: HypervisorConsole | ControlConsole = HypervisorConsole(domid, self._say)
        self.peripherals = Peripherals()
        self.code_group = CodeGroup()
        self.watchdogs = Watchdogs(platform, f"d{domid}", self._watchdog_expired)

    @cached_property
    def handle(self) -> UUID:
        """What names it beside its number, which others get after it; who administers it may set another."""
        from uuid import UUID  # noqa: PLC0415 - it loads a lot, and few domains are asked for it

        return UUID(int=self.domid)

    @property
    def alive(self) -> bool:
        return self.state.reason is None

    @property
    def privileged(self) -> bool:
        """Whether it is the control domain, which may make others and do to them what it likes."""
        return self.memory.privileged

    @property
    def reason(self) -> ShutdownReason | None:
        """Why it ended: poweroff, reboot, suspend, crash, watchdog or soft_reset; None while it runs."""
        return self.state.reason

    @property
    def paused(self) -> bool:
        """Whether its administrator lets none of its vcpus run."""
        return self.state.pauses > 0

    @property
    def max_memory(self) -> int:
        """Bytes that its administrator may ask it to have at most."""
        return self.state.max_memory

    @max_memory.setter
    def max_memory(self, size: int) -> None:
        self.state.max_memory = size

    @property
    def processor_time(self) -> int:
        """Nanoseconds that its vcpus have had of the processor, as its scheduler counts them."""
        return sum(vcpu.entity.used for vcpu in self.vcpus)

    @property
    def running_time(self) -> int:
        """Nanoseconds of system time that its vcpus were running, as they are told themselves
        (VCPUOP_get_runstate_info)."""
        return sum(vcpu.time.run_states().time[Runstate.running] for vcpu in self.vcpus)

    @property
    def crash_report(self) -> str:
        """What ended it and where, as lines of text; empty unless it crashed by what a vcpu did."""
        return self.state.crash_report

    def where(self) -> str:
        """Where each of its vcpus is and what it waits for, as lines of text (`paravane.report`); without the
        vcpus once it is destroyed. Its guest must not be executing, or be in one of its traps."""
        platform = self.platform
        vcpus = [vcpu.report() for vcpu in self.vcpus]
        return reports.domain_report(
            self.domid, self.name, vcpus, platform.timers.armed(), platform.clock.now()
        )

    def dump(self, vcpu_id: int, fault: int | None = None) -> str:
        """Where its vcpus are, as lines of text for a crash report: first the one that is the reason, with
        the page walk of the linear address `fault` if one could not be used, then the others."""
        others = [vcpu.report() for vcpu in self.vcpus if vcpu.vcpu_id != vcpu_id]
        return self.vcpus[vcpu_id].report(fault) + "".join(others)

    def add_vcpu(self, vcpu: Vcpu) -> Vcpu:
        """Vcpus are added in the order of their ids."""
        self.vcpus.append(vcpu)
        vcpu.run_state.set_paused(self.paused)
        self.resources.callback(vcpu.close)
        return vcpu

    def wake(self, vcpu_id: int) -> None:
        """An event has come for a vcpu. One that the control domain has not made yet finds it pending."""
        if vcpu_id < len(self.vcpus):
            self.vcpus[vcpu_id].run_state.wake()

    def has_other_runnable(self, vcpu_id: int) -> bool:
        """Whether another vcpu than `vcpu_id` could use a processor now."""
        return any(vcpu.run_state.runnable for vcpu in self.vcpus if vcpu.vcpu_id != vcpu_id)

    def console_output(self) -> bytes:
        """The last `TRANSCRIPT` bytes the guest has put on its console, when nobody else takes them."""
        return bytes(self.state.transcript)

    def keep_output(self, data: bytes) -> None:
        """Take output for `console_output`; of a guest that prints for ever, the end is kept."""
        transcript = self.state.transcript
        transcript += data
        if len(transcript) > TRANSCRIPT:
            del transcript[:-TRANSCRIPT]

    def close(self) -> None:
        """Free processors, backends, grants and event channels, not the memory. Idempotent."""
        self.watchdogs.stop()
        if dropped := self.log.limit.settle():
            self.log.put(dropped)
        if self.debugger is not None:
            self.debugger.over()
        try:
            self.resources.close()
        finally:
            self.vcpus.clear()

    def pause(self) -> None:
        """Let no vcpu run before as many `unpause`. ValueError beyond `MOST_PAUSES`."""
        if self.state.pauses >= MOST_PAUSES:
            raise ValueError(f"{self.name} is paused {MOST_PAUSES} times already")
        self._count_pauses(self.state.pauses + 1)

    def unpause(self) -> None:
        """Undo one `pause`. ValueError when there is none."""
        if not self.paused:
            raise ValueError(f"{self.name} is not paused")
        self._count_pauses(self.state.pauses - 1)

    @property
    def max_pfn(self) -> int:
        """What the guest says its highest pfn is: the word `arch.max_pfn` of shared_info."""
        at = self.shared_info + _MAX_PFN
        return int.from_bytes(self.platform.ram.bytes[at : at + 4], "little")

    def is_named(self, domid: int) -> bool:
        """Whether the guest means itself by `domid`. Raises Refusal(ESRCH) when there is no such domain."""
        return self.platform.domains.named(self.domid, domid).domid == self.domid

    def set_shutdown_code(self, code: int) -> None:
        """Fix the reason that a later shutdown reports; the first one stays."""
        if self.state.shutdown_code is None:
            self.state.shutdown_code = code

    def shutdown(self, code: int, dump: Callable[[], str] | None = None) -> None:
        """Stop every vcpu for good. `code` is a SHUTDOWN_* reason; one Xen does not know is a crash.

        `dump` gives the text of a crash report: for a kernel that reports its own crash by this call.
        """
        if not self.alive:
            return
        fixed = self.state.shutdown_code
        reached = code if fixed is None else fixed
        reason = ShutdownReason(reached) if reached <= SHUTDOWN_MAX else ShutdownReason.crash
        if reason is ShutdownReason.crash:
            sentence = f"its kernel asked for shutdown with reason {reached}"
            if self._put_off(sentence, lambda: self.shutdown(code, dump), own=True):
                return
            if dump is not None:
                self._report(sentence, dump())
        self.state.shutdown_code = reached
        self._end(reason, f"shut down: {reason.name}")
        self.tell(DomainEvent.ENDED, reason)

    def resume(self) -> None:
        """Go on after the domain has ended, however it did (XEN_DOMCTL_resumedomain): every vcpu is where it
        was, and nothing of it is gone. Nothing happens to one that lives."""
        if self.alive:
            return
        state = self.state
        state.reason, state.shutdown_code, state.crash_report = None, None, ""
        self.watchdogs.resume()
        for vcpu in self.vcpus:
            vcpu.run_state.resume()
        self.log.info("resumed")
        self.tell(DomainEvent.RESUMED)

    def crash(self, sentence: str, dump: str) -> None:
        """End the domain for something that has no other answer: `sentence` says what, `dump` where."""
        if not self.alive or self._put_off(sentence, lambda: self.crash(sentence, dump), own=False):
            return
        self._report(sentence, dump)
        # What the control domain is told (Xen's domain_shutdown): a code that the guest has fixed stays. Its
        # administrator hears of the crash all the same.
        self.set_shutdown_code(ShutdownReason.crash)
        self._end(ShutdownReason.crash, f"crashed: {sentence}")
        self.tell(DomainEvent.CRASHED, ShutdownReason.crash, sentence)

    def tell(self, event: DomainEvent, reason: ShutdownReason | None = None, sentence: str = "") -> None:
        """Write what happened to the domain into the trace."""
        trace = self.platform.trace
        if trace.wants(Kind.DOMAIN):
            _, vcpu, place = trace.here(self.domid)
            head = (self.platform.clock.now(), self.domid, vcpu, place)
            trace.write(traces.DomainRecord(*head, event, self.name, reason, sentence))

    def _count_pauses(self, pauses: int) -> None:
        self.state.pauses = pauses
        for vcpu in self.vcpus:
            vcpu.run_state.set_paused(self.paused)

    def _put_off(self, sentence: str, crash: Callable[[], None], *, own: bool) -> bool:
        """Whether a debugger wants to look at a crash before it happens."""
        return self.debugger is not None and self.debugger.crashing(sentence, crash, own=own)

    def _report(self, sentence: str, dump: str) -> None:
        self.state.crash_report = f"domain {self.domid} ({shown(self.name)}) crashed: {sentence}\n{dump}"

    def _end(self, reason: ShutdownReason, action: str) -> None:
        self.state.reason = reason
        self.watchdogs.stop()
        self.hypervisor_console.close()
        if dropped := self.log.limit.settle():
            self._print(f"(d{self.domid}) {dropped}")
        for vcpu in self.vcpus:
            vcpu.run_state.end()
        if self.debugger is not None:
            self.debugger.over()
        self.log.info("%s", action)
        self.platform.exchange.raise_global(Virq.DOM_EXC)
        if self.when_ended is not None:
            self.when_ended(self)

    def _say(self, line: str) -> None:
        """Put a line of the guest's out on the hypervisor's console, unless there were too many."""
        before = self.log.limit.take()
        if before is not None:
            if before:
                self._print(f"(d{self.domid}) {before}")
            self._print(line)

    def _print(self, line: str) -> None:
        self.log.put(line)
        self.platform.console_ring.put(line)
        self.platform.exchange.raise_global(Virq.CON_RING)

    def _watchdog_expired(self) -> None:
        self.log.warning("a watchdog was not pushed back in time")
        self.shutdown(ShutdownReason.watchdog)
