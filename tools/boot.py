"""`paravane boot`: run one domain, its console on this terminal."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from paravane import (
    DomainConfig,
    HostClock,
    ImageError,
    Machine,
    StopReason,
    VirtualClock,
    guest_kernels,
    load_image,
)
from paravane.abi.sched import ShutdownReason
from paravane.asm.elf_writer import write_elf
from paravane.tools.arguments import memory_size, positive_count, positive_seconds
from paravane.tools.build import add_source_options, assemble
from paravane.tools.files import read_file
from paravane.tools.status import Status, UsageError
from paravane.tools.terminal import Terminal
from paravane.trace import Kind
from paravane.trace_text import body
from paravane.trace_text import line as trace_line

if TYPE_CHECKING:
    from paravane import Domain, Ending, Image
    from paravane.tools.arguments import Commands

DEFAULT_MEMORY = 32 << 20
MACHINE_MEMORY = 4 << 30
"""What 32-bit page-table roots can address: no machine is larger."""

DETERMINISTIC_SLICE = 1_000_000
"""Guest instructions in a time slice of --deterministic."""

_ENDED = {
    ShutdownReason.poweroff: Status.OK,
    ShutdownReason.reboot: Status.REBOOT,
    ShutdownReason.suspend: Status.REBOOT,
    ShutdownReason.soft_reset: Status.REBOOT,
    ShutdownReason.crash: Status.CRASHED,
    ShutdownReason.watchdog: Status.CRASHED,
}
_CUT_SHORT = {
    StopReason.TIMEOUT: Status.TIMEOUT,
    StopReason.TRAPS: Status.TIMEOUT,
    StopReason.STALLED: Status.CRASHED,
    StopReason.INTERRUPTED: Status.INTERRUPTED,
}


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "boot",
        help="run one domain, its console on this terminal",
        description=__doc__,
        usage="%(prog)s IMAGE|NAME|SOURCE.S [options] [-- CMDLINE...]",
    )
    parser.add_argument(
        "image", metavar="IMAGE|NAME|SOURCE.S", help="an ELF image, a kernel of `list`, or a source"
    )
    parser.add_argument(
        "--memory", type=memory_size, metavar="SIZE", help="memory of the domain (default 32M)"
    )
    parser.add_argument("--ramdisk", type=Path, metavar="FILE", help="initial ramdisk")
    parser.add_argument("--name", help="the domain's name in xenstore (default: that of the image)")
    parser.add_argument(
        "--clock", choices=("virtual", "host"), default="virtual", help="where time comes from"
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="preempt by instruction count, not by time"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides which machine frames the domain gets")
    parser.add_argument(
        "--timeout", type=positive_seconds, metavar="S", help="give up after S seconds: status 124"
    )
    parser.add_argument(
        "--xen-build",
        choices=("debug", "release"),
        default="debug",
        help="which build of Xen the guest finds: a debug build prints what it writes with console_io",
    )
    parser.add_argument(
        "--max-traps", type=positive_count, default=0, metavar="N", help="give up after N traps"
    )
    parser.add_argument(
        "--on-reboot", choices=("stop", "restart"), default="stop", help="default: stop, status 4"
    )
    parser.add_argument(
        "--trace", metavar="FILE", help="write a line for every hypercall, exception, event (-: stderr)"
    )
    parser.add_argument(
        "--trace-events", type=_kinds, default=tuple(Kind), metavar="LIST", help="which, by commas"
    )
    parser.add_argument("--explain", action="store_true", help="say on stderr why each request was refused")
    parser.add_argument("--audit", action="store_true", help="recount all frames' owners, types and uses")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="warning")
    parser.add_argument(
        "--dump-on-crash", type=Path, metavar="FILE", help="also write the crash dump to FILE"
    )
    add_source_options(parser)
    parser.set_defaults(run=_boot, cmdline=[])


def _kinds(text: str) -> tuple[Kind, ...]:
    try:
        return tuple(Kind(word.strip()) for word in text.split(","))
    except ValueError:
        known = ", ".join(kind.value for kind in Kind)
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of these: {known}") from None


def _boot(options: argparse.Namespace) -> int:
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=options.log_level.upper())
    data, config = _what(options)
    try:
        image = load_image(data)
        with ExitStack() as stack:
            trace = _trace_file(options.trace, stack) if options.trace else None
            while True:
                status = _run(options, image, config, trace)
                if status is not Status.REBOOT or options.on_reboot == "stop":
                    return status
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None


def _what(options: argparse.Namespace) -> tuple[bytes, DomainConfig]:
    """The image and the domain that the user means by IMAGE|NAME|SOURCE.S and the options."""
    path, memory, cmdline = Path(options.image), options.memory, shlex.join(options.cmdline)
    name, defines = path.stem, dict(options.define)
    if options.image in guest_kernels.names() and not path.is_file():
        kernel = guest_kernels.load(options.image)
        data = write_elf(assemble(kernel.sources, options.include, defines))
        memory, cmdline = memory or kernel.memory, cmdline or kernel.cmdline
    elif path.suffix == ".S":
        data = write_elf(assemble([path], options.include, defines))
    elif path.exists():
        data = read_file(path, "an image")
    else:
        raise UsageError(f"{options.image} is neither a file nor a guest kernel; `paravane list` shows those")
    if Machine.size_for(memory or DEFAULT_MEMORY) > MACHINE_MEMORY:
        raise UsageError(f"a domain of {memory >> 20} MiB does not fit into a machine of 4 GiB")
    ramdisk = read_file(options.ramdisk, "a ramdisk") if options.ramdisk else None
    return data, DomainConfig(options.name or name, memory or DEFAULT_MEMORY, cmdline, ramdisk)


def _write_dump(path: Path, report: str) -> None:
    """The dump as a file. That it cannot be written must not hide that the guest crashed."""
    try:
        path.write_text(report)
    except OSError as error:
        print(f"paravane: {path}: {error.strerror}", file=sys.stderr)


def _trace_file(name: str, stack: ExitStack) -> TextIO:
    return sys.stderr if name == "-" else stack.enter_context(Path(name).open("w"))


def _run(options: argparse.Namespace, image: Image, config: DomainConfig, trace: TextIO | None) -> Status:
    """One life of the domain, from its start of day to its end."""
    with Machine(
        Machine.size_for(config.memory),
        seed=options.seed,
        clock=HostClock() if options.clock == "host" else VirtualClock(),
        slice_instructions=DETERMINISTIC_SLICE if options.deterministic else 0,
        debug=options.xen_build == "debug",
    ) as machine:
        if trace is not None:
            machine.trace.subscribe(
                lambda record: print(trace_line(record), file=trace), options.trace_events
            )
        if options.explain:
            machine.trace.subscribe(lambda record: print(body(record), file=sys.stderr), (Kind.REFUSAL,))
        terminal = Terminal()
        domain = machine.create(image, replace(config, sink=terminal.write))
        with terminal.joined(machine, domain.console):
            ending = machine.run(timeout=options.timeout, max_traps=options.max_traps)
        status = _report(options, domain, ending)
        if terminal.failure is not None:
            print(f"paravane: console output was lost: {terminal.failure.strerror}", file=sys.stderr)
            status = status or Status.ERRORS
        if options.audit and not _audit(machine):
            status = status or Status.ERRORS
        return status


def _audit(machine: Machine) -> bool:
    """Recount the frames and say what differs; whether nothing does."""
    differences = machine.audit()
    for line in differences or ["no difference"]:
        print(f"audit: {line}", file=sys.stderr)
    return not differences


def _report(options: argparse.Namespace, domain: Domain, ending: Ending) -> Status:
    """Say on stderr what the exit status alone does not."""
    if domain.crash_report:
        print(domain.crash_report, end="", file=sys.stderr)
        if options.dump_on_crash is not None:
            _write_dump(options.dump_on_crash, domain.crash_report)
    if ending.reason is not StopReason.DONE or domain.reason is None:
        print(f"paravane: {domain.name} did not end: {ending}", file=sys.stderr)
        return _CUT_SHORT[ending.reason]
    return _ENDED[domain.reason]
