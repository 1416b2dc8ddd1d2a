"""`paravane run`: several domains on one machine, from xl.cfg-style files."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from paravane.cpu import EngineError
from paravane.tools import manual
from paravane.tools.console_options import files_of_consoles
from paravane.tools.deadline import Expired, expiring
from paravane.tools.files import refuse_overwriting
from paravane.tools.machine_options import (
    add_machine_options,
    add_store_option,
    machine_of,
    settle_clock,
)
from paravane.tools.run.domains import files_of, plan, seed_of
from paravane.tools.run.session import MachineSession, Wishes
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import tell
from paravane.tools.trace_options import add_trace_options, trace_output

if TYPE_CHECKING:
    import argparse

    from paravane.tools.run.domains import Planned

_EPILOG = manual.epilog(
    """\
A .cfg file is one of xl (xl.cfg(5)). What counts here: name, kernel (also a source or a
name of `list`), ramdisk, cmdline or root and extra, memory, maxmem, vcpus, maxvcpus,
on_poweroff, on_reboot, on_crash, on_watchdog, on_soft_reset, cpu_weight, cap, seed,
max_event_channels, max_grant_frames, max_maptrack_frames, max_grant_version, privileged,
tlb, tlb_entries, tlb_ways,
disk (also FILE,xvda[,ro][,cow[=FILE]] and ram:SIZE,xvda), vif, firewall, channel, and
console, a list in which each is as `boot --console` takes it: stdio, the lines on standard
output, is the default. Files are looked for beside the
.cfg first. What does not count is said and ignored. A domain that ends within two seconds
of its start five times in a row is not restarted any more.

With --console, Ctrl-] on a terminal opens the monitor that `boot` has: `console DOMAIN`
has the keys go to another domain there, `quit` leaves the console, not the machine.

While it runs, `paravane ctl` lists, pauses and ends its domains from another terminal.
It goes on for that when all of them sleep and nothing can wake one, and says so.
Ctrl-C asks all domains to power off; again, it destroys them; a third ends at once.

The exit status is that of the first domain, in the order of the files, that did not end
with 0.""",
    statuses=(
        (Status.OK, "each domain powered off, or was destroyed by `ctl` before it ended"),
        *(row for row in manual.ALL_STATUSES[1:] if row[0] is not Status.STALLED),
    ),
    files=(manual.SETTINGS, manual.CACHE),
    environment=(manual.RUNTIME_DIR, manual.CACHE_HOME, manual.NO_COLOR, manual.TERM, manual.NATIVE),
    examples=(
        ("paravane run web.cfg db.cfg", ""),
        ("paravane run web.cfg db.cfg --console db", ""),
        ("paravane run machines/", "every .cfg file of a folder"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane run FILE.cfg...`."""
    parser.description = "Run several domains on one machine, from xl.cfg-style files."
    parser.epilog = _EPILOG
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE.cfg|FOLDER|NAME",
        help="a domain's file; a folder, for all .cfg files in it; a kernel of `list` that has some",
    )
    group = parser.add_argument_group("the machine")
    group.add_argument("--name", help="what `ctl` calls the machine (default: as the first file)")
    group.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="decides which machine frames the domains get (default: what the files say, else 0)",
    )
    group.add_argument("--paused", action="store_true", help="create the domains paused, for `ctl unpause`")
    group.add_argument(
        "--console",
        metavar="DOMAIN",
        help="join the console of one domain, as `boot` does, and show no other (default: the lines of all, "
        "each after the name of its domain)",
    )
    add_store_option(group)
    add_machine_options(parser.add_argument_group("time and ends"))
    group = parser.add_argument_group("trace and reports")
    add_trace_options(group)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    try:
        with ExitStack() as stack:
            with expiring(deadline):
                planned = plan(files_of(options.files))
                _check(options, planned)
                output = stack.enter_context(trace_output(options))
            wishes = Wishes(
                machine=lambda: machine_of(
                    options,
                    *(domain.memory for domain in planned),
                    privileged=planned[0].config.privileged,
                ),
                name=options.name or Path(planned[0].settings.source).stem,
                deadline=deadline,
                max_traps=options.max_traps,
                paused=options.paused,
                console=options.console,
                store_socket=options.store_socket,
                trace=output,
                explain=options.explain,
                audit=options.audit,
                log_level=options.log_level.upper(),
            )
            return MachineSession(planned, wishes).run()
    except EngineError as error:
        raise UsageError(str(error), Status.ERRORS) from None
    except Expired:
        raise UsageError(
            "the kernels were not ready when the time given was used up", Status.TIMEOUT
        ) from None


def _check(options: argparse.Namespace, planned: list[Planned]) -> None:
    for domain in planned:
        for warning in domain.settings.warnings:
            tell(warning)
    options.seed = seed_of(planned, options.seed)
    names = [domain.name for domain in planned]
    if options.console is not None and options.console not in names:
        raise UsageError(f"--console: there is no domain {options.console!r} but {', '.join(names)}")
    trace = None if options.trace in (None, "-") else Path(options.trace)
    vifs = [vif for domain in planned for vif in domain.vifs]
    settle_clock(options, [*vifs, *(vfb for domain in planned for vfb in domain.vfbs)])
    captures = dict.fromkeys(("pcap", Path(vif.pcap)) for vif in vifs if vif.pcap)
    inputs = [path for domain in planned for path in domain.inputs]
    consoles = [("console", path) for domain in planned for path in files_of_consoles(domain.config)]
    refuse_overwriting([("--trace", trace), *captures, *consoles], inputs)
