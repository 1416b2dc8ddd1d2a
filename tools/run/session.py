"""Several domains on one machine: their consoles, their ends, and how the whole of it ends."""

from __future__ import annotations

import errno
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from paravane import ImageError, Machine, ShutdownReason, StopReason
from paravane.ending import exit_status
from paravane.text import shown
from paravane.tools.consoles import DomainConsole, PrefixedLines
from paravane.tools.ctl.server import Control
from paravane.tools.lines import Lines, logging_to
from paravane.tools.outlet import Backpressure, Outlet
from paravane.tools.run.joined import JoinedConsole
from paravane.tools.signals import Signals
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import STDERR, STDOUT, colourful
from paravane.trace import DomainEvent, DomainRecord, Kind
from paravane.trace.text import body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane import Domain, Ending
    from paravane.tools.run.domains import Planned
    from paravane.tools.trace_output import TraceOutput
    from paravane.trace import Record

GRACE: Final = 0.25
"""Seconds that the readers of our output have left when the time given is over."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants of a machine.

    `machine` makes it, and `name` is what `ctl` calls it; `deadline` (of `time.monotonic`) and `max_traps`
    (0: none) bound its run. Domains are created `paused`; `console` is that of the domain to join. `trace`
    takes records, and stderr those of refusals to `explain`; `audit` recounts all frames at the end.
    """

    machine: Callable[[], Machine]
    name: str
    deadline: float | None = None
    max_traps: int = 0
    paused: bool = False
    console: str | None = None
    trace: TraceOutput | None = None
    explain: bool = False
    audit: bool = False
    log_level: str = "WARNING"


