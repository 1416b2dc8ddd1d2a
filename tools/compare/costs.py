"""What a kernel's phases cost its hypervisor: the same counts for either way to run it."""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FIGURES: Final = ("instructions", "entries", "flushes", "page_flushes", "nanoseconds")
"""The counts of `Costs` that are one number each."""


@dataclass(slots=True)
class Costs:
    """Of one phase, or of all.

    `exits`: by reason, how often the guest was left for its hypervisor. `instructions`: those that were
    carried out for the guest. `entries`: page-table entries that the hypervisor looked at and wrote, the
    guest's for Xen, its own shadow's for a bare PC. `flushes` of the whole TLB and `page_flushes` of a page,
    because the guest asked for it. `nanoseconds`: virtual time.
    """

    exits: Counter[str] = field(default_factory=Counter)
    instructions: int = 0
    entries: int = 0
    flushes: int = 0
    page_flushes: int = 0
    nanoseconds: int = 0

    @property
    def nr_exits(self) -> int:
        return self.exits.total()

    def data(self) -> dict[str, object]:
        """As JSON has it; the reasons that count most come first."""
        reasons = dict(sorted(self.exits.items(), key=lambda item: (-item[1], item[0])))
        return {"exits": self.nr_exits, "reasons": reasons} | {name: getattr(self, name) for name in FIGURES}


class Phases:
    """What each phase costs, while a kernel runs."""

    def __init__(self, names: Sequence[str]) -> None:
        """The first of `names` is that of all that is no phase."""
        self.costs = {name: Costs() for name in names}
        self._names = tuple(self.costs)

    def name(self, number: int | None) -> str:
        """That of a phase by its number; without one, or with one that has no name, the first."""
        known = number is not None and number < len(self._names)
        return self._names[number if known and number is not None else 0]

    def at(self, number: int | None) -> Costs:
        """The costs of the phase that is called so."""
        return self.costs[self.name(number)]


def total(costs: Iterable[Costs]) -> Costs:
    """Of all phases together."""
    whole = Costs()
    for one in costs:
        whole.exits.update(one.exits)
        for name in FIGURES:
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
    return whole
