"""`paravane restore`: a saved domain goes on, its console on this terminal."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paravane import DomainConfig, Machine
from paravane.cpu import EngineError
from paravane.text import shown
from paravane.tools import manual
from paravane.tools.boot.command import captures, check_fits, wishes_of
from paravane.tools.boot.devices import Devices, add_device_options, devices_given
from paravane.tools.boot.session import Session
from paravane.tools.console_options import files_of_consoles
from paravane.tools.debugger import add_debugger_options, listener
from paravane.tools.files import opened, refuse_overwriting
from paravane.tools.machine_options import add_machine_options, add_store_option, settle_clock
from paravane.tools.status import Status, UsageError
from paravane.tools.trace_options import add_trace_options, trace_output

if TYPE_CHECKING:
    import argparse

    from paravane import Domain
    from paravane.migration import Loaded

_EPILOG = manual.epilog(
    """\
The file is one of `paravane ctl save`, or of `xl save` of a paravirtual domain of 32 bits.
The domain has the name, the memory and the vcpus that it had. Its devices are the host's:
those that its kernel had are to be given again, by the options that they were given by.

Or it is a snapshot of a whole machine, by `paravane ctl snapshot`: that goes on exactly where it
was, with the time, the scheduling and the frames that it had, if it has one domain. Of its
disks those that stand on files are to be given again, unchanged since.""",
    statuses=manual.ALL_STATUSES,
    files=(manual.SETTINGS,),
    environment=(manual.NO_COLOR, manual.TERM, manual.NATIVE),
    examples=(
        ("paravane restore web.save", ""),
        ("paravane restore db.save --disk data.img,xvda --timeout 60", ""),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane restore FILE`."""
    parser.description = "Let a saved domain go on, its console on this terminal."
    parser.epilog = _EPILOG
    parser.add_argument("file", type=Path, metavar="FILE", help="what `paravane ctl save` wrote")
    group = parser.add_argument_group("the domain")
    add_device_options(group, "none")
    add_store_option(group)
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="decides which machine frames the domain gets and, with --deterministic, if it is not 0, whose "
        "turn it is among several vcpus, and how long (default: 0)",
    )
    add_machine_options(parser.add_argument_group("time and ends"))
    reports = parser.add_argument_group("trace and reports")
    add_trace_options(reports)
    reports.add_argument(
        "--dump-on-crash", type=Path, metavar="FILE", help="also write the crash dump to FILE"
    )
    add_debugger_options(parser)
    parser.set_defaults(run=_restore)


def _restore(options: argparse.Namespace) -> int:
    from paravane.migration import StreamError, configured, load  # noqa: PLC0415 - loaded for who asks for it only
    from paravane.tools.boot.restore_machine import is_machine, restore_machine  # noqa: PLC0415 - likewise

    if is_machine(options.file):
        return restore_machine(options)
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    devices = devices_given(options, Devices())
    settle_clock(options, (*devices.vifs, *devices.vfbs))
    try:
        with opened(options.file) as stream:
            loaded = load(stream)
        name = shown(loaded.settings.name)
        console, configs = devices.configs(name)
        config = configured(loaded.settings, DomainConfig(console=console, devices=configs))
    except StreamError as error:
        raise UsageError(f"{options.file}: {error}", Status.IMAGE) from None
    check_fits(config)
    trace = None if options.trace in (None, "-") else Path(options.trace)
    outputs = [("--trace", trace), ("--dump-on-crash", options.dump_on_crash)]
    outputs += (("--vif", path) for path in captures(config))
    outputs += (("--console", path) for path in files_of_consoles(config))
    refuse_overwriting(outputs, (options.file, *(path for one in devices.disks for path in one.files)))
    try:
        with ExitStack() as stack:
            output = stack.enter_context(trace_output(options))
            wishes = replace(wishes_of(options, config, output, deadline), debuggers=listener(options, stack))
            return Session(partial(_go_on, options.file, loaded), config, wishes).run()
    except EngineError as error:
        raise UsageError(str(error), Status.ERRORS) from None


def _go_on(path: Path, loaded: Loaded, machine: Machine, config: DomainConfig) -> Domain:
    from paravane.migration import StreamError  # noqa: PLC0415 - loaded for who asks for it only

    try:
        domain = machine.restore_domain(loaded, config)
    except StreamError as error:
        raise UsageError(f"{path}: {error}", Status.IMAGE) from None
    there = {attachment.name for attachment in domain.devices}
    missing = [name for name in loaded.settings.devices if name not in there]
    if missing:
        raise UsageError(f"{path}: its kernel had {', '.join(map(shown, missing))}: give it again")
    return domain
