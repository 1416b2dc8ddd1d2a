"""`paravane explore`: run one kernel under many seeds, and show the first that breaks it."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import DomainConfig, ImageError
from paravane.chosen import Defaults
from paravane.testing import expectation
from paravane.text import shown
from paravane.tlb import TlbKind, TlbSpec
from paravane.tools import images, manual
from paravane.tools.arguments import command_line, positive_count, positive_seconds
from paravane.tools.cluster import Cluster, scheduler_address
from paravane.tools.explore.devices import add_device_options, devices_of
from paravane.tools.explore.search import DIED, Draws, search
from paravane.tools.explore.shrink import shrink
from paravane.tools.explore.trial import HOST_SECONDS, Draw, Plan, Trial, run
from paravane.tools.machine_options import add_chance_options, add_size_options, chance_of
from paravane.tools.progress import telling
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import abandon_stdout
from paravane.variation import TIMER_SLOP

if TYPE_CHECKING:
    import argparse

RUNS: Final = 1000
LAST_SEED: Final = 1 << 62
PATIENCE: Final = 10
"""How many times as long as the plain run, and a second, another one may take in virtual time."""

_EPILOG = manual.epilog(
    """\
A seed decides which machine frames the kernel gets, whose turn it is among its vcpus and
how long, how late its timers are, and with --faults what it is refused. First the kernel
runs plainly: what it does there is what it should always do, besides what its folder
promises (see `test`). The first seed under which it crashes, hangs, ends or prints
otherwise, or under which the audit finds something, is shown, with fewer turns of chance
and fewer faults if it fails with fewer, and with the command that runs it again. With
several at a time, here or on a Dask cluster (`dask scheduler`, `dask worker`;
pip install 'paravane[dask]'), the outcome is the same.""",
    statuses=(
        (Status.OK, "no run failed"),
        (Status.ERRORS, "one did; or the sources have errors, or output could not be written"),
        manual.UNREADABLE,
        manual.NO_IMAGE,
        manual.INTERRUPTED,
    ),
    files=(manual.SETTINGS, manual.EXPECTED, manual.CACHE),
    environment=(manual.CACHE_HOME, manual.TERM, manual.NATIVE),
    examples=(
        ("paravane explore lostwakeup --runs 10", "it loses a wake-up, later"),
        ("paravane explore lostwakeup -D MENDED --runs 20 -j 2", "two runs at a time"),
        ("paravane explore hello --seed 7 --runs 1", "one seed"),
        ("paravane explore shortage -D MENDED --faults memory --runs 9", "memory may be short"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane explore KERNEL [-- CMDLINE...]`."""
    parser.description = "Run a kernel under many seeds, and show the first one that breaks it."
    parser.usage = "%(prog)s KERNEL [options] [-- CMDLINE...]"
    parser.epilog = _EPILOG
    images.add_image(parser)
    domain = parser.add_argument_group("the domain")
    add_size_options(domain)
    add_device_options(domain)
    group = parser.add_argument_group("runs")
    group.add_argument(
        "--runs", type=positive_count, default=RUNS, metavar="N", help=f"how many (default: {RUNS})"
    )
    group.add_argument(
        "--seed",
        type=positive_count,
        default=1,
        metavar="FIRST",
        help="the seed of the first run; each further one has the next (default: 1)",
    )
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "-j",
        "--jobs",
        type=positive_count,
        default=1,
        metavar="N",
        help="run N at a time (default: 1)",
    )
    where.add_argument(
        "--dask",
        type=scheduler_address,
        metavar="ADDRESS",
        help="run on the workers of a Dask cluster, whose scheduler is at tcp://HOST:PORT; they need this "
        "version of Paravane, and nothing else",
    )
    group.add_argument(
        "--hangs-after",
        type=positive_seconds,
        metavar="S",
        help=f"virtual seconds after which a run hangs (default: {PATIENCE} times what the plain run takes, "
        "and one)",
    )
    group.add_argument(
        "--timeout",
        type=positive_seconds,
        default=HOST_SECONDS,
        metavar="S",
        help=f"seconds of the host that a run may take (default: {HOST_SECONDS:g})",
    )
    add_chance_options(group, TIMER_SLOP)
    group.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="keep the run that failed, with no more of chance than it needs, in DIR, a new folder, for "
        "`replay`",
    )
    parser.set_defaults(run=_explore, cmdline=[])


def _explore(options: argparse.Namespace) -> int:
    """A failure is one, whether or not anybody reads what is told of it."""
    failures: list[Trial] = []
    try:
        _look(options, failures)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()
    return Status.ERRORS if failures else Status.OK


