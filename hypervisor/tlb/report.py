"""What the TLBs of a domain have counted, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.tlb.processor import TlbProcessor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.cpu import Cpu

COUNTED: Final = (
    ("misses", "misses"),
    ("refills", "refills by the kernel"),
    ("updates", "updates (dirty bits, rights)"),
    ("evictions", "evictions"),
    ("switches", "switches of address space"),
    ("flushes", "flushes of everything"),
    ("asn_flushes", "flushes of an address space"),
    ("page_flushes", "flushes of a page"),
    ("forgotten", "entries that flushes took"),
    ("exits", "exits to the hypervisor"),
)
"""Fields of `TlbCounts` and what they are called, in the order in which they are told."""


def counts_of(processors: Sequence[Cpu]) -> dict[str, int]:
    """What the TLBs of these processors have counted in all, by the fields of `TlbCounts`; nothing, if none
    has a modelled one."""
    modelled = [one for one in processors if isinstance(one, TlbProcessor)]
    if not modelled:
        return {}
    return {name: sum(getattr(one.tlb.counts, name) for one in modelled) for name, _ in COUNTED}


def report(name: str, processors: Sequence[Cpu], running_time: int) -> Iterator[str]:
    """Lines about the domain that is called so, whose vcpus were running for `running_time` nanoseconds;
    none, if it has no modelled TLB."""
    counts = counts_of(processors)
    if not counts:
        return
    first = next(one for one in processors if isinstance(one, TlbProcessor))
    spec, several = first.spec, f" on each of {len(processors)} processors" if len(processors) > 1 else ""
    yield f"{name}: {spec.kind.name} TLB, {spec.size}{several}"
    for field, words in COUNTED:
        yield f"{counts[field]:>10} {words}"
    yield f"{running_time // 1000:>10} us of system time in which it was running"
