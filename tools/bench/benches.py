"""What each bench measures as the options say, for people and as data."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from paravane.sched import POLICIES
from paravane.tools.bench import costs, gateways, guests, isolation, pool, scale, sched
from paravane.tools.status import Status

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

ROUNDS: Final = 10
"""Of `traps`, `memory` and `start`."""


class Result(NamedTuple):
    """`table`: a head and its rows, as text. `data`: what they are made of, for JSON."""

    table: list[list[str]]
    data: list[dict[str, object]]
    status: Status = Status.OK


def measure(name: str, options: argparse.Namespace) -> Result:
    """One of `NAMES`."""
    return _BENCHES[name](options)


def _sched(options: argparse.Namespace) -> Result:
    policies = [options.sched] if options.sched else list(POLICIES)
    found = pool.each(sched.measure, policies, options.jobs or 1)
    data = [{"policy": policy, **one._asdict()} for policy, one in zip(policies, found, strict=True)]
    return Result(sched.table(policies, found), data)


def _isolation(options: argparse.Namespace) -> Result:
    kinds = list(guests.HOSTILE)
    one_kind = partial(isolation.measure, policy=options.sched or "bvt", host=options.host)
    found = pool.each(one_kind, kinds, options.jobs or 1)
    kept = min(figures.worst for figures in found) >= isolation.ENOUGH
    data = [{"beside": kind, **one._asdict()} for kind, one in zip(kinds, found, strict=True)]
    return Result(isolation.table(kinds, found), data, Status.OK if kept else Status.ERRORS)


def _scale(options: argparse.Namespace) -> Result:
    idlers = pool.each(scale.idle, list(scale.DOMAINS), options.jobs or 1, apart=True)
    loads = pool.at_once(scale.measure, list(scale.LOADS), options.jobs or 1)
    if options.output:
        scale.draw(loads, idlers, options.output)
    return Result(scale.table(loads, idlers), scale.data(loads, idlers))


def _costs(name: str, options: argparse.Namespace) -> Result:
    which = gateways.chosen(options.gateway)
    rows = costs.selected(name, options.rows)
    measure_row = partial(costs.measure, gateways=which, rounds=options.rounds or ROUNDS)
    found = pool.each(measure_row, rows, 1)
    return Result(costs.table(found, which), [cost.data() for cost in found])


_BENCHES: Final[dict[str, Callable[[argparse.Namespace], Result]]] = {
    **{name: partial(_costs, name) for name in costs.BENCHES},
    "sched": _sched,
    "isolation": _isolation,
    "scale": _scale,
}
NAMES: Final = tuple(_BENCHES)
