"""The journal of a run that repeats a recorded one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.recording.outputs import Outputs
from paravane.recording.readings import Repeating

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.recording.inputs import Input
    from paravane.recording.manifest import End
    from paravane.time.clock import FollowingClock


class Fed(Protocol):
    """What input is fed to: see `paravane.devices.console.Console`."""

    @property
    def room(self) -> int: ...
    def feed(self, data: bytes) -> int: ...
    def when_room(self, callback: Callable[[], None]) -> None: ...


class Replayer(Outputs):
    """Has the same things come at the same turns, and nothing else. `over` says that the run has come to
    where the recorded one was cut short, or that it is another one by now: `strayed` then says why, a
    sentence."""

    repeats = True

    def __init__(self, inputs: Sequence[Input], end: End) -> None:
        super().__init__()
        self.turn = 0
        self.strayed = ""
        self._arrivals: list[tuple[str, bytes | None]] = []
        self._inputs = inputs
        self._next = 0
        self._end = end
        self._expecting = True
        self._fed: Fed | None = None
        self._now: Callable[[], int] = lambda: 0
        self._readings: Repeating | None = None

    def follow(self, clock: FollowingClock, readings: bytes) -> None:
        """Have the machine's clock follow the recorded run's `readings` of the host's."""
        self._readings = Repeating(clock, readings)

    def begin(self, fed: Fed, now: Callable[[], int]) -> None:
        """Feed this console; `now` gives the machine's system time."""
        self._fed, self._now = fed, now

    @property
    def over(self) -> bool:
        """Where a run ended by itself it does so again, without being told."""
        return bool(self.strayed) or self.turn >= self._end.turn + (not self._end.cut_short)

    def patience(self, wait: float | None) -> float | None:
        """Nobody has to be waited for."""
        return 0.0

    def passed(self, came: bool) -> bool:
        """A look outside is over: whether something came in the recorded run."""
        came = False
        if self._readings is not None:
            self._readings.take()
            if self._readings.missing:
                self.stray(f"the host's clock was not read any more at turn {self.turn}")
        while (one := self._due()) is not None:
            came |= one.came
            self._take(one)
        self.turn += 1
        return came

    def expecting(self, found: bool) -> bool:
        """Whether something could still come in the recorded run."""
        while (one := self._due()) is not None and one.expecting is not None:
            self._take(one)
        return self._expecting

    def arrived(self, source: str, data: bytes | None) -> None:
        """What comes now was not there in the recorded run."""

    def arrivals(self) -> Sequence[tuple[str, bytes | None]]:
        """What had arrived until this turn."""
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def refused(self, why: str) -> None:
        """What arrived is not for this machine."""
        self.stray(why)

    def difference(self) -> str:
        """What is otherwise than in the recorded run now that this one has ended: a sentence, or nothing."""
        if self.strayed:
            return self.strayed
        if (self.turn, self._now()) != (self._end.turn, self._end.time):
            return (
                f"it ended at turn {self.turn} and {self._now()} ns, the recorded run at turn "
                f"{self._end.turn} and {self._end.time} ns"
            )
        if (self.console_size, self.console.hexdigest()) != (self._end.console_size, self._end.console):
            return "its console is not that of the recorded run"
        if (self.sent_count, self.sent.hexdigest()) != (self._end.sent_count, self._end.sent):
            return "what it sent out of the machine is not what the recorded run sent"
        return ""

    def _due(self) -> Input | None:
        """The next input, if it came by this turn."""
        if self._next < len(self._inputs) and self._inputs[self._next].turn <= self.turn:
            return self._inputs[self._next]
        return None

    def _take(self, one: Input) -> None:
        self._next += 1
        if one.expecting is not None:
            self._expecting = one.expecting
        if (one.turn, one.time) != (self.turn, self._now()):
            self.stray(f"turn {self.turn} is at {self._now()} ns, turn {one.turn} was at {one.time} ns")
        elif one.source:
            self._arrivals.append((one.source, None if one.ended else one.data))
        elif one.data and (self._fed is None or self._fed.feed(one.data) < len(one.data)):
            self.stray(f"at turn {self.turn} its console does not take the {len(one.data)} bytes that came")

    def stray(self, why: str) -> None:
        """This is not the recorded run any more."""
        self.strayed = self.strayed or why
