"""What a kernel on a bare PC costs its monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.cpu import PageFault

if TYPE_CHECKING:
    from paravane.full.machine import BareMachine
    from paravane.tools.compare.costs import Costs, Phases


class BareCounter:
    """Counts from now on, each exit when the monitor has dealt with it: the phase is then still the one that
    it was for, as the guest has not gone on."""

    def __init__(self, machine: BareMachine, phase: int | None, phases: Phases) -> None:
        """`phase` is the linear address of the word with the number of the phase, if there is one."""
        self._vcpu = machine.guest.vcpus[0]
        self._memory = machine.memory
        self._clock = machine.platform.clock
        self._shadow = machine.shadow.counts
        self._phase, self._phases = phase, phases
        self._before = self._counts()
        self._vcpu.exits.observer = self._left

    def finish(self) -> None:
        """The run is over: what came after the last exit counts too."""
        self._vcpu.exits.observer = None
        self._settle(self._now())

    def _left(self, reason: str) -> None:
        costs = self._now()
        costs.exits[reason] += 1
        self._settle(costs)

    def _now(self) -> Costs:
        """Those of the present phase."""
        if self._phase is None:
            return self._phases.at(None)
        try:
            return self._phases.at(int.from_bytes(self._memory.look(self._phase, 4), "little"))
        except PageFault:
            return self._phases.at(None)  # the kernel has yet to map itself

    def _settle(self, costs: Costs) -> None:
        """What has come about since the last exit is of this phase."""
        before, self._before = self._before, self._counts()
        new = [after - earlier for earlier, after in zip(before, self._before, strict=True)]
        costs.instructions += new[0]
        costs.entries += new[1]
        costs.flushes += new[2]
        costs.page_flushes += new[3]
        costs.nanoseconds += new[4]

    def _counts(self) -> tuple[int, int, int, int, int]:
        shadow = self._shadow
        return (
            self._vcpu.exits.instructions,
            shadow.writes,
            shadow.flushes,
            shadow.page_flushes,
            self._clock.now(),
        )
