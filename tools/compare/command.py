"""`paravane compare KERNEL`: one kernel on Xen and on a bare PC, or on three TLBs, in numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import ImageError
from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from paravane.tools import images, manual
from paravane.tools.arguments import add_source_options, positive_seconds
from paravane.tools.bench.scale import check_picture
from paravane.tools.compare import tlbs
from paravane.tools.compare.comparison import compare
from paravane.tools.compare.forms import find
from paravane.tools.compare.picture import draw, draw_tlbs
from paravane.tools.compare.table import table
from paravane.tools.compare.tlb_table import tlb_table
from paravane.tools.compare.tlbs import compare_tlbs, every_kind, is_for_tlbs
from paravane.tools.compare.ways import Modes
from paravane.tools.status import Status, UsageError
from paravane.tools.tlb_options import add_size_options, sizes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from paravane.guest_kernels import GuestKernel

_TIMEOUT: Final = 600.0
_EPILOG: Final = manual.epilog(
    """\
KERNEL has two forms, one for Xen and one for a bare PC (guest_kernels/twice; its kernel.toml
has `bare`), or runs on any TLB (guest_kernels/tlb; its kernel.toml has `tlb`, for a variation
as a rule). It says in words what it is doing. Exits to the hypervisor are counted as hardware
has them: a multicall is one, a system call through the direct gate is none. Slices are
counted instructions, so the figures are always the same. --lines and --host-time run it once
more on each.""",
    statuses=(
        (Status.OK, "it was compared"),
        (Status.ERRORS, "it printed different things; sources have errors; output was not written"),
        (Status.USAGE, "bad usage, or a kernel for which there is nothing to compare"),
        (Status.CRASHED, "it did not end with success"),
        manual.NO_IMAGE,
        manual.INTERRUPTED,
    ),
    files=(manual.SETTINGS, manual.CACHE),
    environment=(manual.CACHE_HOME,),
    examples=(
        ("paravane compare twice", "what each phase costs"),
        ("paravane compare twice --sensitive ignore", "as hardware that does not trap leaves it"),
        ("paravane compare twice --lines", "and how much of the hypervisor's code runs"),
        ("paravane compare twice --json -o compare.svg", "as data, and as a picture"),
        ("paravane compare tlb --tlb-entries 16", "three TLBs, small ones"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane compare KERNEL`."""
    parser.description = "Count what a kernel costs Xen and a bare PC's monitor, or with each of three TLBs."
    parser.usage = "%(prog)s KERNEL [options]"
    parser.epilog = _EPILOG
    parser.add_argument(
        "image", metavar=images.METAVAR, help="a name of `paravane list`, or a folder with a kernel.toml"
    )
    group = parser.add_argument_group("how the bare PC is virtualised")
    group.add_argument(
        "--shadow",
        choices=[policy.value for policy in Policy],
        help="shadow page tables: dropped when a TLB would be, or kept, the kernel's own write-protected "
        "(default: vtlb)",
    )
    group.add_argument(
        "--sensitive",
        choices=[mode.value for mode in Sensitive],
        help="what is done about instructions that show ring 1 and do not trap (default: rewrite)",
    )
    add_size_options(parser.add_argument_group("the TLBs"))
    group = parser.add_argument_group("what is told")
    group.add_argument("--json", action="store_true", help="print the figures as JSON, not as a table")
    group.add_argument("-o", "--output", type=Path, metavar="FILE", help="draw the exits into FILE too")
    group.add_argument(
        "--lines", action="store_true", help="two forms: count the lines of the hypervisor that run too"
    )
    group.add_argument(
        "--host-time",
        action="store_true",
        help="measure the host's processor time too: it is another one each time",
    )
    group = parser.add_argument_group("when to stop")
    group.add_argument(
        "--timeout",
        type=positive_seconds,
        default=_TIMEOUT,
        metavar="SECONDS",
        help=f"host seconds for each run (default: {_TIMEOUT:.0f})",
    )
    add_source_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> Status:
    if options.output is not None:
        check_picture(options.output)
    kernel = images.kernel_of(options)
    try:
        if kernel is not None and kernel.bare is not None:
            _two_forms(kernel, options)
        elif kernel is not None and is_for_tlbs(kernel):
            _three_tlbs(kernel, options)
        else:
            if kernel is None:
                images.check_exists(options)
            raise UsageError(
                f"{options.image} is not for Xen and a bare PC both, nor for several TLBs: such a kernel "
                "has a folder, and `bare` or `tlb` in its kernel.toml"
            )
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    except (ValueError, MemoryError) as error:
        raise UsageError(str(error) or "there is not enough memory", Status.ERRORS) from None
    return Status.OK


def _two_forms(kernel: GuestKernel, options: argparse.Namespace) -> None:
    for given in sizes(options):
        raise UsageError(f"--tlb-{given} is for a kernel with `tlb`: {kernel.name} has `bare`")
    found = compare(
        find(kernel, options),
        Modes(Policy(options.shadow or Policy.VTLB), Sensitive(options.sensitive or Sensitive.REWRITE)),
        options.timeout,
        with_lines=options.lines,
        with_seconds=options.host_time,
    )
    _tell(options, found.data(), table(found))
    if options.output is not None:
        draw(found, options.output)


def _three_tlbs(kernel: GuestKernel, options: argparse.Namespace) -> None:
    for given in ("shadow", "sensitive", "lines"):
        if getattr(options, given):
            raise UsageError(f"--{given} is for a kernel with `bare`: {kernel.name} has `tlb`")
    try:
        specs = every_kind(**sizes(options))
    except ValueError as error:
        raise UsageError(str(error)) from None
    found = compare_tlbs(tlbs.find(kernel, options), specs, options.timeout, with_seconds=options.host_time)
    _tell(options, found.data(), tlb_table(found))
    if options.output is not None:
        draw_tlbs(found, options.output)


def _tell(options: argparse.Namespace, data: Mapping[str, object], lines: Sequence[str]) -> None:
    print(json.dumps(data, indent=2) if options.json else "\n".join(lines))