class MachineSession:
    """Runs domains until all have ended: what they print on stdout, all else on stderr."""

    def __init__(self, planned: Sequence[Planned], wishes: Wishes) -> None:
        self._planned = planned
        self._wishes = wishes
        self._errors = Lines(STDERR)
        self._output = Outlet(STDOUT, failed=self._nobody_reads)
        names = [domain.name for domain in planned]
        self._lines = PrefixedLines(names, self._put, colour=colourful(STDOUT))
        self._joined = None if wishes.console is None else JoinedConsole(self._errors.write)
        self._signals = Signals(self._restore, requests=2)
        self._machine: Machine | None = None
        self._backpressure: Backpressure | None = None
        self._consoles: dict[str, DomainConsole] = {}
        self._control: Control | None = None
        self._ends: dict[str, ShutdownReason] = {}
        self._going = False

    def run(self) -> Status:
        """The exit status. Does not return when a signal other than SIGINT ended it."""
        with self._signals, logging_to(self._errors, self._wishes.log_level):
            status = self._put_out(self._run())
        self._signals.die()
        return status

    def _run(self) -> Status:
        wishes = self._wishes
        with wishes.machine() as machine, ExitStack() as stack:
            self._machine, self._backpressure = machine, Backpressure(self._output, machine)
            self._watch(machine, stack)
            self._create(machine)
            ending = self._until_the_end(machine)
            stack.close()
            self._lines.flush()
            status = self._report(machine, ending)
            if wishes.audit and not self._audit(machine):
                status = status or Status.ERRORS
            self._machine = self._backpressure = self._control = None
            return status

    def _watch(self, machine: Machine, stack: ExitStack) -> None:
        """Connect signals, trace and stderr with the machine, until the stack is closed."""
        self._signals.interrupt = self._interrupted
        if self._signals.asked_to_stop():
            machine.interrupt()
        for lines in (self._errors, self._wishes.trace):
            if lines is not None:
                lines.join(machine)
                stack.callback(lines.join, None)
        if self._wishes.explain:
            machine.trace.subscribe(lambda record: self._errors.write(body(record)), (Kind.REFUSAL,))
        machine.trace.subscribe(self._note, (Kind.DOMAIN,))
        machine.when_stalled(self._stalled)
        hidden = self._joined is not None
        for planned in self._planned:
            show = _hide if hidden else partial(self._lines.write, planned.name)
            self._consoles[planned.name] = DomainConsole(machine, planned.name, show)
        self._control = Control(machine, self._wishes.name, self._consoles)
        stack.callback(self._control.close)

    def _create(self, machine: Machine) -> None:
        for planned in self._planned:
            sink = self._consoles[planned.name].write
            try:
                machine.create(planned.image, replace(planned.config, sink=sink), paused=self._wishes.paused)
            except ImageError as error:
                raise UsageError(f"{planned.settings.source}: {error}", Status.IMAGE) from None
            except ValueError as error:
                raise UsageError(f"{planned.settings.source}: {error}") from None

    def _until_the_end(self, machine: Machine) -> Ending:
        wishes = self._wishes
        run = partial(machine.run, deadline=wishes.deadline, max_traps=wishes.max_traps)
        if self._joined is None or wishes.console is None:
            return run()
        with self._joined.joined(machine, self._consoles[wishes.console]):
            ending = run()
        if (
            not self._joined.left
            or ending.reason is not StopReason.INTERRUPTED
            or self._signals.asked_to_stop()
        ):
            return ending
        self._say(f"the console of {wishes.console} was left; Ctrl-C ends the machine")
        for name, console in self._consoles.items():
            console.show = partial(self._lines.write, name)
        return run()

    # What happens meanwhile.

    def _note(self, record: Record) -> None:
        """A domain was built, has ended or is gone: remember how it ended, and say it."""
        assert isinstance(record, DomainRecord)
        name = record.domain_name
        if self._machine is None:
            return
        if record.event is DomainEvent.BUILT and name in self._consoles:
            self._machine.post(self._consoles[name].renew)
        if record.event is DomainEvent.DESTROYED and self._control is not None:
            self._machine.post(partial(self._control.gone, name))
        if record.reason is None:
            return
        self._ends[name] = record.reason
        domain = self._machine.domains.get(record.domid)
        if record.event is DomainEvent.CRASHED and domain is not None:
            self._errors.write(domain.crash_report.removesuffix("\n"))
        else:
            self._say(f"{name} (domain {record.domid}) has ended: {record.reason}")

    def _interrupted(self) -> None:
        """A signal that would end the process came. In the signal's handler."""
        machine = self._machine
        if machine is not None:
            if self._signals.count == 1:
                machine.post(self._shut_down)
            else:
                machine.interrupt()

    def _shut_down(self) -> None:
        """Ask every domain to power off. One that is paused cannot hear it."""
        machine = self._machine
        if machine is None:
            return
        self._going = True
        machine.end_restarts()
        living = [domain for domain in machine.domains.values() if domain.alive]
        self._say(f"{len(living)} domains are asked to power off; Ctrl-C again destroys them")
        for domain in living:
            if domain.paused:
                self._destroy(domain, "it is paused")
            else:
                machine.shutdown(domain)

    def _stalled(self) -> None:
        """Every vcpu sleeps, and no timer or input can wake one."""
        machine = self._machine
        if machine is None:
            return
        if not self._going:
            self._say(f"{StopReason.STALLED.value}; `paravane ctl` can still end the domains, or Ctrl-C")
            return
        for domain in [*machine.domains.values()]:
            if domain.alive:
                self._destroy(domain, "it sleeps and does not listen")

    def _destroy(self, domain: Domain, why: str) -> None:
        self._say(f"{domain.name} is destroyed: {why}")
        if self._machine is not None:
            self._machine.destroy(domain)

    # The end.

    def _report(self, machine: Machine, ending: Ending) -> Status:
        """Say on stderr what the exit status alone does not."""
        asked = self._signals.asked_to_stop()
        if ending.reason is not StopReason.DONE:
            self._say(f"the machine was stopped: {self._why(ending)}")
            for domain in machine.domains.values():
                if domain.alive:
                    self._errors.write(domain.where().removesuffix("\n"))
            if not asked and self._is_broken:
                return Status.ERRORS
            return Status(exit_status(ending.reason, None))
        if asked:
            return Status.INTERRUPTED
        ends = (self._ends.get(planned.name, ShutdownReason.poweroff) for planned in self._planned)
        statuses = (Status(exit_status(ending.reason, reason)) for reason in ends)
        return next((status for status in statuses if status is not Status.OK), Status.OK)

    def _why(self, ending: Ending) -> str:
        if ending.reason is StopReason.INTERRUPTED:
            if self._signals.caught is not None:
                return f"{self._signals.caught.name} came"
            if self._is_broken:
                return "nobody reads its consoles any more"
        return str(ending)

    def _audit(self, machine: Machine) -> bool:
        """Recount the frames and say what differs; whether nothing does."""
        differences = machine.audit()
        for line in differences or ["no difference"]:
            self._errors.write(f"audit: {line}")
        return not differences

    def _put_out(self, status: Status) -> Status:
        """Wait for the readers of our output, as long as the time given lasts and no signal comes, and say
        what was lost."""
        asked, soon = self._signals.asked_to_stop, time.monotonic() + GRACE
        deadline = None if self._wishes.deadline is None else max(self._wishes.deadline, soon)
        if asked():
            deadline = soon
        before = self._signals.count
        abandon: Callable[[], bool] = lambda: self._signals.count > before  # noqa: E731
        lost = self._output.drain(deadline, abandon)
        failure = self._output.failure
        if failure is not None and failure.errno == errno.EPIPE:
            failure = None  # whoever read it has seen enough
        losses = [("console output", failure, lost)]
        if self._joined is not None:
            losses.append(("console output", self._joined.failure, self._joined.drain(deadline, abandon)))
        if self._wishes.trace is not None:
            self._wishes.trace.finish()
            lost = self._wishes.trace.drain(deadline, abandon)
            losses.append(("the trace", self._wishes.trace.failure, lost))
        for what, failure, count in losses:
            if failure is not None or count:
                self._say(f"{what} was lost: {failure.strerror if failure else f'{count} bytes, unread'}")
                status = status or Status.ERRORS
        self._errors.drain(deadline, abandon)
        return status

    def _put(self, data: bytes) -> None:
        self._output.put(data)
        if self._backpressure is not None:
            self._backpressure.heed()

    def _nobody_reads(self) -> None:
        """Nothing can be put out any more. In the writing thread."""
        if self._machine is not None:
            self._machine.interrupt()

    @property
    def _is_broken(self) -> bool:
        return self._output.failure is not None or (self._joined is not None and self._joined.broken)

    def _restore(self) -> None:
        if self._joined is not None:
            self._joined.restore()

    def _say(self, sentence: str) -> None:
        self._errors.write(f"paravane: {shown(sentence)}")


def _hide(data: bytes) -> None:
    """Show nothing of it."""
