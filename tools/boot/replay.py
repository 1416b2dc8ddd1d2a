"""`paravane replay`: a run that was recorded is repeated, with other windows open."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paravane import DomainConfig, ImageError, Machine, StopReason, load_image
from paravane.cpu import EngineError
from paravane.recording import RecordingError, RevisableReplayer, disk_of, load
from paravane.recording.devices import devices_of
from paravane.sched import POLICIES
from paravane.text import shown
from paravane.time.clock import FollowingClock, VirtualClock
from paravane.tools import images, manual
from paravane.tools.arguments import positive_seconds
from paravane.tools.boot.recording import CUT_SHORT, versions
from paravane.tools.boot.reversing import settle_reversing
from paravane.tools.boot.session import Session, Wishes
from paravane.tools.debugger import add_debugger_options, listener
from paravane.tools.files import refuse_overwriting
from paravane.tools.following import add_following_options, following
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import say
from paravane.tools.trace_options import add_trace_options, trace_output
from paravane.variation import PLAIN, Variation

if TYPE_CHECKING:
    import argparse

    from paravane import Domain, Ending, Image
    from paravane.devices.xenbus import DeviceConfig
    from paravane.history import History
    from paravane.recording import Made, Recording
    from paravane.time.clock import Clock
    from paravane.tools.terminal import Console

MOST_MEMORY = 4 << 30
LONGEST_SLICE = 1 << 40
"""Bytes of a domain and instructions of a slice that no recording has more of."""

_LATEST = 10**9 << 32
"""Nanoseconds since 1970: the wall clock that guests read has 32 bits of seconds."""

_EPILOG = manual.epilog(
    """\
The folder is one of `paravane boot --record`. The run is the recorded one, whatever is
looked at: its console comes out again, byte for byte, and it ends where that one ended,
with the same status. Nothing is read from standard input. What turns out otherwise, since
the recording or this program is not what it was, is said at the end, with status 1.""",
    statuses=manual.ALL_STATUSES,
    environment=(manual.NO_COLOR, manual.TERM, manual.NATIVE),
    examples=(
        ("paravane replay run.rec", ""),
        ("paravane replay run.rec --trace again.jsonl --trace-events all", "what was not traced then"),
        ("paravane replay run.rec --trace-insn main --timeout 60", ""),
        ("paravane replay run.rec --gdb :0", "gdb goes forward in it, and back"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane replay DIR`."""
    parser.description = "Repeat a run that `boot --record` has kept, its console on this terminal."
    parser.epilog = _EPILOG
    parser.add_argument("recording", type=Path, metavar="DIR", help="what `boot --record` wrote")
    group = parser.add_argument_group("ends and reports")
    group.add_argument(
        "--timeout", type=positive_seconds, metavar="S", help="give up after S seconds: status 124"
    )
    group.add_argument("--dump-on-crash", type=Path, metavar="FILE", help="also write the crash dump to FILE")
    add_trace_options(group)
    add_debugger_options(parser)
    add_following_options(parser)
    parser.set_defaults(run=_replay, include=[])


class Repeated:
    """A session that repeats a recorded one."""

    steered = "this run is a recorded one, which nobody can steer"

    def __init__(self, recording: Recording) -> None:
        """Raises RecordingError for an end that there is not."""
        end = recording.manifest.end
        if end.reason not in StopReason.__members__:
            raise RecordingError("its manifest has a 'reason' that cannot be")
        self._reason = StopReason[end.reason]
        if end.cut_short != (self._reason in CUT_SHORT):
            raise RecordingError("its manifest has a 'cut_short' that cannot be")
        self._why = end.why
        self._journal = RevisableReplayer(recording.inputs, end)
        self._clock = recording.clock
        self._failure = ""

    def join(self, machine: Machine) -> None:
        clock = machine.platform.clock
        if isinstance(clock, FollowingClock):
            self._journal.follow(clock, self._clock or b"")
        machine.keep(self._journal)

    def begin(self, machine: Machine, console: Console) -> Console:
        self._journal.begin(console, machine.platform.clock.now)
        return console

    def stray(self, why: str) -> None:
        """Something shows that this is not the recorded run: a sentence."""
        self._journal.stray(why)

    def put_out(self, data: bytes) -> None:
        self._journal.put_out(data)

    def history(self, machine: Machine, domain: Domain) -> History:
        from paravane.history import History  # noqa: PLC0415 - loaded for who asks for it only

        return History(machine, domain, self._journal)

    def ended(self, ending: Ending, why: str) -> tuple[Ending, str]:
        """As the recorded run, unless this one was cut short before it came there."""
        journal = self._journal
        if ending.reason in CUT_SHORT and not journal.over:
            return ending, why
        self._failure = journal.difference()
        if ending.reason is StopReason.INTERRUPTED and self._failure:
            return ending, "it is not the recorded run any more"
        return replace(ending, reason=self._reason if journal.over else ending.reason), shown(self._why)

    def failure(self) -> str:
        return f"this is not the recorded run: {self._failure}" if self._failure else ""


