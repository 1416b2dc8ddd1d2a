"""Long hypercalls in portions (Xen's hypercall_preempt_check and hypercall_create_continuation).

A guest may ask for as much work in one hypercall as its registers can count. Were that done in one go, nobody
else would run meanwhile: no other domain, no timer, no user who wants to stop the machine. So every entry
into the hypervisor has a budget. An operation that works through a list asks after each item whether to go
on; when it should not, it raises `Preempted` with the arguments for what is left, and the guest, after
whatever is due was delivered, executes the same hypercall again with those.

The budget counts work and not time, so that where a hypercall is split is a function of the guest alone.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

WORK_BUDGET: Final = 4096
"""Units of work an entry may do before it is preempted. A unit is about a microsecond of the host's time: one
changed page-table entry."""

TABLE_WORK: Final = 128
"""Units of work to take or drop every entry of one table, which one small request may ask for."""

ENTRY_WORK: Final = 4
"""Units of one entry of a multicall, besides what the hypercall in it spends."""

OP_WORK: Final = 4
"""Units of one operation of mmuext_op, besides the tables it walks."""

ITEMS: Final = 0
UNITS: Final = 1
SETTLED: Final = 2

UNIT_TIME: Final = 250
"""Virtual nanoseconds that a unit of a used-up budget takes."""


class Preempted(Exception):
    """A hypercall that is to go on later: `done` items were dealt with, `arguments` (from EBX on) ask for the
    rest."""

    def __init__(self, done: int, *arguments: int) -> None:
        super().__init__(f"preempted after {done}")
        self.done = done
        self.arguments = tuple(argument & 0xFFFF_FFFF for argument in arguments)


class PreemptionBudget:
    """How much work one vcpu's present entry into the hypervisor may do before it is preempted.

    `entry` numbers the entries: a new number is a new budget, and an entry that never asks pays nothing.
    `due` says that something waits for the return to the guest (an upcall, another vcpu), so that a list
    should not go on even within its budget. `walked` counts the tables whose entries were all looked at,
    whatever asked for that: they are charged without anybody's `spend`.
    """

    def __init__(
        self, entry: Callable[[], int], due: Callable[[], bool], walked: Callable[[], int] = int
    ) -> None:
        self._entry = entry
        self._due = due
        self._walked = walked
        self._walked_before = 0
        self._seen = -1
        self._spent = 0
        self.begun = array("q", (0, 0, 0))
        """What native code has done of the list of this entry before it left the rest: `ITEMS`, `UNITS`.
        Cells that it writes; 0 items where Python does it all. `SETTLED`: the last item did not flush the
        TLB, so that where the list is was remembered."""

    @property
    def spent(self) -> int:
        """Units this entry has done."""
        self._look()
        return self._spent + (self._walked() - self._walked_before) * TABLE_WORK

    def take_up(self) -> bool:
        """Go on with a list that native code has `begun`: that is charged. Whether it is `SETTLED`."""
        _, units, settled = self.begun
        self.begun[ITEMS] = 0
        self.spend(units)
        return bool(settled)

    def spend(self, units: int) -> None:
        """Units were done."""
        self._look()
        self._spent += units

    def left(self) -> int:
        """Units the entry may still do. To be asked after an item, never before the first of a hypercall: one
        item at least is done each time, or the guest would never get anywhere."""
        return 0 if self._due() else max(0, WORK_BUDGET - self.spent)

    def goes_on(self, units: int) -> bool:
        """`spend` for an item, and whether the entry may do another one: in one call, for lists of items that
        take hardly longer than to ask."""
        entry = self._entry()
        if entry != self._seen:
            self._begin(entry)
        self._spent = spent = self._spent + units
        if spent + (self._walked() - self._walked_before) * TABLE_WORK >= WORK_BUDGET:
            return False
        return not self._due()

    def _look(self) -> None:
        entry = self._entry()
        if entry != self._seen:
            self._begin(entry)

    def _begin(self, entry: int) -> None:
        self._seen, self._spent, self._walked_before = entry, 0, self._walked()
