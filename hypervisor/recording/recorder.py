"""The journal of a run that is recorded."""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from paravane.recording.inputs import Input
from paravane.recording.readings import MOST_READINGS, Following

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.recording.replayer import Fed
    from paravane.time.clock import FollowingClock

MOST_INPUT: Final = 32 << 20
"""Bytes of input that are kept. A guest is given no more."""

MOST_INPUTS: Final = 1 << 18
"""How many times something may come; then, too, the guest is given no more."""

log = logging.getLogger(__name__)


class Recorder:
    """Keeps what comes to a machine with one domain, whose console it stands in front of: what is fed here
    reaches the guest when the machine has looked outside and goes on, so that a replay can do it there."""

    def __init__(self) -> None:
        self.turn = 0
        self.inputs: list[Input] = []
        self.console = sha256()
        """Of all that came out of the console."""
        self.console_size = 0
        self._taken = 0
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
        if self._readings is not None and self._readings.full:
            return f"{MOST_READINGS >> 20} MiB of readings of the clock are kept, and no more"
        return ""

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
            log.warning("%d bytes of input are kept: the guest is given no more", MOST_INPUT)
        return len(accepted)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, as soon as the guest has taken input."""
        if self._fed is not None:
            self._fed.when_room(callback)

    def put_out(self, data: bytes) -> None:
        """The console put this out."""
        self.console.update(data)
        self.console_size += len(data)

    # What the machine asks.

    def patience(self, wait: float | None) -> float | None:
        """As long as the machine would wait."""
        return wait

    def passed(self, came: bool) -> bool:
        """A look outside is over."""
        if self._readings is not None:
            self._readings.take()
        data = bytes(self._pending)
        if came or data:
            self.inputs.append(Input(self.turn, self._now(), data, came))
        if data and self._fed is not None:
            self._pending.clear()
            self._fed.feed(data)
        self.turn += 1
        return came

    def expecting(self, found: bool) -> bool:
        """Whether something can still come, as it was `found`."""
        if found != self._expecting:
            self._expecting = found
            self.inputs.append(Input(self.turn, self._now(), expecting=found))
        return found
