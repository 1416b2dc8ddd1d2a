"""`paravane boot`: run one domain, its console on this terminal."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from paravane import DomainConfig, ImageError, Machine
from paravane.cpu import EngineError
from paravane.text import shown
from paravane.tools import images, manual
from paravane.tools.arguments import WATCH_SOURCES, command_line
from paravane.tools.boot.devices import Devices, add_device_options, devices_given
from paravane.tools.boot.session import Session, Wishes
from paravane.tools.console_options import files_of_consoles
from paravane.tools.deadline import Expired, expiring
from paravane.tools.debugger import add_debugger_options, listener
from paravane.tools.files import refuse_overwriting
from paravane.tools.following import add_following_options, following
from paravane.tools.machine_options import (
    add_chance_options,
    add_machine_options,
    add_size_options,
    add_store_option,
    chance_of,
    machine_of,
    settle_clock,
)
from paravane.tools.status import Status, UsageError
from paravane.tools.tlb_options import add_tlb_options, tlb_of
from paravane.tools.trace_options import add_trace_options, trace_output
from paravane.variation import PLAIN

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from paravane import Domain, Image
    from paravane.tools.trace_output import TraceOutput

DEFAULT_MEMORY = 32 << 20
MACHINE_MEMORY = 4 << 30
"""What 32-bit page-table roots can address: no machine is larger."""

_EPILOG = manual.epilog(
    """\
On a terminal every key goes to the guest, but Ctrl-], which opens a monitor while the
guest goes on: `where` says where it is and what it waits for, `pause` stops it, `trace
on FILE` traces from now on, `help` lists the rest. An empty line goes back to the guest,
`quit` leaves the console and ends the domain, Ctrl-] twice sends one. What follows `--`
is the kernel's command line: one word is taken as it stands, several are quoted where
they need it, as for a shell, and joined by blanks.""",
    statuses=manual.ALL_STATUSES,
    files=(manual.SETTINGS, manual.CACHE),
    environment=(manual.CACHE_HOME, manual.NO_COLOR, manual.TERM, manual.NATIVE),
    examples=(
        ("paravane boot hello", ""),
        ("paravane boot greet.S --trace - -- world", ""),
        (
            "paravane boot vmlinuz --memory 256M --ramdisk initrd.gz --timeout 60 -- console=hvc0",
            "",
        ),
        (
            "paravane boot vmlinuz --disk root.img,xvda,cow -- root=/dev/xvda",
            "root.img is left alone",
        ),
        ("paravane boot greet.S --record greet.rec -- world", "for `paravane replay greet.rec`"),
        ("paravane boot greet.S --deterministic --gdb :0", "gdb can go back as well"),
        ("paravane boot unix --console pty", "for `screen /dev/pts/N`"),
        ("paravane boot unix --console tcp:2323", "for `nc 127.0.0.1 2323`"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane boot KERNEL [-- CMDLINE...]`."""
    parser.description = "Run one domain, its console on this terminal."
    parser.usage = "%(prog)s KERNEL [options] [-- CMDLINE...]"
    parser.epilog = _EPILOG
    images.add_image(parser)
    _add_personality(parser)
    _add_domain_options(parser)
    _add_run_options(parser)
    _add_report_options(parser)
    add_debugger_options(parser)
    add_following_options(parser)
    parser.set_defaults(run=_boot, cmdline=[])


def _add_personality(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the kernel takes its machine for")
    group.add_argument(
        "--personality",
        choices=("xen", "full"),
        default="xen",
        help="xen: Xen, which the kernel knows; full: a bare 32-bit PC, for a multiboot kernel of ring 0, "
        "which runs deprivileged, its console the first serial port, its end the debug exit at port 0xf4 "
        "(default: xen)",
    )
    group.add_argument(
        "--sensitive",
        choices=("ignore", "rewrite", "state"),
        help="with full, what is done about instructions that show the kernel that it is not in ring 0, and "
        "do not trap: nothing, as on hardware; find them before they run, and have them trap; or what only "
        "an emulator can, keep the processor's state as of ring 0 (default: rewrite)",
    )
    group.add_argument(
        "--shadow",
        choices=("vtlb", "wp"),
        help="with full, how long what is known of the kernel's page tables is kept: until it would be gone "
        "from a TLB; or, the tables being write-protected, until the kernel changes them (default: vtlb)",
    )
    group.add_argument(
        "--screen",
        metavar="FILE",
        help="with full, write what the text screen shows at the end, as UTF-8, to FILE (-: stderr)",
    )


def _add_domain_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the domain")
    add_size_options(group)
    group.add_argument(
        "--privileged",
        action="store_true",
        help="make it the control domain, number 0, which may make and control others; its console is the "
        "hypervisor's (default: what the kernel of `list` asks for)",
    )
    group.add_argument(
        "--ramdisk",
        type=Path,
        metavar="FILE",
        help="initial ramdisk; of a bare PC's kernel, its multiboot module",
    )
    add_device_options(group, "what the kernel of `list` asks for")
    group.add_argument("--name", help="the domain's name in xenstore (default: that of the image)")
    add_store_option(group)
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="decides which machine frames the domain gets and, with --deterministic, if it is not 0, whose "
        "turn it is among several vcpus, and how long (default: 0)",
    )
    add_chance_options(group)
    add_tlb_options(group)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("time, ends and restarts")
    add_machine_options(group)
    group.add_argument(
        WATCH_SOURCES,
        action="store_true",
        help="boot anew whenever a source changes, or another file that is read, until Ctrl-C",
    )
    group.add_argument(
        "--on-reboot",
        choices=("stop", "restart"),
        default="stop",
        help="what to do when the guest asks for a reboot (default: stop, status 4)",
    )


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("trace and reports")
    add_trace_options(group)
    group.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="keep in DIR, a new folder, what `replay` repeats the run from: the image, and all that "
        "comes from outside, with its place in the run; implies --deterministic",
    )
    group.add_argument("--dump-on-crash", type=Path, metavar="FILE", help="also write the crash dump to FILE")


