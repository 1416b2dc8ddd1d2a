"""`paravane boot --personality full`: a kernel for ring 0 of a bare PC, its serial port on this terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import HostClock, ImageError, VirtualClock
from paravane.classes import NamedTuple
from paravane.ending import CUT_SHORT_STATUS
from paravane.full.machine import LARGEST, SMALLEST, BareMachine
from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from paravane.machine import DETERMINISTIC_SLICE
from paravane.sched import POLICIES
from paravane.text import shown
from paravane.tools import images
from paravane.tools.arguments import command_line
from paravane.tools.deadline import Expired, expiring
from paravane.tools.files import check_folder, refuse_overwriting, write_file
from paravane.tools.lines import Lines, logging_to
from paravane.tools.parting import Stream, audited, nobody_reads, patience, put_out, why_left
from paravane.tools.signals import Signals
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import STDERR
from paravane.tools.terminal import Terminal

if TYPE_CHECKING:
    import argparse

    from paravane.ending import Ending
    from paravane.full.machine import BareGuest
    from paravane.tools.images import Found

DEFAULT_MEMORY: Final = 32 << 20

_TO_STDERR: Final = "-"

_OF_XEN: Final = (
    *("vcpus", "privileged", "disk", "vif", "console", "vfb", "store_socket", "seed", "jitter"),
    *("decisions", "faults", "most_faults", "watch_sources", "trace", "trace_events", "trace_format"),
    *("explain", "record", "dump_on_crash", "gdb", "gdb_wait", "trace_insn"),
    *("breaks", "watches", "coverage", "tlb", "tlb_entries", "tlb_ways", "sched", "xen_build"),
)
_DEFAULTS: Final = {"sched": next(iter(POLICIES)), "xen_build": "debug"}
"""Options of Xen's that always have a value: which one they have where they are not given."""

_OPTIONS: Final = {"breaks": "break", "watches": "watch"}
"""What options are called whose values have another name."""


def boot(options: argparse.Namespace) -> Status:
    """The exit status: 0 when the kernel wrote 0 to the debug exit, 3 for another number and where it could
    not go on, 4 when it reset its machine and is not to be started again. UsageError, OutputError."""
    _check(options)
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    try:
        with expiring(deadline):
            found = images.find(options).with_ramdisk(options.ramdisk)
    except Expired:
        raise UsageError(
            f"{options.image} was not ready when the time given was used up", Status.TIMEOUT
        ) from None
    terminal, errors = Terminal(), Lines(STDERR)
    signals = Signals(terminal.restore)
    with signals, logging_to(errors, options.log_level.upper()):
        life = _Lives(options, found, terminal, signals, deadline, errors).last()
        status = _report(shown(options.name or found.name), life, signals, terminal, errors)
        if not life.sound:
            status = status or Status.ERRORS
        if options.screen == _TO_STDERR:
            errors.put(life.screen.encode())
        stream = Stream("console output", terminal.drain, lambda: terminal.failure)
        wait = patience(deadline, interrupted=signals.asked_to_stop())
        if not put_out((stream,), errors.write, wait, signals.another()):
            status = status or Status.ERRORS
        errors.drain(wait, signals.another())
    if options.screen not in (None, _TO_STDERR):
        # A pipe that nobody reads is waited for, until a signal comes, of which the first ends it now.
        write_file(Path(options.screen), life.screen.encode())
    signals.die()
    return status


class _Life(NamedTuple):
    """A machine that has run: its kernel, why it was left, what its screen shows, the traps it took, and
    whether an audit that was asked for found nothing."""

    guest: BareGuest
    ending: Ending
    screen: str
    traps: int
    sound: bool


class _Lives:
    """The machine, and those that follow as the kernel resets it, with `--on-reboot restart`."""

    def __init__(
        self,
        options: argparse.Namespace,
        found: Found,
        terminal: Terminal,
        signals: Signals,
        deadline: float | None,
        errors: Lines,
    ) -> None:
        self._options, self._found, self._terminal = options, found, terminal
        self._signals, self._deadline, self._errors = signals, deadline, errors
        self._traps_left: int = options.max_traps

    def last(self) -> _Life:
        """Run them all."""
        while True:
            life = self._one()
            if life.guest.reset_by is None or self._options.on_reboot != "restart":
                return life
            if self._options.max_traps:
                # The last one keeps one: 0 is no limit.
                self._traps_left = max(1, self._traps_left - life.traps)

    def _one(self) -> _Life:
        options, signals = self._options, self._signals
        with _machine(options, self._found, self._terminal) as machine:
            signals.interrupt = machine.interrupt
            if signals.asked_to_stop():
                machine.interrupt()
            with self._terminal.joined(machine, machine.guest.console):
                ending = machine.run(deadline=self._deadline, max_traps=self._traps_left)
            sound = not options.audit or audited(machine, self._errors.write)
            return _Life(machine.guest, ending, machine.pc.screen.text(), machine.platform.traps, sound)


def _machine(options: argparse.Namespace, found: Found, terminal: Terminal) -> BareMachine:
    try:
        return BareMachine(
            found.data,
            options.memory or found.memory or DEFAULT_MEMORY,
            command_line=command_line(options.cmdline) or found.cmdline,
            ramdisk=found.ramdisk_image,
            sink=terminal.write,
            clock=HostClock() if options.clock == "host" else VirtualClock(),
            slice_instructions=DETERMINISTIC_SLICE if options.deterministic else 0,
            sensitive=Sensitive(options.sensitive or Sensitive.REWRITE.value),
            shadow=Policy(options.shadow or Policy.VTLB.value),
        )
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    except MemoryError as error:
        raise UsageError(str(error), Status.ERRORS) from None


def _check(options: argparse.Namespace) -> None:
    """UsageError for what a bare PC has not."""
    for name in _OF_XEN:
        given = getattr(options, name)
        if given and given != _DEFAULTS.get(name):
            option = _OPTIONS.get(name, name).replace("_", "-")
            raise UsageError(f"--{option} is not for --personality full")
    memory = options.memory or DEFAULT_MEMORY
    if not SMALLEST <= memory <= LARGEST:
        raise UsageError(f"--memory: a bare PC has {SMALLEST >> 20} MiB to {LARGEST >> 30} GiB")
    if options.screen not in (None, _TO_STDERR):
        screen = Path(options.screen)
        check_folder(screen)
        refuse_overwriting(
            [("--screen", screen)], [Path(options.image), *([options.ramdisk] if options.ramdisk else [])]
        )


def _report(name: str, life: _Life, signals: Signals, terminal: Terminal, errors: Lines) -> Status:
    """Say on stderr how it ended, where the console does not."""
    guest, ending = life.guest, life.ending
    if guest.failure is not None:
        errors.write(f"paravane: {name} cannot go on: {guest.failure}")
        return Status.CRASHED
    if guest.reset_by is not None:
        errors.write(f"paravane: {name} reset its machine by {guest.reset_by}")
        return Status.REBOOT
    if guest.exit_code is None:
        errors.write(f"paravane: {name} did not end: {why_left(ending, signals, terminal)}")
        if nobody_reads(ending, signals, terminal) and terminal.failure is not None:
            return Status.ERRORS  # as for a kernel that ends before anybody notices
        return Status(CUT_SHORT_STATUS[ending.reason])
    if guest.exit_code:
        errors.write(f"paravane: {name} ended with {guest.exit_code} at the debug exit")
        return Status.CRASHED
    return Status.OK