def _look(options: argparse.Namespace, failures: list[Trial]) -> None:
    """Tell of the first failure, which joins `failures`, or that there is none."""
    if options.seed + options.runs > LAST_SEED:
        raise UsageError(f"seeds end at {LAST_SEED}")
    plan = _plan(options)
    recording = None if options.record is None else import_module("paravane.tools.explore.record")
    if recording is not None:
        recording.check(plan, options.record)
    try:
        plain = run(plan, Draw(0))
        if plain.failed:
            failures.append(plain)
            print(f"{shown(plan.config.name)} fails in its plain run, with nothing left to chance")
            _tell(plain)
            return
        if plan.until is None:
            plan = replace(plan, until=PATIENCE * plain.ended_at + 1_000_000_000)
        plan = replace(plan, status=plain.status)
        draws = Draws(range(options.seed, options.seed + options.runs), chance_of(options))
        with ExitStack() as stack:
            cluster = None if options.dask is None else stack.enter_context(Cluster(options.dask))
            faults: Counter[str] = Counter()
            found = search(plan, draws, options.jobs, cluster, faults)
        if found is None:
            last = options.seed + options.runs - 1
            print(
                f"{shown(plan.config.name)}: {options.runs} runs, seeds {options.seed} to {last}: none failed"
            )
            if options.faults:
                print(f"    {_told(faults)}")
            return
        failures.append(found)
        print(f"{shown(plan.config.name)} fails with seed {found.draw.seed}, run {_number(found, options)}")
        least = found
        # One would take this process along; the other is not for its seed.
        if found.status != DIED and not found.by_host:
            with telling(lambda: "looking for a shorter way to it"):
                least = shrink(found, partial(run, plan))
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    except (ValueError, MemoryError) as error:
        raise UsageError(str(error) or "there is not enough memory", Status.ERRORS) from None
    _tell(least)
    if least.nr_faults < found.nr_faults:
        print(f"{_faults(least.nr_faults)} to it, of {found.nr_faults} in the run that was found")
    if least.decisions < found.decisions:
        print(f"{least.decisions} turns of chance lead to it, of {found.decisions} in the run that was found")
    print(f"again: {_command(options, plan, least)}")
    if recording is not None and least.status != DIED:
        same = recording.record(plan, least, options.record)
        print(f"recorded: {shlex.join(('paravane', 'replay', str(options.record)))}")
        if not same:
            print("    which is another run: what is typed comes a moment later there")


def _plan(options: argparse.Namespace) -> Plan:
    """What is to be run. UsageError for what cannot be run again and again."""
    found, kernel = images.find(options).with_ramdisk(None), images.kernel_of(options)
    config = DomainConfig(
        shown(found.name),
        options.memory or found.memory or Defaults().memory,
        options.vcpus or found.vcpus,
        command_line(options.cmdline) or found.cmdline,
        found.ramdisk_image,
        source_folders=images.source_folders(options),
        privileged=found.privileged,
        devices=devices_of(options, found),
        tlb=None if found.tlb is None else TlbSpec(TlbKind[found.tlb]),
    )
    try:
        expected = None if kernel is None else expectation.read(kernel)
    except ValueError as error:
        raise UsageError(str(error)) from None
    until = None if options.hangs_after is None else int(options.hangs_after * 1e9)
    typed = b"" if kernel is None else kernel.input
    return Plan(found.data, config, typed, kernel, expected, until=until, timeout=options.timeout)


def _number(found: Trial, options: argparse.Namespace) -> str:
    return f"{found.draw.seed - options.seed + 1} of {options.runs}"


def _tell(trial: Trial) -> None:
    """What went wrong, and where the kernel was."""
    for finding in trial.findings:
        for line in finding.splitlines():
            print(f"    {shown(line)}")
    if trial.faults:
        print("    --- faults that were injected")
        for fault in trial.faults:
            print(f"    {fault.time / 1e9:.6f} {fault.kind}: {fault.sentence}")
        if trial.nr_faults > len(trial.faults):
            print(f"    and {trial.nr_faults - len(trial.faults)} more")
    for title, text in trial.sections:
        print(f"    --- {shown(title)}")
        for line in text.splitlines():
            print(f"    {shown(line)}")


def _told(faults: Counter[str]) -> str:
    """How many there were of each kind."""
    told = [f"{count} of {kind}" for kind, count in sorted(faults.items()) if count]
    return f"faults that were injected: {', '.join(told) or 'none, as it asks for nothing that may fail'}"


def _faults(number: int) -> str:
    return "1 fault leads" if number == 1 else f"{number} faults lead"


def _command(options: argparse.Namespace, plan: Plan, trial: Trial) -> str:
    """What runs it again: a boot, which has traces and debuggers, unless something has to be typed."""
    alone = bool(plan.typed or plan.config.devices)
    words = ["paravane", "explore" if alone else "boot", options.image]
    words += [word for folder in options.include for word in ("-I", str(folder))]
    words += [word for name, value in options.define for word in ("-D", f"{name}={value}")]
    if options.memory:
        words += ["--memory", f"{options.memory >> 10}K"]
    if options.vcpus:
        words += ["--vcpus", str(options.vcpus)]
    words += [word for text in options.disk or () for word in ("--disk", text)]
    words += [word for text in options.vif or () for word in ("--vif", text)]
    draw = trial.draw
    words += ["--seed", str(draw.seed), *(("--runs", "1") if alone else ("--deterministic",))]
    if draw.variation.decisions is not None:
        words += ["--decisions", str(draw.variation.decisions)]
    if draw.variation.jitter or alone:
        words += ["--jitter", str(draw.variation.jitter // 1000)]
    if draw.variation.faults:
        words += ["--faults", ",".join(draw.variation.faults)]
    if draw.variation.most_faults is not None:
        words += ["--most-faults", str(draw.variation.most_faults)]
    if options.cmdline:
        words += ["--", *options.cmdline]
    return shlex.join(words)
