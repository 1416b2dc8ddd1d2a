"""The history of a machine under a debugger: forward as ever, and back to any instruction of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.classes import NamedTuple, dataclass
from paravane.history.checkpoints import Checkpoints
from paravane.history.position import Position
from paravane.history.timeline import Timeline
from paravane.snapshot import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from paravane.devices.console import Sink
    from paravane.domain import Domain
    from paravane.history.checkpoints import Checkpoint
    from paravane.machine import Machine
    from paravane.personality import GuestVcpu
    from paravane.recording import Revisable

INTERVAL: Final = 10_000_000
"""Work between two checkpoints, in instructions: some tenths of a second of the host's."""


class Hit(NamedTuple):
    """Something that a debugger has set was met: where it is to be shown, of which vcpu, and why in the
    protocol's words."""

    position: Position
    vcpu_id: int
    reason: str = ""


class Watcher(Protocol):
    """The debugger, as the history of its domain sees it."""

    @property
    def crash_put_off(self) -> bool:
        """Whether its domain would have crashed, and has not yet for the debugger."""
        ...

    def moved(self, domain: Domain) -> None:
        """The machine has gone back: its domain is this one now."""
        ...

    def arrived(self, hit: Hit | None) -> None:
        """It is where it was to go back to: at this, or at the beginning."""
        ...

    def repeated(self) -> None:
        """The run that is repeated has come to its end."""
        ...


@dataclass(frozen=True, slots=True)
class _Leg:
    """A part of the way back: from a checkpoint forward to `goal`; `looks` for what is met meanwhile."""

    start: Checkpoint
    goal: Position
    looks: bool = False


