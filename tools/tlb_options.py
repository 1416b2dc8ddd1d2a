"""Options of the TLB that a domain's processors have, and what is told of it at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.text import shown
from paravane.tools.arguments import positive_count
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from paravane import Domain
    from paravane.tlb import TlbSpec

KINDS: Final = ("hardware", "software", "tagged")
"""The names of `TlbKind`, which is loaded for who wants one."""
MOST_ENTRIES: Final = 512


def add_tlb_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tlb",
        choices=KINDS,
        help="have its processors' TLBs modelled, and say on stderr what they have counted: hardware, "
        "refilled by the processor and flushed at each switch, as x86's; software, refilled by the kernel, "
        "which has to know that (`tlb` does); tagged, with address-space numbers (default: the engine's own, "
        "not counted)",
    )
    add_size_options(group, "with --tlb, ")


def add_size_options(group: argparse._ArgumentGroup, condition: str = "") -> None:
    """How large a TLB is; `condition` is when that counts, as their help begins."""
    group.add_argument(
        "--tlb-entries",
        type=positive_count,
        metavar="N",
        help=f"{condition}pages that each of them holds, up to {MOST_ENTRIES} (default: 64)",
    )
    group.add_argument(
        "--tlb-ways",
        type=positive_count,
        metavar="N",
        help=f"{condition}entries of a set (default: 4)",
    )


def tlb_of(options: argparse.Namespace, default: str | None = None) -> TlbSpec | None:
    """The TLB that the user means, or that of the `default` kind; None: the engine's own. Raises
    UsageError."""
    kind, given = options.tlb or default, sizes(options)
    if kind is None:
        if given:
            raise UsageError(f"--tlb-{next(iter(given))} is for --tlb")
        return None
    from paravane import tlb  # noqa: PLC0415 - loaded for who asks for it only

    try:
        return tlb.TlbSpec(tlb.TlbKind[kind], **given)
    except ValueError as error:
        raise UsageError(f"--tlb: {error}") from None


def tlb_report(domain: Domain) -> Iterator[str]:
    """Lines about what its TLBs have counted; none, if they are the engine's own."""
    if domain.tlb is not None:
        from paravane.tlb.report import report  # noqa: PLC0415 - loaded for who asks for it only

        processors = [vcpu.cpu for vcpu in domain.vcpus]
        yield from report(shown(domain.name), processors, domain.running_time)


def sizes(options: argparse.Namespace) -> dict[str, int]:
    """What was given of `add_size_options`, as `TlbSpec` takes it."""
    wanted = {"entries": options.tlb_entries, "ways": options.tlb_ways}
    return {name: value for name, value in wanted.items() if value is not None}
