"""What a kernel's phases cost with a modelled TLB: its counts beside those of the exits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.tlb.report import COUNTED, counts_of
from paravane.tools.compare.costs import total
from paravane.tools.compare.paravirtual import XenCounter, is_hypercall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane import Domain, Machine, Record
    from paravane.tools.compare.costs import Costs, Phases
    from paravane.trace import HypercallRecord

COUNTS: Final = tuple(name for name, _ in COUNTED if name != "exits")
"""What a TLB counts. Exits are counted here by what they are for."""


@dataclass(frozen=True, slots=True)
class TlbCosts:
    """Of one phase, or of all: exits by reason and virtual time, as `Costs` has them, and `COUNTS`."""

    costs: Costs
    tlb: Counter[str]

    @property
    def nr_exits(self) -> int:
        return self.costs.nr_exits

    @property
    def hypercalls(self) -> int:
        """How many of the exits were hypercalls; a multicall is one."""
        return sum(count for reason, count in self.costs.exits.items() if is_hypercall(reason))

    def data(self) -> dict[str, object]:
        """As JSON has it."""
        told = self.costs.data()
        return {
            **{name: told[name] for name in ("exits", "reasons")},
            "hypercalls": self.hypercalls,
            **{name: self.tlb[name] for name in COUNTS},
            "nanoseconds": self.costs.nanoseconds,
        }


def in_all(costs: Iterable[TlbCosts]) -> TlbCosts:
    """Of all phases together."""
    several = list(costs)
    return TlbCosts(total(one.costs for one in several), sum((one.tlb for one in several), Counter()))


class TlbCounter(XenCounter):
    """A `XenCounter` that looks at the TLBs of the domain too. What they have counted since the last exit is
    of the phase in which the next one comes: no phase may end with misses but by an exit or a system call."""

    def __init__(self, machine: Machine, domain: Domain, phase: int | None, phases: Phases) -> None:
        """`phase` as for `XenCounter`."""
        super().__init__(machine.platform, domain.vcpus[0], phase, phases)
        self._processors = [vcpu.cpu for vcpu in domain.vcpus]
        self._before = counts_of(self._processors)
        self._counted: dict[str, Counter[str]] = {name: Counter() for name in phases.costs}

    def take(self, record: Record) -> None:
        super().take(record)
        self._look()

    def finish(self) -> None:
        super().finish()
        self._look()

    def found(self) -> dict[str, TlbCosts]:
        """The costs by phase."""
        return {name: TlbCosts(costs, self._counted[name]) for name, costs in self._phases.costs.items()}

    def _look(self) -> None:
        before, self._before = self._before, counts_of(self._processors)
        counted = self._counted[self._phases.name(self.number)]
        for name in COUNTS:
            counted[name] += self._before[name] - before[name]

    def _count_paging(self, record: HypercallRecord) -> None:
        """The TLB says what was flushed; to read the guest's requests again might have it miss."""
