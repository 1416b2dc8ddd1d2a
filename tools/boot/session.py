"""One domain on this terminal, through all its lives."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from paravane import Machine, ShutdownReason, StopReason
from paravane.classes import dataclass
from paravane.ending import exit_status
from paravane.text import shown
from paravane.tools.console_options import on_sink, on_terminal, places, takes_terminal
from paravane.tools.ctl.protocol import RequestError
from paravane.tools.files import write_file
from paravane.tools.following import Following
from paravane.tools.lines import Lines, logging_to
from paravane.tools.machine_options import serve_store
from paravane.tools.monitor.on_terminal import OnTerminal
from paravane.tools.parting import Stream, audited, nobody_reads, patience, put_out, why_left
from paravane.tools.progress import telling
from paravane.tools.screens import addresses
from paravane.tools.signals import Signals
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import STDERR
from paravane.tools.terminal import ESCAPES, Terminal
from paravane.tools.tlb_options import tlb_report
from paravane.trace import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paravane import Domain, DomainConfig, Ending
    from paravane.debug.listener import Listener
    from paravane.devices.console import Sink
    from paravane.tools.boot.recording import Journaling
    from paravane.tools.trace_output import TraceOutput

_ENDED: Final = {
    ShutdownReason.reboot: "asked for a reboot",
    ShutdownReason.suspend: "suspended itself",
    ShutdownReason.soft_reset: "asked for a soft reset",
    ShutdownReason.watchdog: "did not push its watchdog back in time",
}
"""What is said of a domain that ended other than by a power-off, or by a crash, whose dump says it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants of a session.

    `machine` makes a machine; `deadline` (of `time.monotonic`) and `max_traps` (0: none) are for all lives;
    `restart` begins another life when the guest asks for a reboot; xenstore listens at `store_socket`, if
    that is given; `trace` takes records,
    and stderr those of refusals to `explain`; `audit` recounts all frames at the end; `dump` is a file for
    the crash dump; `debuggers` come in there, and each life waits for one if asked to; `following` is what
    is followed of each life, for the trace or, without one, for stderr; `journal` keeps the session, or has
    it repeat one, which `repeats` says: then nothing is read from standard input. `no_way_back` is why no
    debugger can go back: a sentence, or nothing.
    """

    machine: Callable[[], Machine]
    deadline: float | None = None
    max_traps: int = 0
    restart: bool = False
    store_socket: Path | None = None
    trace: TraceOutput | None = None
    explain: bool = False
    audit: bool = False
    dump: Path | None = None
    log_level: str = "WARNING"
    debuggers: Listener | None = None
    wait_for_debugger: bool = False
    following: Following = Following()
    journal: Journaling | None = None
    repeats: bool = False
    no_way_back: str = ""


class Session:
    """Runs one domain after the other, console on stdin and stdout, all else on stderr."""

    def __init__(
        self, make: Callable[[Machine, DomainConfig], Domain], config: DomainConfig, wishes: Wishes
    ) -> None:
        """`make` makes the domain of a life; a ValueError of its is told to the user."""
        self._make = make
        self._config = config
        self._wishes = wishes
        self._errors = Lines(STDERR)
        self._terminal = Terminal(errors=self._errors, deaf=wishes.repeats)
        self._monitor = OnTerminal(self._terminal, self)
        self._domain: Domain | None = None
        self._signals = Signals(self._terminal.restore)
        self._deadline = wishes.deadline
        self._traps = 0
        self._told = ""

    @property
    def focused(self) -> str:
        """The domain that the keys go to: the only one with a console here."""
        return self._config.name

    def focus(self, name: str) -> None:
        """Raises RequestError for another domain than that."""
        if name != self.focused:
            raise RequestError(f"{shown(name)} has no console here, only {shown(self.focused)} has")

    def check_steering(self) -> None:
        """Raises RequestError where nobody may do anything to the domain but look at it."""
        if self._wishes.journal is not None:
            raise RequestError(self._wishes.journal.steered)

    def leave(self) -> None:
        """The user has seen enough."""
        self._terminal.leave()

    def run(self) -> Status:
        """The exit status of the last life. Does not return when a signal other than SIGINT ended it."""
        with self._signals, logging_to(self._errors, self._wishes.log_level):
            status = self._lives()
            if (failure := self._monitor.finish()) is not None:
                self._say(f"what was traced is not whole: {failure.strerror}")
                status = status or Status.ERRORS
            status = self._put_out(status)
            self._wishes.following.write()
        self._signals.die()
        return status

    def _lives(self) -> Status:
        if self._terminal.interactive and takes_terminal(self._config):
            self._say(ESCAPES)
        while True:
            status = self._life()
            if status is not Status.REBOOT or not self._wishes.restart:
                return status
            if (reason := self._used_up()) is not None:
                self._say(f"{self._config.name} is not restarted: {reason.value}")
                return Status(exit_status(reason, None))

    def _create(self, machine: Machine, config: DomainConfig) -> Domain:
        try:
            return self._make(machine, config)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def _life(self) -> Status:
        """From the start of day to the end."""
        wishes = self._wishes
        with wishes.machine() as machine, ExitStack() as stack:
            self._watch(machine, stack)
            if wishes.journal is not None:
                wishes.journal.join(machine)
            config = replace(on_sink(self._config, self._sink()), source_text=True)
            with telling(
                lambda: f"building a domain of {config.memory >> 20} MiB", wanted=wishes.trace is None
            ):
                domain = self._create(machine, config)
            self._domain = domain
            stack.enter_context(self._monitor.about(machine))
            wishes.following.begin(domain, stack)
            for sentence in (*places(domain), *addresses(domain)):
                self._say(sentence)
            if (console := on_terminal(domain, config)) is not None:
                if wishes.journal is not None:
                    console = wishes.journal.begin(machine, console)
                stack.enter_context(self._terminal.joined(machine, console))
            self._admit_debuggers(machine, domain, stack)
            ending = machine.run(deadline=self._deadline, max_traps=self._traps_left())
            self._traps += machine.platform.traps
            stack.close()
            # A debugger that went back in the run has had the domain made anew.
            domain = self._domain = machine.domains.get(domain.domid, domain)
            if wishes.journal is not None:
                ending, self._told = wishes.journal.ended(ending, self._why(ending))
            status = self._report(domain, ending)
            for line in tlb_report(domain):
                self._errors.write(line)
            if wishes.journal is not None and (failure := wishes.journal.failure()):
                self._say(failure)
                status = Status.ERRORS
            if wishes.audit and not audited(machine, self._errors.write):
                status = status or Status.ERRORS
            self._domain = None
            return status

    def _sink(self) -> Sink:
        """What takes the output of the console."""
        terminal, journal = self._terminal, self._wishes.journal
        if journal is None:
            return terminal.write

        def put_out(data: bytes) -> None:
            journal.put_out(data)
            terminal.write(data)

        return put_out

    def _used_up(self) -> StopReason | None:
        """Why there is no other life; None when there may be one."""
        if self._signals.asked_to_stop():
            return StopReason.INTERRUPTED
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return StopReason.TIMEOUT
        if self._wishes.max_traps and self._traps >= self._wishes.max_traps:
            return StopReason.TRAPS
        return None

    def _traps_left(self) -> int:
        return self._wishes.max_traps - self._traps if self._wishes.max_traps else 0

    def _watch(self, machine: Machine, stack: ExitStack) -> None:
        """Connect signals, trace and stderr with the machine, until the stack is closed."""
        self._signals.interrupt = machine.interrupt
        if self._signals.asked_to_stop():
            machine.interrupt()
        wishes, errors = self._wishes, self._errors
        serve_store(machine, wishes.store_socket)
        for lines in (errors, wishes.trace):
            if lines is not None:
                lines.join(machine)
                stack.callback(lines.join, None)
        if wishes.trace is None and wishes.following.kinds:
            from paravane.trace.text import line  # noqa: PLC0415 - loaded for who asks for it only

            machine.trace.subscribe(lambda record: errors.write(line(record)), wishes.following.kinds)
        if wishes.explain:
            from paravane.trace.text import body  # noqa: PLC0415 - loaded for who asks for it only

            machine.trace.subscribe(lambda record: errors.write(body(record)), (Kind.REFUSAL,))

    def _admit_debuggers(self, machine: Machine, domain: Domain, stack: ExitStack) -> None:
        if self._wishes.debuggers is not None:
            from paravane.debug.server import Server  # noqa: PLC0415 - loaded for who asks for it only

            journal, why_not = self._wishes.journal, self._wishes.no_way_back
            history = None if journal is None or why_not else journal.history(machine, domain)
            server = Server(machine, domain, self._wishes.debuggers, history, why_not)
            stack.callback(server.close)
            if self._wishes.wait_for_debugger:
                server.wait()

    def _report(self, domain: Domain, ending: Ending) -> Status:
        """Say on stderr what the exit status alone does not."""
        if domain.crash_report:
            self._errors.write(domain.crash_report.removesuffix("\n"))
            self._write_dump(domain.crash_report)
        if ending.reason is not StopReason.DONE or domain.reason is None:
            self._say(f"{domain.name} did not end: {self._why(ending)}")
            if not nobody_reads(ending, self._signals, self._terminal):
                self._where()
            elif self._terminal.failure is not None:
                # A guest that is quick ends before anybody notices that its output goes nowhere: same status.
                return Status.ERRORS
            return Status(exit_status(ending.reason, None))
        if domain.reason in _ENDED:
            self._say(f"{domain.name} {_ENDED[domain.reason]}")
        if domain.reason is ShutdownReason.watchdog:
            self._where()
        return Status(exit_status(ending.reason, domain.reason))

    def _why(self, ending: Ending) -> str:
        return self._told or why_left(ending, self._signals, self._terminal)

    def _where(self) -> None:
        """Say where the guest is, and what it waits for."""
        if self._domain is not None:
            self._errors.write(self._domain.where().removesuffix("\n"))

    def _write_dump(self, report: str) -> None:
        """The dump as a file. That it cannot be written must not hide that the guest crashed."""
        if self._wishes.dump is not None:
            try:
                write_file(self._wishes.dump, report.encode("utf-8", "backslashreplace"))
            except OSError as error:
                self._say(f"{self._wishes.dump}: {error.strerror}")

    def _put_out(self, status: Status) -> Status:
        """Wait for the readers of our output, as long as the time given lasts and no signal comes, and say
        what was lost."""
        asked = self._signals.asked_to_stop()
        deadline, abandon = patience(self._deadline, interrupted=asked), self._signals.another()
        terminal, trace = self._terminal, self._wishes.trace
        streams = [Stream("console output", terminal.drain, lambda: terminal.failure)]
        if trace is not None:
            streams.append(Stream("the trace", trace.finish, lambda: trace.failure))
        if not put_out(streams, self._say, deadline, abandon):
            status = status or Status.ERRORS
        self._errors.drain(deadline, abandon)
        asked = self._signals.asked_to_stop()
        return Status.INTERRUPTED if asked and status is Status.ERRORS else status

    def _say(self, sentence: str) -> None:
        self._errors.write(f"paravane: {shown(sentence)}")
