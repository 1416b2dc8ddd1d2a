"""`bench isolation`: what well-behaved guests keep of their fair share beside one that does not behave.

Three guests work and one misbehaves, all with the same weight. Time passes with instructions and with what
traps, hypercalls and backends are charged, so the figures are those of the accounting, and the same on every
host. With `host` they are by the processor time of the host, in which a fault costs what it costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from paravane.tools.bench import guests, trial

if TYPE_CHECKING:
    from paravane import Domain, Machine

WORKERS: Final = 3
SECONDS: Final = 1.0
HOST_SECONDS: Final = 2.0
ENOUGH: Final = 90.0
"""Percent of its fair share that a well-behaved guest is to keep."""

_VICTIM, _HOSTILE = 1, WORKERS + 1


class Figures(NamedTuple):
    """Percent of their fair share that each of the well-behaved guests had of the processor; the first one is
    whom events are sent to. `work` is the least that one of them has done, of what it does in its fair share
    alone (None: not measured), `hostile` what the other one had of the processor, `entries` how often guests
    entered the hypervisor in a second."""

    time: tuple[float, ...]
    work: float | None
    hostile: float
    entries: float

    @property
    def worst(self) -> float:
        return min(self.time) if self.work is None else min(*self.time, self.work)


def measure(kind: str, policy: str = "bvt", *, host: bool = False) -> Figures:
    """What one kind of misbehaviour (`guests.HOSTILE`) costs the others."""
    seconds = HOST_SECONDS if host else SECONDS
    alone = None if host else _alone(policy, seconds)
    with trial.machine(WORKERS + 1, policy, deterministic=not host) as machine:
        workers = _workers(machine)
        hostile = trial.create(machine, guests.image(guests.HOSTILE[kind], _VICTIM), kind)
        trial.run(machine, seconds)
        domains = [*workers, hostile]
        fair = sum(domain.processor_time for domain in domains) / len(domains)
        time = tuple(100 * worker.processor_time / fair for worker in workers)
        # By the host's time a loaded host would let it do the less.
        work = None if alone is None else 100 * min(map(trial.work, workers)) / (alone * fair)
        entries = machine.platform.traps / seconds
        return Figures(time, work, 100 * hostile.processor_time / fair, entries)


def table(kinds: list[str], figures: list[Figures]) -> list[list[str]]:
    """A head, and a row for each misbehaviour."""
    names = ["its peer", *(f"guest {number}" for number in range(2, WORKERS + 1))]
    rows = [
        ["beside one that", *(f"{name}: time" for name in names), "least work", "the one itself", "entries/s"]
    ]
    for kind, found in zip(kinds, figures, strict=True):
        time = (f"{part:.1f} %" for part in found.time)
        work = "-" if found.work is None else f"{found.work:.1f} %"
        rows.append([kind, *time, work, f"{found.hostile:.1f} %", f"{found.entries:.0f}"])
    return rows


def _workers(machine: Machine) -> list[Domain]:
    victim = trial.create(machine, guests.image(guests.VICTIM, _HOSTILE), "victim")
    others = [
        trial.create(machine, guests.image(guests.WORKER), f"worker{number}")
        for number in range(2, WORKERS + 1)
    ]
    return [victim, *others]


def _alone(policy: str, seconds: float) -> float:
    """Work that a guest does in a nanosecond of the processor."""
    with trial.machine(1, policy) as machine:
        worker = trial.create(machine, guests.image(guests.WORKER), "alone")
        trial.run(machine, seconds / (WORKERS + 1))
        return trial.work(worker) / worker.processor_time