def _boot(options: argparse.Namespace) -> int:
    if options.personality == "full":
        from paravane.tools.boot.bare import boot  # noqa: PLC0415 - loaded for who asks for it only

        return boot(options)
    for name in ("sensitive", "shadow", "screen"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for --personality full")
    recording = None if options.record is None else import_module("paravane.tools.boot.recording")
    if recording is not None:
        recording.settle_record(options)
    if options.watch_sources:
        from paravane.tools.watch import watch  # noqa: PLC0415 - loaded for who asks for it only

        return watch(options, options.arguments)
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    try:
        with ExitStack() as stack:
            with expiring(deadline):
                data, config, inputs = _what(options)
                if recording is not None:
                    recording.check_recordable(config)
                trace = None if options.trace in (None, "-") else Path(options.trace)
                outputs = [("--trace", trace), ("--dump-on-crash", options.dump_on_crash)]
                outputs += (("--coverage", path) for path in options.coverage)
                outputs += dict.fromkeys(("--vif", path) for path in captures(config))
                outputs += (("--console", path) for path in files_of_consoles(config))
                refuse_overwriting(outputs, inputs)
                image = images.load(options, data)
                followed = following(options, image)
                output = stack.enter_context(trace_output(options, followed.kinds))
            kept = None if recording is None else recording.kept(options, config, data)
            journal, no_way_back = kept, ""
            if options.gdb is not None:
                from paravane.tools.boot.reversing import settle_reversing  # noqa: PLC0415 - for this only

                journal, no_way_back = settle_reversing(options, config, followed, kept)
            wishes = replace(
                wishes_of(options, config, output, deadline),
                following=followed,
                debuggers=listener(options, stack),
                journal=journal,
                no_way_back=no_way_back,
            )
            wanted = config if kept is None else kept.config
            return Session(partial(_create, image), wanted, wishes).run()
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    except EngineError as error:
        raise UsageError(str(error), Status.ERRORS) from None
    except Expired:
        raise UsageError(
            f"{options.image} was not ready when the time given was used up", Status.TIMEOUT
        ) from None


def _create(image: Image, machine: Machine, config: DomainConfig) -> Domain:
    return machine.create(image, config)


def check_fits(config: DomainConfig) -> None:
    """UsageError for a domain of so many bytes that no machine is large enough."""
    needed = Machine.size_for(config.memory + config.overhead, privileged=config.privileged)
    if needed > MACHINE_MEMORY:
        raise UsageError(f"a domain of {config.memory >> 20} MiB does not fit into a machine of 4 GiB")


def captures(config: DomainConfig) -> Iterator[Path]:
    """The files that a domain's network interfaces write what they carry to."""
    if config.devices:
        from paravane.devices.net.vif import Vif  # noqa: PLC0415 - loaded for who asks for it only

        yield from (Path(one.pcap) for one in config.devices if isinstance(one, Vif) and one.pcap)


def wishes_of(
    options: argparse.Namespace, config: DomainConfig, trace: TraceOutput | None, deadline: float | None
) -> Wishes:
    return Wishes(
        machine=partial(
            machine_of,
            options,
            config.memory + config.overhead,
            privileged=config.privileged,
            variation=chance_of(options),
        ),
        deadline=deadline,
        max_traps=options.max_traps,
        restart=getattr(options, "on_reboot", "stop") == "restart",
        store_socket=options.store_socket,
        trace=trace,
        explain=options.explain,
        audit=options.audit,
        dump=options.dump_on_crash,
        log_level=options.log_level.upper(),
        wait_for_debugger=options.gdb_wait,
    )


def _what(options: argparse.Namespace) -> tuple[bytes, DomainConfig, Sequence[Path]]:
    """The image and the domain that the user means, and the files that were read for them."""
    found = images.find(options).with_ramdisk(options.ramdisk)
    memory = options.memory or found.memory or DEFAULT_MEMORY
    privileged = options.privileged or found.privileged
    devices = devices_given(options, Devices(found.disks, found.vifs, found.vfbs, found.consoles))
    inputs = (*found.inputs, *(path for one in devices.disks for path in one.files))
    if chance_of(options) != PLAIN and not (options.deterministic and options.seed):
        raise UsageError(
            "--jitter, --decisions and --faults are for --deterministic with a --seed that is not 0"
        )
    settle_clock(options, (*devices.vifs, *devices.vfbs))
    # A name that is no text would be none in xenstore either.
    name = shown(options.name or found.name)
    cmdline = command_line(options.cmdline) or found.cmdline
    vcpus = options.vcpus or found.vcpus
    folders = images.source_folders(options)
    console, configs = devices.configs(name)
    config = DomainConfig(
        name,
        memory,
        vcpus,
        cmdline,
        found.ramdisk_image,
        source_folders=folders,
        privileged=privileged,
        console=console,
        devices=configs,
        tlb=tlb_of(options, found.tlb),
    )
    check_fits(config)
    return found.data, config, inputs
