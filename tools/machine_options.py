"""Options of every command that runs a machine: where its time comes from, how long it may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import HostClock, Machine, VirtualClock
from paravane.machine import DETERMINISTIC_SLICE
from paravane.sched import POLICIES
from paravane.time.clock import FollowingClock
from paravane.tools.arguments import (
    MOST_VCPUS,
    fault_list,
    memory_size,
    microseconds,
    natural_number,
    positive_count,
    positive_seconds,
    socket_path,
    vcpu_count,
)
from paravane.tools.status import Status, UsageError
from paravane.variation import FAULTS, PLAIN, Variation

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from pathlib import Path

    from paravane.devices.framebuffer import Vfb
    from paravane.devices.net.vif import Vif
    from paravane.time.clock import Clock


def add_machine_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--clock",
        choices=("virtual", "host"),
        help="where time comes from (default: virtual; host for domains that reach out of the machine by "
        "passt or tap, or are seen by VNC)",
    )
    group.add_argument(
        "--deterministic", action="store_true", help="preempt by instruction count, not by time"
    )
    group.add_argument(
        "--sched",
        choices=tuple(POLICIES),
        default=next(iter(POLICIES)),
        help="who runs when: by borrowed virtual time, by credits, or each in turn (default: %(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=positive_seconds,
        metavar="S",
        help="give up after S seconds in all, assembling and waiting for files included: status 124",
    )
    group.add_argument(
        "--xen-build",
        choices=("debug", "release"),
        default="debug",
        help="which build of Xen the guest finds: a debug build prints what it writes with console_io "
        "(default: debug)",
    )
    group.add_argument(
        "--max-traps", type=positive_count, default=0, metavar="N", help="give up after N traps: status 124"
    )


def add_size_options(group: argparse._ArgumentGroup) -> None:
    """How large the one domain is."""
    group.add_argument(
        "--memory",
        type=memory_size,
        metavar="SIZE",
        help="memory of the domain: 64M, 65536K, 1G, or a number of MiB (default: what the kernel of `list` "
        "asks for, else 32M)",
    )
    group.add_argument(
        "--vcpus",
        type=vcpu_count,
        metavar="N",
        help=f"processors of the domain, up to {MOST_VCPUS}; all but the first its kernel starts itself "
        "(default: what the kernel of `list` asks for, else 1)",
    )


def add_chance_options(group: argparse._ArgumentGroup, jitter: int = 0) -> None:
    """What a seed decides besides frames and turns; `jitter` in nanoseconds is the default."""
    group.add_argument(
        "--jitter",
        type=microseconds,
        default=jitter,
        metavar="US",
        help="have the timers of vcpus be late, by up to so many microseconds, as the seed says (default: "
        f"{jitter // 1000})",
    )
    group.add_argument(
        "--decisions",
        type=natural_number,
        metavar="N",
        help="leave that many turns to the seed, and then have plain ones (default: all)",
    )
    group.add_argument(
        "--faults",
        type=fault_list,
        nargs="?",
        const=FAULTS,
        default=(),
        metavar="LIST",
        help="have some requests fail that may fail on a real machine, as the seed says: those of "
        f"{', '.join(FAULTS)}, with commas between them, or all, as without a LIST (default: none)",
    )
    group.add_argument(
        "--most-faults",
        type=natural_number,
        metavar="N",
        help="have that many of them, and no more (default: any number)",
    )


def chance_of(options: argparse.Namespace) -> Variation:
    """See `add_chance_options`; plain for commands without those. Raises UsageError."""
    faults, most = getattr(options, "faults", ()), getattr(options, "most_faults", None)
    if most is not None and not faults:
        raise UsageError("--most-faults is for --faults")
    return Variation(getattr(options, "jitter", 0), getattr(options, "decisions", None), faults, most)


def settle_clock(options: argparse.Namespace, devices: Iterable[Vif | Vfb]) -> None:
    """Where time comes from if the user has not said so. Whoever answers or looks from outside lives by the
    host's clock; virtual time would have jumped over the answer."""
    if options.clock is None:
        recorded = getattr(options, "record", None) is not None
        outside = any(device.outside for device in devices) and (recorded or not options.deterministic)
        options.clock = "host" if outside else "virtual"


def add_store_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--store-socket",
        type=socket_path,
        metavar="FILE",
        help="have xenstore listen there, for `store --socket` and for Xen's own tools with XENSTORED_PATH",
    )


def serve_store(machine: Machine, path: Path | None) -> None:
    """Have xenstore of the machine listen at `path`, if one is given. Raises UsageError where it cannot."""
    if path is not None:
        try:
            machine.serve_store(path)
        except OSError as error:
            raise UsageError(f"--store-socket {path}: {error.strerror}", Status.ERRORS) from None


def machine_of(
    options: argparse.Namespace, *memory: int, privileged: bool = False, variation: Variation = PLAIN
) -> Machine:
    """A machine as the options say, with room for domains of so many bytes each, and with a `privileged` one
    among them for those that it makes."""
    return Machine(
        Machine.size_for(*memory, privileged=privileged),
        seed=options.seed,
        clock=_clock(options),
        policy=POLICIES[options.sched](),
        slice_instructions=DETERMINISTIC_SLICE if options.deterministic else 0,
        debug=options.xen_build == "debug",
        variation=variation,
    )


def _clock(options: argparse.Namespace) -> Clock:
    """That of a recorded run is set by the host's where that can be repeated."""
    if options.clock != "host":
        return VirtualClock()
    return HostClock() if getattr(options, "record", None) is None else FollowingClock()
