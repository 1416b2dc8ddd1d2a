"""`paravane compare KERNEL`: one kernel paravirtualised and fully virtualised, in numbers."""

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
from paravane.tools.compare.comparison import compare
from paravane.tools.compare.forms import find
from paravane.tools.compare.picture import draw
from paravane.tools.compare.table import table
from paravane.tools.compare.ways import Modes
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    import argparse

_TIMEOUT: Final = 600.0
_EPILOG: Final = manual.epilog(
    """\
KERNEL has two forms, one for Xen and one for a bare PC, and says in words what it is doing
(guest_kernels/twice). Exits to the hypervisor are counted as hardware has them: a multicall
is one, a system call through the direct gate is none. Slices are counted instructions, so
the figures are always the same. --lines and --host-time run it twice more.""",
    statuses=(
        (Status.OK, "it was compared"),
        (Status.ERRORS, "the forms print different things; sources have errors; output was not written"),
        (Status.USAGE, "bad usage, or a kernel that has no two forms"),
        (Status.CRASHED, "a form did not end with success"),
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
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane compare KERNEL`."""
    parser.description = "Count what a kernel costs Xen, and what the same kernel costs as one of a bare PC."
    parser.usage = "%(prog)s KERNEL [options]"
    parser.epilog = _EPILOG
    parser.add_argument(
        "image", metavar=images.METAVAR, help="a name of `paravane list`, or a folder with a kernel.toml"
    )
    group = parser.add_argument_group("how the bare PC is virtualised")
    group.add_argument(
        "--shadow",
        choices=[policy.value for policy in Policy],
        default=Policy.VTLB.value,
        help="shadow page tables: dropped when a TLB would be, or kept, the kernel's own write-protected "
        "(default: vtlb)",
    )
    group.add_argument(
        "--sensitive",
        choices=[mode.value for mode in Sensitive],
        default=Sensitive.REWRITE.value,
        help="what is done about instructions that show ring 1 and do not trap (default: rewrite)",
    )
    group = parser.add_argument_group("what is told")
    group.add_argument("--json", action="store_true", help="print the figures as JSON, not as a table")
    group.add_argument("-o", "--output", type=Path, metavar="FILE", help="draw the exits into FILE too")
    group.add_argument("--lines", action="store_true", help="count the lines of the hypervisor that run too")
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
    try:
        found = compare(
            find(options),
            Modes(Policy(options.shadow), Sensitive(options.sensitive)),
            options.timeout,
            with_lines=options.lines,
            with_seconds=options.host_time,
        )
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    except (ValueError, MemoryError) as error:
        raise UsageError(str(error) or "there is not enough memory", Status.ERRORS) from None
    print(json.dumps(found.data(), indent=2) if options.json else "\n".join(table(found)))
    if options.output is not None:
        draw(found, options.output)
    return Status.OK
