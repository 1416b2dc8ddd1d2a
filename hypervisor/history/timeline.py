"""The run of a machine as a line of positions: slices that rest wherever there is something to do in the
middle of them, and that come again as they were."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple, dataclass
from paravane.cpu import RunEnd
from paravane.history.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.machine import Machine
    from paravane.personality import GuestVcpu
    from paravane.recording import Revisable

TRAP_WORK: Final = 500
"""Instructions that the host executes in the time of a trap."""

MOST_CHANGES: Final = 1 << 14
"""Changes of a debugger's that are remembered: each has 8 KiB at most."""

MOST_CHARGED: Final = 1 << 18
"""Slices of which it is remembered what they were charged for."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A step forward of one vcpu, out of these linear addresses; `done` is called when it is over."""

    within: range
    done: Callable[[], None]
    start: int
    """What its slice had begun then."""


class _Change(NamedTuple):
    """What a debugger has written, and where."""

    position: Position
    make: Callable[[], object]


class Timeline:
    """Runs the slices of a machine that keeps `journal`.

    What happens before the `frontier` (None: there is none) has happened before, and is muted: nothing of it
    is told to anybody. What a debugger has changed happens again where it did. `goal` is a position to come
    to; `reached` is called there, with no guest executing, and `rested` wherever else a run pauses.

    How many instructions a slice has is a matter of its budget, and that is charged also for code which has
    to be translated again: where a run is repeated with other breakpoints, that is elsewhere. So it is
    remembered what slices were charged besides their instructions, and they end where they ended.
    """

    def __init__(self, machine: Machine, journal: Revisable, vcpu: GuestVcpu) -> None:
        """`vcpu` is any one."""
        self.attended = False
        """A debugger is there: slices may rest."""
        self.frontier: Position | None = None
        self.goal: Position | None = None
        self.traveling = False
        """On the way back the machine may come by the frontier, and nothing is new for that."""
        self.reached: Callable[[], None] = _nothing
        self.rested: Callable[[GuestVcpu], None] = _nothing
        self.slice_over: Callable[[GuestVcpu], None] = _nothing
        self.instructions = 0
        """Begun in all slices that are over."""
        self._machine = machine
        self._journal = journal
        self._turn, self.vcpu = -1, vcpu  # of the last slice
        self._in_slice = False
        self._steps: dict[GuestVcpu, _Step] = {}
        self._changes: list[_Change] = []
        self._changed = 0  # so many of them are made
        self._charged: dict[int, tuple[int, int]] = {}

    @property
    def here(self) -> Position:
        """Where the machine is; no guest executes."""
        turn = self._journal.turn
        return Position(turn, self.vcpu.cpu.progress.begun if turn == self._turn else 0)

    def before(self, vcpu: GuestVcpu) -> Position:
        """In a hook of the instruction of this vcpu which is the next."""
        return Position(self._turn, vcpu.cpu.progress.before)

    @property
    def work(self) -> int:
        """How much the host has done for the guests, in instructions."""
        return self.instructions + TRAP_WORK * self._machine.platform.traps

    @property
    def in_slice_of(self) -> GuestVcpu | None:
        """The vcpu whose slice rests, if one does."""
        return self.vcpu if self._in_slice else None

    def step(self, vcpu: GuestVcpu, within: range, done: Callable[[], None]) -> None:
        """Have a vcpu take one instruction, or as many as begin in `within`, while others go on as ever. Of
        several that step the first one ends the steps of all."""
        start = self.here.instructions if vcpu is self.in_slice_of else 0
        self._steps[vcpu] = _Step(within, done, start)

    def steps_at(self, vcpu: GuestVcpu) -> bool:
        """In a hook of the instruction of this vcpu which is the next: whether it is the first of a step."""
        step = self._steps.get(vcpu)
        return step is not None and step.start == vcpu.cpu.progress.before

    def cancel_step(self) -> None:
        """Take back what is left of it."""
        self._steps.clear()

    def leave(self) -> Position:
        """The machine is about to go back from here."""
        here = self.here
        self._steps.clear()
        if self.frontier is None:
            if self._in_slice:
                self._remember_charges(self.vcpu, 0)
            self.frontier = here
            self._machine.trace.muted = True
        return here

    def resume(self, vcpu: GuestVcpu, position: Position, instructions: int) -> None:
        """The machine is where it was at `position`, between two slices; `vcpu` is any one of its now."""
        self._turn, self.vcpu, self.instructions = -1, vcpu, instructions
        self._in_slice = False
        self._changed = sum(change.position < position for change in self._changes)

    def change(self, make: Callable[[], object]) -> None:
        """The debugger has done `make` here. What came later is nothing any more: from here on it is another
        run, and this belongs to it."""
        here = self.here
        if self.frontier is not None:
            self._journal.cut()
            self._charged = {turn: known for turn, known in self._charged.items() if turn < here.turn}
            self.catch_up()
        del self._changes[self._changed :]
        self._changes.append(_Change(here, make))
        self._changed += 1

    @property
    def full(self) -> bool:
        """More is remembered than may be, and nobody is anywhere where that is needed."""
        remembered = len(self._changes) > MOST_CHANGES or len(self._charged) > MOST_CHARGED
        return remembered and self.frontier is None

    def forget(self) -> None:
        """Nobody goes back from here."""
        self._changes.clear()
        self._changed = 0
        self._charged.clear()

    def catch_up(self) -> None:
        """What comes from here on is new."""
        self.frontier = None
        self._machine.trace.muted = False
        if self._in_slice:
            progress = self.vcpu.cpu.progress
            progress.charges = True
            progress.executed = self._charged.get(self._turn, (0, progress.begun))[1]

    # What the machine's loop asks.

    def pass_by(self) -> None:
        """Do what there is to do here; no guest executes."""
        here = self.here
        while self._changed < len(self._changes) and self._changes[self._changed].position <= here:
            self._changed += 1
            self._changes[self._changed - 1].make()
        if self.goal is not None and here >= self.goal:
            self.goal = None
            self.reached()
        if self.frontier is not None and here >= self.frontier and not self.traveling:
            self.catch_up()

    def run(self, vcpu: GuestVcpu, instructions: int) -> None:
        """A whole slice."""
        progress = vcpu.cpu.progress
        self._turn, self.vcpu = self._journal.turn, vcpu
        progress.begin(instructions)
        progress.pauses = self.attended or self.frontier is not None
        progress.charges = self.frontier is None
        progress.pause_at = self._next_rest(vcpu)
        begun = 0
        end = vcpu.run(instructions)
        while end is RunEnd.PAUSED:
            self._in_slice = True
            self.rested(vcpu)
            self._end_step(vcpu, begun)
            self.pass_by()
            if not self._machine.rest():
                return
            self._in_slice = False
            if progress.begun >= self._known_end():
                break
            begun = progress.begun
            progress.pause_at = self._next_rest(vcpu)
            end = vcpu.go_on()
        self.rested(vcpu)
        self._end_step(vcpu, begun)
        self._close_slice(vcpu)

    def _known_end(self) -> float:
        """How many instructions were begun in this slice, where it is repeated and was charged for more."""
        repeats = self.frontier is not None and self._turn < self.frontier.turn
        return self._charged[self._turn][0] if repeats and self._turn in self._charged else inf

    def _next_rest(self, vcpu: GuestVcpu) -> int | None:
        """After how many instructions of its slice there is something to do."""
        rests = [self._known_end()]
        places = [self.frontier, self.goal, *(one.position for one in self._changes[self._changed :][:1])]
        rests += [place.instructions for place in places if place is not None and place.turn == self._turn]
        if vcpu in self._steps:
            rests.append(vcpu.cpu.progress.begun + 1)
        first = min(rests)
        return None if first == inf else int(first)

    def _end_step(self, vcpu: GuestVcpu, begun: int) -> None:
        """Some instructions after `begun` were executed, or none: perhaps the step is over."""
        step, cpu = self._steps.get(vcpu), vcpu.cpu
        if step is None or cpu.progress.begun <= begun or cpu.shadowed:
            return
        if cpu.eip + cpu.segment_base("cs") & 0xFFFFFFFF not in step.within:
            self._steps.clear()
            step.done()

    def _close_slice(self, vcpu: GuestVcpu) -> None:
        progress = vcpu.cpu.progress
        if self.frontier is None:
            # The engine counts one more where the whole budget was used.
            self._remember_charges(vcpu, 1)
        elif self._known_end() <= progress.begun:
            progress.executed = self._charged[self._turn][1]
        self.instructions += progress.begun
        self.slice_over(vcpu)

    def _remember_charges(self, vcpu: GuestVcpu, besides: int) -> None:
        progress = vcpu.cpu.progress
        if progress.executed > progress.begun + besides:
            self._charged[self._turn] = progress.begun, progress.executed


def _nothing(_vcpu: object = None) -> None:
    """Nobody wants to know."""
