"""`paravane restore` of a whole machine: it goes on exactly where it was, the console of its domain on this
terminal."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import DomainConfig, Machine
from paravane.cpu import EngineError
from paravane.snapshot import SnapshotError, read
from paravane.snapshot.container import MAGIC
from paravane.tools.boot.command import wishes_of
from paravane.tools.boot.session import Session
from paravane.tools.debugger import listener
from paravane.tools.files import read_file, refuse_overwriting
from paravane.tools.status import Status, UsageError
from paravane.tools.trace_options import trace_output

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from paravane import Domain
    from paravane.devices.block import Disk
    from paravane.devices.console import Sink

_DECIDED: Final[Mapping[str, Callable[[argparse.Namespace], bool]]] = {
    "--clock host": lambda options: options.clock == "host",
    "--deterministic": lambda options: options.deterministic,
    "--seed": lambda options: options.seed != 0,
    "--xen-build": lambda options: options.xen_build != "debug",
    "--vif": lambda options: options.vif is not None,
    "--vfb": lambda options: options.vfb is not None,
    "--console": lambda options: options.console is not None,
}
"""Options that say what a machine is, and whether each was given: this one is what it was."""


def is_machine(path: Path) -> bool:
    """Whether a file is a snapshot of a machine. OSError as `open`."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


class _Kept:
    """A machine in a file, with one domain whose output goes where that is said later."""

    def __init__(self, path: Path, disks: Sequence[Disk]) -> None:
        """`disks` are those of its that stand on files. Raises UsageError."""
        self._disks = disks
        self._path = path
        self._data = read_file(path, "a snapshot")
        self._sink: Sink | None = None
        try:
            domains = read(self._data).domains
        except SnapshotError as error:
            raise self._wrong(error) from None
        if len(domains) != 1:
            what = "no domain" if not domains else f"{len(domains)} domains"
            raise UsageError(f"{path}: the machine has {what}, and one can go on with its console here")
        self.config = DomainConfig(domains[0].name, domains[0].life.config.memory)

    def machine(self) -> Machine:
        try:
            name = self.config.name
            return Machine.restore(self._data, sinks={name: self._write}, disks={name: self._disks})
        except SnapshotError as error:
            raise self._wrong(error) from None

    def domain(self, machine: Machine, config: DomainConfig) -> Domain:
        self._sink = config.sink
        (domain,) = machine.domains.values()
        return domain

    def _write(self, data: bytes) -> int | None:
        return 0 if self._sink is None else self._sink(data)

    def _wrong(self, error: SnapshotError) -> UsageError:
        return UsageError(f"{self._path}: {error}", Status.IMAGE)


def restore_machine(options: argparse.Namespace) -> int:
    """Go on with the machine in `options.file`. Raises UsageError."""
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    decided = next((name for name, given in _DECIDED.items() if given(options)), None)
    if decided is not None:
        raise UsageError(f"{options.file} is of a machine, which stays what it was: {decided} is not for it")
    options.clock = "virtual"
    disks: Sequence[Disk] = options.disk or ()
    kept = _Kept(options.file, disks)
    trace = None if options.trace in (None, "-") else Path(options.trace)
    inputs = (options.file, *(file for disk in disks for file in disk.files))
    refuse_overwriting([("--trace", trace), ("--dump-on-crash", options.dump_on_crash)], inputs)
    try:
        with ExitStack() as stack:
            output = stack.enter_context(trace_output(options))
            wishes = replace(
                wishes_of(options, kept.config, output, deadline),
                machine=kept.machine,
                debuggers=listener(options, stack),
            )
            return Session(kept.domain, kept.config, wishes).run()
    except EngineError as error:
        raise UsageError(str(error), Status.ERRORS) from None