class History:
    """One domain's machine, which keeps `journal` already; what is fed to that is for this domain.

    It begins where a debugger attaches and ends where that goes. While the machine goes back, and until it is
    again where it was, nothing that happens is told to anybody: no output, no records, no lines of the log.
    """

    def __init__(self, machine: Machine, domain: Domain, journal: Revisable) -> None:
        self.why_not = ""
        """Why nobody can go back in this run: a sentence, or nothing."""
        self.looks = False
        """Whether the machine is on its way back and looks for what a debugger has set: see `note`."""
        self.domain = domain
        self.timeline = Timeline(machine, journal, domain.vcpus[0])
        self.timeline.reached, self.timeline.rested = self._reached, self._rested
        self.timeline.slice_over = self._slice_over
        self._machine = machine
        self._journal = journal
        self._watcher: Watcher | None = None
        self._checkpoints = Checkpoints()
        self._sinks: dict[str, Sink] = {}
        self._mark = 0
        self._way: Generator[_Leg, None, Hit | None] | None = None
        self._hits: list[Hit] = []
        self._met: list[Hit] = []
        self._slices: dict[int, Position] = {}  # the end of each vcpu's last slice in which it executed
        self._boundary = Position(0, 0)
        machine.slices = self

    # A debugger comes and goes, between two slices.

    def attach(self, watcher: Watcher) -> None:
        """The history begins here."""
        self._watcher = watcher
        self.timeline.attended = True
        self._journal.held_at_end = True

    def detach(self) -> None:
        """Nobody will go back any more."""
        self._watcher = self._way = self.timeline.goal = None
        self.looks = self.timeline.attended = self._journal.held_at_end = False
        self.timeline.traveling = False
        self.timeline.cancel_step()
        self._checkpoints.clear()

    @property
    def traveling(self) -> bool:
        """The machine is on its way back: what happens is of no interest but for `note`."""
        return self._way is not None

    @property
    def size(self) -> tuple[int, int]:
        """How many checkpoints there are, and their bytes."""
        return len(self._checkpoints), self._checkpoints.size

    # What a debugger asks for while the machine is held.

    def change(self, make: Callable[[Domain], object]) -> None:
        """The debugger has written something, as `make` does to the domain: see `Timeline.change`."""
        self._checkpoints.cut(self.timeline.here)
        self.timeline.change(lambda: make(self.domain))
        self._begin_anew_if_full()

    def step_back(self, vcpu_id: int) -> None:
        """Go back to before the last instruction of this vcpu."""
        self._set_out(self._to_last_instruction(self.timeline.leave(), vcpu_id))

    def run_back(self) -> None:
        """Go back to the last place at which something was met that the debugger has set."""
        self._set_out(self._to_last_hit(self.timeline.leave()))

    def give_up(self) -> None:
        """Go back no farther: return to where the way began."""
        if self._way is not None:
            self._set_out(self._to(self._start, self._start_vcpu))

    def note(self, vcpu: GuestVcpu, reason: str, *, access: bool) -> bool:
        """Something was met: a breakpoint, whose instruction is the next, or an access. Whether the run is to
        pause: where an access is told, its instruction is not always over."""
        if not self.looks:
            return False
        if access:
            self._met.append(Hit(Position(0, 0), vcpu.vcpu_id, reason))
            return True
        self._hits.append(Hit(self.timeline.before(vcpu), vcpu.vcpu_id, reason))
        return False

    # What the machine's loop asks.

    def between(self) -> None:
        """No guest executes, and nothing is half done."""
        watcher = self._watcher
        self._begin_anew_if_full()
        if watcher is not None and not watcher.crash_put_off:
            self._keep()
        self.timeline.pass_by()
        self._boundary = self.timeline.here
        if watcher is not None and self._way is None and self._journal.at_end:
            watcher.repeated()

    def run(self, vcpu: GuestVcpu, instructions: int) -> None:
        """A whole slice."""
        self.timeline.run(vcpu, instructions)

    # Checkpoints.

    def _keep(self) -> None:
        """Make a checkpoint if it is time. That happens at the same places each time: to save a machine has
        it forget what it has translated, which guests may be able to tell."""
        work = self.timeline.work
        if len(self._checkpoints) and work - self._mark < INTERVAL:
            return
        try:
            saved = self._machine.checkpoint()
        except SnapshotError as error:  # it may be possible after the next slice
            self.why_not = "" if len(self._checkpoints) else f"nobody can go back: {error}"
            return
        self.why_not, self._mark = "", work
        for name, sink in self._machine.sinks().items():
            self._sinks.setdefault(name, self._quiet(sink))
        line = self.timeline
        self._checkpoints.keep(saved, line.here, self._journal.place(), line.instructions, work)

    def _begin_anew_if_full(self) -> None:
        """The history begins at the next checkpoint where there would be too much to remember."""
        if self.timeline.full:
            self.timeline.forget()
            self._checkpoints.clear()

    def _quiet(self, sink: Sink) -> Sink:
        """Takes what was put out before."""

        def put(data: bytes) -> int | None:
            return len(data) if self.timeline.frontier is not None else sink(data)

        return put

    # The way back.

    def _set_out(self, way: Generator[_Leg, None, Hit | None]) -> None:
        if self._way is None:
            self._start, self._start_vcpu = self.timeline.here, self.timeline.vcpu.vcpu_id
        self._way, self.timeline.traveling = way, True
        self._next_leg()

    def _next_leg(self) -> None:
        """Go on with the way, or be at its end."""
        assert self._way is not None
        try:
            leg = next(self._way)
        except StopIteration as end:
            self._way, self.looks = None, False
            self.timeline.traveling = False
            if self._watcher is not None:
                self._watcher.arrived(end.value)
            return
        self.looks = leg.looks
        self._hits.clear()
        self._slices.clear()
        start = leg.start
        self.domain.debugger = None  # it does not end, and is another one next
        self._machine.rewind(start.machine(), self._sinks, lambda: self._begin(start, leg.goal))

    def _begin(self, start: Checkpoint, goal: Position) -> None:
        """The machine is at a checkpoint."""
        domain = self.domain = self._machine.domains[self.domain.domid]
        self._journal.go_back(start.place)
        self._journal.begin(domain.console, self._machine.platform.clock.now)
        self.timeline.resume(domain.vcpus[0], start.position, start.instructions)
        self._mark, self._boundary = start.work, start.position
        self.timeline.goal = goal if self.traveling else None  # the debugger may have gone meanwhile
        self._machine.trace.muted = self.timeline.frontier is not None
        if self._watcher is not None:
            self._watcher.moved(domain)

    def _reached(self) -> None:
        self._next_leg()

    def _rested(self, vcpu: GuestVcpu) -> None:
        """A run has paused, or a slice is over: what was met is known to be over as well. It is shown before
        the instruction that did it; what the hypervisor did as the slice began, before the slice."""
        if not self._met:
            return
        here = self.timeline.here
        shown = Position(here.turn, here.instructions - 1) if here.instructions else self._boundary
        self._hits += [Hit(shown, met.vcpu_id, met.reason) for met in self._met]
        self._met.clear()
        for other in self.domain.vcpus:  # those that share the page are not to tell it again
            other.cpu.debuggers.remember()

    def _slice_over(self, vcpu: GuestVcpu) -> None:
        if self._way is not None and vcpu.domid == self.domain.domid and vcpu.cpu.progress.begun:
            self._slices[vcpu.vcpu_id] = self.timeline.here

    def _to(self, position: Position, vcpu_id: int, reason: str = "") -> Generator[_Leg, None, Hit]:
        """To a place that was found. Between a load of SS and the instruction after it nobody stops."""
        while True:
            yield _Leg(self._checkpoints.last(position), position)
            if not (self.domain.vcpus[vcpu_id].cpu.shadowed and position.instructions):
                return Hit(position, vcpu_id, reason)
            position = Position(position.turn, position.instructions - 1)

    def _to_beginning(self) -> Generator[_Leg, None, None]:
        first = self._checkpoints.first
        yield _Leg(first, first.position)

    def _to_last_instruction(self, start: Position, vcpu_id: int) -> Generator[_Leg, None, Hit | None]:
        running, here = self.timeline.in_slice_of, start
        if running is not None and start.instructions and running is self.domain.vcpus[vcpu_id]:
            return (yield from self._to(Position(start.turn, start.instructions - 1), vcpu_id))
        for checkpoint in self._checkpoints.before(start):
            yield _Leg(checkpoint, here)
            found = self._slices.get(vcpu_id)
            if found is not None:
                return (yield from self._to(Position(found.turn, found.instructions - 1), vcpu_id))
            here = checkpoint.position
        yield from self._to_beginning()
        return None

    def _to_last_hit(self, start: Position) -> Generator[_Leg, None, Hit | None]:
        here = start
        for checkpoint in self._checkpoints.before(start):
            yield _Leg(checkpoint, here, looks=True)
            found = [hit for hit in self._hits if hit.position < start]
            if found:
                return (yield from self._to(*max(found, key=lambda hit: hit.position)))
            here = checkpoint.position
        yield from self._to_beginning()
        return None
