"""`boot --record`: what a run needs to be repeated is kept in a folder."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from itertools import count
from typing import TYPE_CHECKING, Protocol

from paravane import ExtraConsole, StopReason
from paravane.devices.block import Disk
from paravane.devices.framebuffer import Vfb
from paravane.machine import DETERMINISTIC_SLICE
from paravane.recording import End, Made, Recorder, RecordingError, begin, finish
from paravane.recording.devices import described, disk_file
from paravane.recording.disk_log import MOST_DATA, Writer
from paravane.recording.disks import KeptDisk
from paravane.recording.screens import KeptVfb
from paravane.time.clock import FollowingClock
from paravane.tools.files import OutputError
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from paravane import Domain, DomainConfig, Ending, Machine
    from paravane.devices.xenbus import DeviceConfig
    from paravane.history import History
    from paravane.recording.disk_log import Answer
    from paravane.tools.terminal import Console

CUT_SHORT = frozenset({StopReason.INTERRUPTED, StopReason.TIMEOUT})
"""Ends that come from outside."""

_VERSIONS = ("paravane", "unicorn")


class Journaling(Protocol):
    """A session that is kept, or that repeats one."""

    steered: str
    """Why nobody may steer its domain: a sentence."""

    def join(self, machine: Machine) -> None:
        """The machine is there, and has no domain yet."""
        ...

    def begin(self, machine: Machine, console: Console) -> Console:
        """A life begins on this machine: what is typed is for the console that this gives."""
        ...

    def put_out(self, data: bytes) -> None:
        """The console has put this out."""
        ...

    def history(self, machine: Machine, domain: Domain) -> History | None:
        """What a debugger goes back in; None where it cannot."""
        ...

    def ended(self, ending: Ending, why: str) -> tuple[Ending, str]:
        """It is over: how, and `why` in words, as it is to be told."""
        ...

    def failure(self) -> str:
        """A sentence if it is not what was wanted, else nothing."""
        ...


def settle_record(options: argparse.Namespace) -> None:
    """What --record implies. UsageError beside options whose doings are not kept."""
    for given, sentence in (
        (options.gdb is not None, "it keeps nothing of what a debugger does: do without --gdb"),
        (
            options.store_socket is not None,
            "it keeps nothing of xenstore's clients: do without --store-socket",
        ),
        (options.on_reboot == "restart", "it keeps one life of a domain: do without --on-reboot restart"),
        (options.watch_sources, "it keeps one boot: do without --watch-sources"),
    ):
        if given:
            raise UsageError(f"--record: {sentence}")
    options.deterministic = True


def check_recordable(config: DomainConfig) -> None:
    """UsageError for a domain that gets something from outside which is not kept."""
    if config.tlb is not None:
        raise UsageError("--record: it keeps no modelled TLB: do without --tlb")
    first = config.console
    extras = [one for one in config.devices if isinstance(one, ExtraConsole)]
    if extras or (first is not None and first.end is not None):
        raise UsageError(
            "--record: of consoles it keeps the one on standard input and output: give --console stdio alone"
        )
    try:
        for device in config.devices:
            described(device)
    except RecordingError as error:
        raise UsageError(f"--record: {error}") from None


def versions() -> dict[str, str]:
    """What decides, besides the recording, how a run goes."""
    return {name: metadata.version(name) for name in _VERSIONS}


class Kept:
    """A session that is kept in a folder."""

    steered = "this run is recorded, and what is done to its domain is not kept"

    def __init__(self, folder: Path, made: Made, config: DomainConfig, image: bytes) -> None:
        """Raises UsageError for a folder that is not new, and OutputError."""
        self._folder = folder
        self._made = made
        self._devices = [described(device) for device in config.devices]
        self._disks: list[Writer] = []
        self._failed: OSError | None = None
        self._journal = Recorder()
        self._machine: Machine | None = None
        try:
            begin(folder, image, config.ramdisk)
            self.config = replace(config, devices=tuple(map(self._kept, count(), config.devices)))
        except RecordingError as error:
            raise UsageError(f"--record {folder}: {error}") from None
        except OSError as error:
            raise OutputError(error.errno, error.strerror, str(folder)) from None

    def _kept(self, number: int, device: DeviceConfig) -> DeviceConfig:
        """The device, with what there is to keep of it being kept. Raises OSError."""
        description = self._devices[number]

        def placed(listen: str, port: int) -> None:
            description.update(listen=listen, port=port)

        if isinstance(device, Vfb):
            return KeptVfb(device, placed)
        if not isinstance(device, Disk) or device.path is None:
            return device
        writer = Writer(self._folder / disk_file(number))
        self._disks.append(writer)

        def keep(answer: Answer) -> None:
            try:
                writer.add(answer)
            except OSError as error:  # not the disk's
                self._failed = error
                self._journal.give_up(f"its recording cannot be written: {error.strerror}")
            if writer.kept >= MOST_DATA:
                self._journal.give_up(f"{MOST_DATA >> 20} MiB of what a disk gives are kept, and no more")

        def measured(size: int) -> None:
            description["size"] = size

        return KeptDisk(device, keep, measured)

    def join(self, machine: Machine) -> None:
        self._machine = machine
        clock = machine.platform.clock
        if isinstance(clock, FollowingClock):
            self._journal.follow(clock)
        machine.keep(self._journal)

    def begin(self, machine: Machine, console: Console) -> Console:
        self._journal.begin(console, machine.platform.clock.now)
        return self._journal

    def put_out(self, data: bytes) -> None:
        self._journal.put_out(data)

    def history(self, machine: Machine, domain: Domain) -> None:
        """There is no debugger."""

    def ended(self, ending: Ending, why: str) -> tuple[Ending, str]:
        """Write the rest. Raises OutputError."""
        journal, machine = self._journal, self._machine
        if machine is not None:
            if ending.reason is StopReason.INTERRUPTED:
                why = journal.full or why
            clock = machine.platform.clock
            follows = isinstance(clock, FollowingClock)
            made = replace(self._made, wall=clock.wall_base()) if follows else self._made
            end = End(
                ending.reason.name,
                why,
                ending.reason in CUT_SHORT,
                journal.turn,
                clock.now(),
                journal.console_size,
                journal.console.hexdigest(),
                journal.sent_count,
                journal.sent.hexdigest(),
            )
            try:
                for disk in self._disks:
                    disk.close()
                if self._failed is not None:
                    raise self._failed
                readings = journal.readings if follows else None
                finish(self._folder, made, end, journal.inputs, versions(), readings, self._devices)
            except OSError as error:
                raise OutputError(error.errno, error.strerror, str(self._folder)) from None
        return ending, why

    def failure(self) -> str:
        return ""


def kept(options: argparse.Namespace, config: DomainConfig, image: bytes) -> Kept:
    """The session's journal. Raises UsageError and OutputError."""
    made = Made(
        config.name,
        config.memory,
        config.vcpus,
        config.cmdline,
        config.privileged,
        options.seed,
        options.sched,
        options.xen_build == "debug",
        DETERMINISTIC_SLICE,
        options.max_traps,
        options.jitter,
        -1 if options.decisions is None else options.decisions,
        0,
        ",".join(options.faults),
        -1 if options.most_faults is None else options.most_faults,
    )
    return Kept(options.record, made, config, image)
