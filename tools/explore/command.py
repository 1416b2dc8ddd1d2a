"""`paravane explore`: run one kernel under many seeds, and show the first that breaks it."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from paravane import DomainConfig, ImageError
from paravane.chosen import Defaults
from paravane.testing import expectation
from paravane.text import shown
from paravane.tools import images, manual
from paravane.tools.arguments import command_line, positive_count, positive_seconds
from paravane.tools.cluster import Cluster, scheduler_address
from paravane.tools.explore.search import DIED, Draws, search
from paravane.tools.explore.shrink import shrink
from paravane.tools.explore.trial import Draw, Plan, Trial, run
from paravane.tools.machine_options import add_chance_options, add_size_options, chance_of
from paravane.tools.progress import telling
from paravane.tools.status import Status, UsageError
from paravane.variation import TIMER_SLOP

if TYPE_CHECKING:
    import argparse

RUNS: Final = 1000
PATIENCE: Final = 10
"""How many times as long as the plain run, and a second, another one may take in virtual time."""

_EPILOG = manual.epilog(
    """\
A seed decides which machine frames the kernel gets, whose turn it is among its vcpus and
how long, and how late its timers are. First the kernel runs plainly: what it does there is
what it should always do, besides what its folder promises (see `test`). The first seed
under which it crashes, hangs, ends or prints otherwise, or under which the audit finds
something, is shown, with fewer turns of chance if it fails with fewer, and with the
command that runs it again. With several at a time, here or on a Dask cluster
(`dask scheduler`, `dask worker`; pip install 'paravane[dask]'), the outcome is the same.""",
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
        ("paravane explore lostwakeup --runs 10", "it loses a wake-up, though not so soon"),
        ("paravane explore lostwakeup -D MENDED --runs 20 -j 2", "two runs at a time"),
        ("paravane explore hello --seed 7 --runs 1", "one seed"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane explore KERNEL [-- CMDLINE...]`."""
    parser.description = "Run a kernel under many seeds, and show the first one that breaks it."
    parser.usage = "%(prog)s KERNEL [options] [-- CMDLINE...]"
    parser.epilog = _EPILOG
    images.add_image(parser)
    add_size_options(parser.add_argument_group("the domain"))
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
        "--timeout",
        type=positive_seconds,
        metavar="S",
        help=f"virtual seconds after which a run hangs (default: {PATIENCE} times what the plain run takes, "
        "and one)",
    )
    add_chance_options(group, TIMER_SLOP)
    parser.set_defaults(run=_explore, cmdline=[])


def _explore(options: argparse.Namespace) -> int:
    plan = _plan(options)
    try:
        plain = run(plan, Draw(0))
        if plain.failed:
            print(f"{shown(plan.config.name)} fails in its plain run, with nothing left to chance")
            _tell(plain)
            return Status.ERRORS
        if plan.until is None:
            plan = replace(plan, until=PATIENCE * plain.ended_at + 1_000_000_000)
        plan = replace(plan, status=plain.status)
        draws = Draws(range(options.seed, options.seed + options.runs), chance_of(options))
        with ExitStack() as stack:
            cluster = None if options.dask is None else stack.enter_context(Cluster(options.dask))
            found = search(plan, draws, options.jobs, cluster)
        if found is None:
            last = options.seed + options.runs - 1
            print(
                f"{shown(plan.config.name)}: {options.runs} runs, seeds {options.seed} to {last}: none failed"
            )
            return Status.OK
        print(f"{shown(plan.config.name)} fails with seed {found.draw.seed}, run {_number(found, options)}")
        least = found
        if found.status != DIED:  # or it would take this process along
            with telling(lambda: "looking for a shorter way to it"):
                least = shrink(found, partial(run, plan))
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    except (ValueError, MemoryError) as error:
        raise UsageError(str(error) or "there is not enough memory", Status.ERRORS) from None
    _tell(least)
    if least.decisions < found.decisions:
        print(f"{least.decisions} turns of chance lead to it, of {found.decisions} in the run that was found")
    print(f"again: {_command(options, plan, least)}")
    return Status.ERRORS


def _plan(options: argparse.Namespace) -> Plan:
    """What is to be run. UsageError for what cannot be run again and again."""
    found, kernel = images.find(options), images.kernel_of(options)
    if found.disks or found.vifs or found.vfbs or found.consoles:
        raise UsageError(f"{found.name} has devices of its own, which explore cannot put back after a run")
    ramdisk = found.ramdisk_image if found.ramdisk is None else found.ramdisk.read_bytes()
    config = DomainConfig(
        shown(found.name),
        options.memory or found.memory or Defaults().memory,
        options.vcpus or found.vcpus,
        command_line(options.cmdline) or found.cmdline,
        ramdisk,
        source_folders=images.source_folders(options),
        privileged=found.privileged,
    )
    try:
        expected = None if kernel is None else expectation.read(kernel)
    except ValueError as error:
        raise UsageError(str(error)) from None
    until = None if options.timeout is None else int(options.timeout * 1e9)
    typed = b"" if kernel is None else kernel.input
    return Plan(found.data, config, typed, kernel, expected, until=until)


def _number(found: Trial, options: argparse.Namespace) -> str:
    return f"{found.draw.seed - options.seed + 1} of {options.runs}"


def _tell(trial: Trial) -> None:
    """What went wrong, and where the kernel was."""
    for finding in trial.findings:
        for line in finding.splitlines():
            print(f"    {shown(line)}")
    for title, text in trial.sections:
        print(f"    --- {shown(title)}")
        for line in text.splitlines():
            print(f"    {shown(line)}")


def _command(options: argparse.Namespace, plan: Plan, trial: Trial) -> str:
    """What runs it again: a boot, which has traces and debuggers, unless something has to be typed."""
    words = ["paravane", "explore" if plan.typed else "boot", options.image]
    words += [word for folder in options.include for word in ("-I", str(folder))]
    words += [word for name, value in options.define for word in ("-D", f"{name}={value}")]
    if options.memory:
        words += ["--memory", f"{options.memory >> 10}K"]
    if options.vcpus:
        words += ["--vcpus", str(options.vcpus)]
    draw = trial.draw
    words += ["--seed", str(draw.seed), *(("--runs", "1") if plan.typed else ("--deterministic",))]
    if draw.variation.decisions is not None:
        words += ["--decisions", str(draw.variation.decisions)]
    if draw.variation.jitter or plan.typed:
        words += ["--jitter", str(draw.variation.jitter)]
    if options.cmdline:
        words += ["--", *options.cmdline]
    return shlex.join(words)