def _replay(options: argparse.Namespace) -> int:
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    folder: Path = options.recording
    options.image = folder
    try:
        recording = load(folder)
        made = recording.manifest.made
        repeated = Repeated(recording)
        devices = devices_of(recording.manifest.devices, partial(disk_of, folder), repeated.stray)
        config = _config(recording, devices, images.source_folders(options))
        image = load_image(recording.image)
    except (RecordingError, ImageError) as error:
        raise UsageError(f"{folder}: {shown(str(error))}") from None
    options.clock = "virtual" if recording.clock is None else "host"
    _tell_versions(recording.manifest.versions)
    _refuse_overwriting(options, recording)
    followed = following(options, image)
    try:
        with ExitStack() as stack:
            output = stack.enter_context(trace_output(options, followed.kinds))
            _, no_way_back = settle_reversing(options, config, followed, repeated)
            wishes = Wishes(
                partial(_machine, recording),
                deadline,
                made.max_traps,
                trace=output,
                explain=options.explain,
                audit=options.audit,
                dump=options.dump_on_crash,
                log_level=options.log_level.upper(),
                debuggers=listener(options, stack),
                wait_for_debugger=options.gdb_wait,
                no_way_back=no_way_back,
                following=followed,
                journal=repeated,
                repeats=True,
            )
            return Session(partial(_create, image), config, wishes).run()
    except ImageError as error:
        raise UsageError(f"{folder}: {error}") from None
    except EngineError as error:
        raise UsageError(str(error), Status.ERRORS) from None


def _config(
    recording: Recording, devices: tuple[DeviceConfig, ...], folders: tuple[Path, ...]
) -> DomainConfig:
    """The recorded domain. Raises RecordingError for one that cannot be."""
    made = recording.manifest.made
    if not 0 < made.memory <= MOST_MEMORY or Machine.size_for(made.memory, privileged=True) > MOST_MEMORY:
        raise RecordingError("its domain does not fit into a machine of 4 GiB")
    if made.sched not in POLICIES or not 0 < made.slice_instructions < LONGEST_SLICE or made.max_traps < 0:
        raise RecordingError("its manifest tells of a machine that there cannot be")
    if not 0 <= made.wall < _LATEST:
        raise RecordingError("its manifest tells of a time that there cannot be")
    try:
        _variation(made)
        return DomainConfig(
            shown(made.name),
            made.memory,
            made.vcpus,
            made.cmdline,
            recording.ramdisk,
            source_folders=folders,
            privileged=made.privileged,
            devices=devices,
        )
    except ValueError as error:
        raise RecordingError(str(error)) from None


def _machine(recording: Recording) -> Machine:
    made = recording.manifest.made
    clock: Clock = VirtualClock()
    if recording.clock is not None:
        clock = FollowingClock()
        clock.wall = made.wall
    return Machine(
        Machine.size_for(made.memory, privileged=made.privileged),
        seed=made.seed,
        clock=clock,
        policy=POLICIES[made.sched](),
        slice_instructions=made.slice_instructions,
        debug=made.debug,
        variation=_variation(made),
    )


def _variation(made: Made) -> Variation:
    """Raises ValueError for one that cannot be."""
    decisions, most_faults = (None if n == -1 else n for n in (made.decisions, made.most_faults))
    faults = tuple(filter(None, made.faults.split(",")))
    found = Variation(made.jitter, decisions, faults, most_faults)
    if found != PLAIN and not made.seed:
        raise ValueError("a seed of 0 decides nothing")
    return found


def _create(image: Image, machine: Machine, config: DomainConfig) -> Domain:
    return machine.create(image, config)


def _tell_versions(recorded: dict[str, str]) -> None:
    for name, present in versions().items():
        if (was := recorded.get(name, "none")) != present:
            say(f"recorded with {name} {was[:40]}, and this is {present}: the run may be another")


def _refuse_overwriting(options: argparse.Namespace, recording: Recording) -> None:
    trace = None if options.trace in (None, "-") else Path(options.trace)
    outputs = [("--trace", trace), ("--dump-on-crash", options.dump_on_crash)]
    outputs += (("--coverage", path) for path in options.coverage)
    files = ("manifest.json", *recording.manifest.files)
    refuse_overwriting(outputs, [options.recording / name for name in files])
