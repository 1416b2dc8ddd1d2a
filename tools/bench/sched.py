"""`bench sched`: how fair each policy is, and how soon who wakes has the processor."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final, NamedTuple

from paravane.sched import POLICIES
from paravane.tools.bench import guests, trial
from paravane.trace import Kind, ScheduleRecord

if TYPE_CHECKING:
    from paravane.trace import Record

WEIGHTS: Final = (128, 256, 512)
CAP: Final = 20
SECONDS: Final = 2.0


class Figures(NamedTuple):
    """Of one policy: percent of the processor that each of `WEIGHTS` had, and that a domain capped to `CAP`
    had (None: it keeps no caps); microseconds from a wake-up until it ran: mean, 99 of 100, longest."""

    shares: tuple[float, ...]
    capped: float | None
    waits: tuple[float, float, float]


def measure(policy: str, seconds: float = SECONDS) -> Figures:
    """The figures of a policy, in so many seconds of virtual time for each."""
    return Figures(_shares(policy, seconds), _capped(policy, seconds), _waits(policy, seconds))


def table(policies: list[str], figures: list[Figures]) -> list[list[str]]:
    """A head, what would be right, and a row for each policy."""
    total = sum(WEIGHTS)
    rows = [
        [
            "policy",
            *(f"weight {weight}" for weight in WEIGHTS),
            f"cap {CAP}",
            "wake-up",
            "99 of 100",
            "longest",
        ],
        [
            "(fair)",
            *(f"{100 * weight / total:.1f} %" for weight in WEIGHTS),
            f"{CAP:.1f} %",
            "0 us",
            "0 us",
            "0 us",
        ],
    ]
    for policy, found in zip(policies, figures, strict=True):
        capped = "none" if found.capped is None else f"{found.capped:.1f} %"
        shares = (f"{share:.1f} %" for share in found.shares)
        rows.append([policy, *shares, capped, *(f"{wait:.0f} us" for wait in found.waits)])
    return rows


def _shares(policy: str, seconds: float) -> tuple[float, ...]:
    with trial.machine(len(WEIGHTS), policy) as machine:
        domains = [
            trial.create(machine, guests.image(guests.WORKER), f"weight{weight}", weight=weight)
            for weight in WEIGHTS
        ]
        trial.run(machine, seconds)
        total = machine.platform.clock.now()
        return tuple(100 * domain.processor_time / total for domain in domains)


def _capped(policy: str, seconds: float) -> float | None:
    if not POLICIES[policy]().keeps_caps:
        return None
    with trial.machine(1, policy) as machine:
        domain = trial.create(machine, guests.image(guests.WORKER), "capped", cap=CAP)
        trial.run(machine, seconds)
        return 100 * domain.processor_time / machine.platform.clock.now()


def _waits(policy: str, seconds: float) -> tuple[float, float, float]:
    """Beside two that compute."""
    with trial.machine(3, policy) as machine:
        records: list[Record] = []
        machine.trace.subscribe(records.append, (Kind.SCHEDULE,))
        for name in ("first", "second"):
            trial.create(machine, guests.image(guests.WORKER), name)
        sleeper = trial.create(machine, guests.image(guests.SLEEPER), "sleeper")
        trial.run(machine, seconds)
    own = [
        record for record in records if isinstance(record, ScheduleRecord) and record.domid == sleeper.domid
    ]
    # One that wakes before it lost the processor has slept for a time that was over already.
    waits = [
        (ran.time - woken.time) / 1000
        for out, woken, ran in zip(own, own[1:], own[2:], strict=False)
        if (out.name, woken.name, ran.name) == ("out", "woken", "in")
    ]
    return statistics.mean(waits), statistics.quantiles(waits, n=100, method="inclusive")[-1], max(waits)
