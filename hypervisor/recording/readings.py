"""The host's clock as a run has met it.

A recorded run that follows the host's clock sets its own by it whenever it has looked outside, and nowhere
else (`paravane.time.clock.FollowingClock`). What is kept of each such look is by how much time went forward,
in nanoseconds, as a number of the LEB128 kind (DWARF 5, section 7.6): seven bits a byte, the lowest first,
and the top bit set where more follow.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.time.clock import FollowingClock

MOST_READINGS: Final = 64 << 20
"""Bytes of readings that are kept: those of a run of about a day."""

AHEAD: Final = 2_000_000
"""Nanoseconds by which a run's time may be ahead of the host's before it is waited for. A guest whose
hypercalls are served faster than they are charged would else live in the future."""

LATEST: Final = 1 << 60
"""Nanoseconds: no machine runs for so long."""

_LONGEST: Final = 9
"""Bytes of one number: 63 bits."""


class Readings(Protocol):
    """What sets a run's clock after each of its looks outside."""

    def take(self) -> None: ...


class Following:
    """Sets a clock by the host's, and keeps what that came to."""

    def __init__(self, clock: FollowingClock, host: Callable[[], int] = time.monotonic_ns) -> None:
        """`host` gives nanoseconds; its first reading is the machine's time now."""
        self._clock = clock
        self._host = host
        self._start = host() - clock.now()
        self.kept = bytearray()

    @property
    def full(self) -> bool:
        """Whether no more are kept."""
        return len(self.kept) >= MOST_READINGS

    def take(self) -> None:
        behind = self._host() - self._start - self._clock.now()
        if behind < -AHEAD:
            time.sleep(-behind / 1e9)
            behind = 0
        behind = max(0, behind)
        self._clock.advance(behind)
        self.kept += encoded(behind)


class Repeating:
    """Sets a clock to what it was set to in the recorded run. `missing`: it was set no further."""

    def __init__(self, clock: FollowingClock, kept: bytes) -> None:
        self._clock = clock
        self._kept = kept
        self._at = 0
        self.missing = False

    def take(self) -> None:
        number = shift = 0
        for byte in self._kept[self._at : self._at + _LONGEST]:
            self._at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80 and number < LATEST - self._clock.now():
                self._clock.advance(number)
                return
        self.missing = True


def encoded(number: int) -> bytes:
    """One that is not negative."""
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
