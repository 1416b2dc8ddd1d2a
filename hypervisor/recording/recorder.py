"""The journal of a run that is recorded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from paravane.recording.inputs import Input
from paravane.recording.outputs import Outputs
from paravane.recording.readings import MOST_READINGS, Following

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.recording.replayer import Fed
    from paravane.time.clock import FollowingClock

MOST_INPUT: Final = 32 << 20
"""Bytes of what comes that are kept. Guests are given no more."""

MOST_WAITING: Final = 1 << 20
"""Bytes that may have come from elsewhere than the console in one turn: as much as a host's queues hold."""

MOST_INPUTS: Final = 1 << 18
"""How many times something may come; then, too, the guest is given no more."""

log = logging.getLogger(__name__)


class Recorder(Outputs):
    """Keeps what comes to a machine with one domain, whose console it stands in front of: what is fed here
    reaches the guest when the machine has looked outside and goes on, so that a replay can do it there."""

    @property
    def repeats(self) -> bool:
        """Nothing is repeated."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        self.inputs: list[Input] = []
        self._arrived: list[tuple[str, bytes | None]] = []
        self._waiting = 0  # bytes of those
        self._taken = 0
        self._told = False
        self._given_up = ""
        self._pending = bytearray()
        self._expecting = True
        self._fed: Fed | None = None
        self._now: Callable[[], int] = lambda: 0
        self._readings: Following | None = None

    def follow(self, clock: FollowingClock) -> None:
        """Have the machine's clock follow the host's, from now on."""
        self._readings = Following(clock)

    @property
    def readings(self) -> bytes:
        """What there is to keep of the host's clock."""
        return b"" if self._readings is None else bytes(self._readings.kept)

    @property
    def full(self) -> str:
        """Why the run cannot be recorded any further; empty: it can."""
        if self._given_up:
            return self._given_up
        if self._readings is not None and self._readings.full:
            return f"{MOST_READINGS >> 20} MiB of readings of the clock are kept, and no more"
        return ""

    def give_up(self, why: str) -> None:
        """Have the run end as soon as it can, for this reason: a sentence."""
        self._given_up = self._given_up or why

    @property
    def over(self) -> bool:
        """Whether the run is to end here."""
        return bool(self.full)

    def begin(self, fed: Fed, now: Callable[[], int]) -> None:
        """Stand in front of this console; `now` gives the machine's system time."""
        self._fed, self._now = fed, now

    # What a console is, for whoever types.

    @property
    def room(self) -> int:
        """How many bytes `feed` would accept now."""
        if self._fed is None or self._taken >= MOST_INPUT or len(self.inputs) >= MOST_INPUTS:
            return 0
        return min(self._fed.room - len(self._pending), MOST_INPUT - self._taken)

    def feed(self, data: bytes) -> int:
        """Input for the guest. Returns how many bytes were accepted."""
        accepted = data[: max(0, self.room)]
        self._pending += accepted
        self._taken += len(accepted)
        if accepted and self._taken >= MOST_INPUT:
            self._tell_full()
        return len(accepted)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, as soon as the guest has taken input."""
        if self._fed is not None:
            self._fed.when_room(callback)

    # What the machine asks.

    def patience(self, wait: float | None) -> float | None:
        """As long as the machine would wait."""
        return wait

    def passed(self, came: bool) -> bool:
        """A look outside is over."""
        if self._readings is not None:
            self._readings.take()
        # What was accepted may be more than there is room for now: after a way back, by a console of before.
        data = b"" if self._fed is None else bytes(self._pending[: self._fed.room])
        if came or data:
            self.inputs.append(Input(self.turn, self._now(), data, came))
        if data and self._fed is not None:
            del self._pending[: len(data)]
            self._fed.feed(data)
        for source, arrived in self._arrived:
            ended = arrived is None
            self.inputs.append(Input(self.turn, self._now(), arrived or b"", source=source, ended=ended))
        self.turn += 1
        return came

    def arrived(self, source: str, data: bytes | None) -> None:
        """This came from a source, and is kept; but nothing that comes faster than guests can take it, nor
        more than is kept, is given to them."""
        size = 0 if data is None else len(data)
        if data is not None:
            if self._taken + size > MOST_INPUT or len(self.inputs) + len(self._arrived) >= MOST_INPUTS:
                self._tell_full()
                return
            if self._waiting + size > MOST_WAITING:
                return
        self._taken += size
        self._waiting += size
        self._arrived.append((source, data))

    def arrivals(self) -> Sequence[tuple[str, bytes | None]]:
        """What has arrived until this turn."""
        arrived, self._arrived, self._waiting = self._arrived, [], 0
        return arrived

    def refused(self, why: str) -> None:
        """What arrives is what was made for who takes it."""
        raise RuntimeError(why)

    def _tell_full(self) -> None:
        if not self._told:
            log.warning("%d MiB of what comes are kept: guests are given no more", MOST_INPUT >> 20)
        self._told = True

    def expecting(self, found: bool) -> bool:
        """Whether something can still come, as it was `found`."""
        if found != self._expecting:
            self._expecting = found
            self.inputs.append(Input(self.turn, self._now(), expecting=found))
        return found
