"""Several domains on one machine: their consoles, their ends, and how the whole of it ends."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from paravane import ImageError, Machine, ShutdownReason, StopReason
from paravane.classes import dataclass
from paravane.ending import exit_status
from paravane.text import shown
from paravane.tools.console_options import numbered, places, wired
from paravane.tools.consoles import DomainConsole, PrefixedLines
from paravane.tools.ctl.server import Control
from paravane.tools.lines import Lines, logging_to
from paravane.tools.machine_options import serve_store
from paravane.tools.outlet import Backpressure, Outlet
from paravane.tools.parting import Stream, audited, patience, put_out
from paravane.tools.run.joined import JoinedConsole
from paravane.tools.run.orderly_end import OrderlyEnd
from paravane.tools.screens import addresses
from paravane.tools.signals import Signals
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import STDERR, STDOUT, colourful
from paravane.tools.tlb_options import tlb_report
from paravane.trace import DomainEvent, DomainRecord, Kind
from paravane.trace.text import body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from paravane import Domain, Ending
    from paravane.tools.run.domains import Planned
    from paravane.tools.trace_output import TraceOutput
    from paravane.trace import Record


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants of a machine.

    `machine` makes it, and `name` is what `ctl` calls it; `deadline` (of `time.monotonic`) and `max_traps`
    (0: none) bound its run. Domains are created `paused`; `console` is that of the domain to join. Xenstore
    listens at `store_socket` too, if that is given. `trace`
    takes records, and stderr those of refusals to `explain`; `audit` recounts all frames at the end.
    """

    machine: Callable[[], Machine]
    name: str
    deadline: float | None = None
    max_traps: int = 0
    paused: bool = False
    console: str | None = None
    store_socket: Path | None = None
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
        names = [_label(domain.name, number) for domain in planned for number, _ in numbered(domain.config)]
        self._lines = PrefixedLines(names, self._put, colour=colourful(STDOUT))
        self._signals = Signals(self._restore, requests=2)
        self._machine: Machine | None = None
        self._backpressure: Backpressure | None = None
        self._consoles: dict[str, DomainConsole] = {}
        self._extras: dict[tuple[str, int], DomainConsole] = {}
        self._joined = (
            None if wishes.console is None else JoinedConsole(self._errors, wishes.console, self._consoles)
        )
        self._control: Control | None = None
        self._ends: dict[str, ShutdownReason] = {}
        self._absent = False
        """Whether a domain could not be created."""
        self._end: OrderlyEnd | None = None

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
            if wishes.audit and not audited(machine, self._errors.write):
                status = status or Status.ERRORS
            self._machine = self._backpressure = self._control = self._end = None
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
        self._end = OrderlyEnd(machine, self._say)
        hidden = self._joined is not None
        for planned in self._planned:
            self._consoles[planned.name] = DomainConsole(machine, planned.name, _hide)
            for number, _ in numbered(planned.config):
                if number:
                    self._extras[planned.name, number] = DomainConsole(machine, planned.name, _hide, number)
        if not hidden:
            self._show_lines()
        self._control = Control(machine, self._wishes.name, self._consoles, self._extras)
        stack.callback(self._control.close)
        serve_store(machine, self._wishes.store_socket)

    def _create(self, machine: Machine) -> None:
        for planned in self._planned:
            config = wired(planned.config, partial(self._taker, planned.name))
            try:
                machine.create(planned.image, config, paused=self._wishes.paused)
            except ImageError as error:
                raise UsageError(f"{planned.settings.source}: {error}", Status.IMAGE) from None
            except ValueError as error:
                raise UsageError(f"{planned.settings.source}: {error}") from None
            except MemoryError as error:
                self._absent = True
                self._say(f"{planned.name} is not created: {error}")

    def _until_the_end(self, machine: Machine) -> Ending:
        wishes = self._wishes
        run = partial(machine.run, deadline=wishes.deadline, max_traps=wishes.max_traps)
        joined = self._joined
        if joined is None:
            return self._with_savings(run)
        with joined.joined(machine):
            ending = self._with_savings(run)
        if (failure := joined.finish()) is not None:
            self._say(f"what was traced is not whole: {failure.strerror}")
        if not joined.left or ending.reason is not StopReason.INTERRUPTED or self._signals.asked_to_stop():
            return ending
        self._say(f"the console of {joined.focused} was left; Ctrl-C ends the machine")
        self._show_lines()
        return self._with_savings(run)

    def _with_savings(self, run: Callable[[], Ending]) -> Ending:
        """The last ones that suspended themselves to be saved are saved now; one that cannot be goes on."""
        ending = run()
        while (
            ending.reason is StopReason.DONE and self._control is not None and self._control.savings.settle()
        ):
            ending = run()
        return ending

    def _taker(self, name: str, number: int) -> Callable[[bytes], None]:
        return (self._extras[name, number] if number else self._consoles[name]).write

    def _show_lines(self) -> None:
        """Put out lines of all consoles that are nowhere else."""
        for planned in self._planned:
            for number, spec in numbered(planned.config):
                console = self._extras[planned.name, number] if number else self._consoles[planned.name]
                if spec.on_terminal:
                    console.show = partial(self._lines.write, _label(planned.name, number))

    # What happens meanwhile.

    def _note(self, record: Record) -> None:
        """A domain was built, has ended or is gone: remember how it ended, and say it."""
        assert isinstance(record, DomainRecord)
        name = record.domain_name
        if self._machine is None:
            return
        if record.event is DomainEvent.BUILT and name in self._consoles:
            self._machine.post(partial(self._born, name))
        if record.event is DomainEvent.DESTROYED and self._control is not None:
            self._machine.post(partial(self._control.gone, name))
            self._machine.post(self._control.savings.settle)
            if self._ends.get(name) is ShutdownReason.suspend:
                del self._ends[name]  # saved, or no longer wanted
        if record.reason is not None and self._control is not None:
            self._machine.post(self._control.savings.settle)
        if record.event is DomainEvent.RESUMED:
            self._ends.pop(name, None)
            self._say(f"{name} (domain {record.domid}) goes on")
        if record.reason is None:
            return
        self._ends[name] = record.reason
        domain = self._machine.domains.get(record.domid)
        if record.event is DomainEvent.CRASHED and domain is not None:
            self._errors.write(domain.crash_report.removesuffix("\n"))
        else:
            self._say(f"{name} (domain {record.domid}) has ended: {record.reason}")
        if domain is not None:
            self._tell_of_tlb(domain)

    def _tell_of_tlb(self, domain: Domain) -> None:
        for line in tlb_report(domain):
            self._errors.write(line)

    def _born(self, name: str) -> None:
        """There is a domain of this name, for the first time or again."""
        for console in (self._consoles[name], *(one for key, one in self._extras.items() if key[0] == name)):
            console.renew()
        domain = self._consoles[name].domain
        for sentence in (*places(domain), *addresses(domain)) if domain is not None else ():
            self._say(sentence)

    def _interrupted(self) -> None:
        """A signal that would end the process came. In the signal's handler."""
        if self._machine is not None and self._end is not None:
            if self._signals.count == 1:
                self._machine.post(self._end.begin)
            else:
                self._machine.interrupt()

    # The end.

    def _report(self, machine: Machine, ending: Ending) -> Status:
        """Say on stderr what the exit status alone does not."""
        asked = self._signals.asked_to_stop()
        if ending.reason is not StopReason.DONE:
            self._say(f"the machine was stopped: {self._why(ending)}")
            for domain in machine.domains.values():
                if domain.alive:
                    self._errors.write(domain.where().removesuffix("\n"))
                    self._tell_of_tlb(domain)
            if not asked and self._is_broken:
                return Status.ERRORS
            return Status(exit_status(ending.reason, None))
        if asked:
            return Status.INTERRUPTED
        ends = (self._ends.get(planned.name, ShutdownReason.poweroff) for planned in self._planned)
        statuses = (Status(exit_status(ending.reason, reason)) for reason in ends)
        otherwise = Status.ERRORS if self._absent else Status.OK
        return next((status for status in statuses if status is not Status.OK), otherwise)

    def _why(self, ending: Ending) -> str:
        if ending.reason is StopReason.INTERRUPTED:
            if self._signals.caught is not None:
                return f"{self._signals.caught.name} came"
            if self._is_broken:
                return "nobody reads its consoles any more"
        return str(ending)

    def _put_out(self, status: Status) -> Status:
        """Wait for the readers of our output, as long as the time given lasts and no signal comes, and say
        what was lost."""
        asked, joined, trace = self._signals.asked_to_stop(), self._joined, self._wishes.trace
        deadline, abandon = patience(self._wishes.deadline, interrupted=asked), self._signals.another()
        streams = [Stream("console output", self._output.drain, self._failure)]
        if joined is not None:
            streams.append(Stream("console output", joined.drain, lambda: joined.failure))
        if trace is not None:
            streams.append(Stream("the trace", trace.finish, lambda: trace.failure))
        if not put_out(streams, self._say, deadline, abandon):
            status = status or Status.ERRORS
        self._errors.drain(deadline, abandon)
        return status

    def _failure(self) -> OSError | None:
        """Why output was lost, unless it is just that whoever read it has seen enough."""
        failure = self._output.failure
        return None if failure is None or failure.errno == errno.EPIPE else failure

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


def _label(name: str, number: int) -> str:
    """What stands before the lines of a console."""
    return f"{name}/{number}" if number else name


def _hide(data: bytes) -> None:
    """Show nothing of it."""
