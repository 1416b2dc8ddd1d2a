"""The report of a domain: that of each vcpu, and what belongs to none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.report.waits import seconds, timers
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paravane.report.waits import Armed


def domain_report(domid: int, name: str, vcpus: Iterable[str], armed: Sequence[Armed], now: int) -> str:
    """Lines of text: the domain and system time, the reports of its vcpus, its watchdogs."""
    lines = [f"domain {domid} ({shown(name)}) at {seconds(now)}:\n", *vcpus]
    own = [*timers(f"d{domid}", armed, now)]
    if own:
        lines += ["domain's timers:\n", *(f"{line}\n" for line in own)]
    return "".join(lines)
