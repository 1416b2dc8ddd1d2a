"""The journal of a run that may be gone back in: what came since it began is repeated until that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.classes import dataclass
from paravane.recording.recorder import Recorder
from paravane.recording.replayer import Replayer

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.recording.replayer import Fed


@dataclass(frozen=True, slots=True)
class Place:
    """How far a journal has come: its turn, how many inputs came before it, whether anything could come."""

    turn: int
    inputs: int
    expecting: bool


class Revisable(Protocol):
    """A journal that can be taken back; it is an `inbox.Journal` besides."""

    turn: int
    held_at_end: bool
    """Where what it repeats is over, the run is not: somebody looks at it."""

    @property
    def at_end(self) -> bool:
        """Whether what it repeats is over."""
        ...

    def begin(self, fed: Fed, now: Callable[[], int]) -> None:
        """Feed this console from now on; `now` gives the machine's system time."""
        ...

    def place(self) -> Place:
        """Where it is."""
        ...

    def go_back(self, place: Place) -> None:
        """The machine is there again, and goes on from there."""
        ...

    def cut(self) -> None:
        """From here on it is another run: what came later has not come yet."""
        ...


class RevisableRecorder(Recorder):
    """Keeps what comes, and has it come again up to the farthest turn that the run has reached. What is fed
    meanwhile waits until then."""

    def __init__(self) -> None:
        super().__init__()
        self.held_at_end = False
        self.at_end = False
        self._known = 0
        self._next = 0
        self._waits_for_room: Callable[[], None] | None = None

    def begin(self, fed: Fed, now: Callable[[], int]) -> None:
        """Stand in front of this console; who waits for room in the last one waits for it in this."""
        super().begin(fed, now)
        if self._waits_for_room is not None:
            fed.when_room(self._room_made)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, as soon as the guest has taken input."""
        self._waits_for_room = callback
        super().when_room(self._room_made)

    def _room_made(self) -> None:
        waiting, self._waits_for_room = self._waits_for_room, None
        if waiting is not None:
            waiting()

    def place(self) -> Place:
        """Where it is."""
        inputs = self._next if self.repeats else len(self.inputs)
        return Place(self.turn, inputs, self._expecting)

    def go_back(self, place: Place) -> None:
        """Repeat what came from there on."""
        self._known = max(self._known, self.turn)
        self.turn, self._next, self._expecting = place.turn, place.inputs, place.expecting

    def cut(self) -> None:
        """What was typed later is for the guest as soon as it takes it."""
        if self.repeats:
            later = b"".join(one.data for one in self.inputs[self._next :] if not one.source)
            self._pending[:0] = later
            del self.inputs[self._next :]
            self._known = self.turn

    def patience(self, wait: float | None) -> float | None:
        """Nobody has to be waited for in what was."""
        return 0.0 if self.repeats else super().patience(wait)

    def passed(self, came: bool) -> bool:
        """A look outside is over."""
        if not self.repeats:
            return super().passed(came)
        came = False
        while self._due():
            one = self.inputs[self._next]
            self._next += 1
            came |= one.came
            if one.expecting is not None:
                self._expecting = one.expecting
            if one.source:
                self._arrived.append((one.source, None if one.ended else one.data))
            elif one.data and self._fed is not None:
                self._fed.feed(one.data)
        self.turn += 1
        return came

    def expecting(self, found: bool) -> bool:
        """Whether something can still come, as it was then."""
        if not self.repeats:
            return super().expecting(found)
        while self._due() and (expecting := self.inputs[self._next].expecting) is not None:
            self._next += 1
            self._expecting = expecting
        return self._expecting

    @property
    def repeats(self) -> bool:
        """The farthest turn has not been reached again."""
        return self.turn < self._known

    def _due(self) -> bool:
        return self._next < len(self.inputs) and self.inputs[self._next].turn <= self.turn


class RevisableReplayer(Replayer):
    """Repeats a recorded run, from wherever it is taken back to."""

    held_at_end = False

    @property
    def at_end(self) -> bool:
        """Where the recorded run was cut short, or is left."""
        return super().over

    @property
    def over(self) -> bool:
        """Whether the run is."""
        return self.at_end and not self.held_at_end

    def place(self) -> Place:
        """Where it is."""
        return Place(self.turn, self._next, self._expecting)

    def go_back(self, place: Place) -> None:
        """Repeat what came from there on."""
        self.turn, self._next, self._expecting = place.turn, place.inputs, place.expecting
        self.strayed = ""

    def cut(self) -> None:
        """All that was recorded comes where it came: as long as that fits."""
