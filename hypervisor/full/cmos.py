"""The CMOS memory of a PC with its real-time clock (Motorola MC146818 data sheet): time, and how much memory
there is.

It counts as the machine's clock does; what the guest writes is kept, but sets no time;
hours are counted from 0 to 23.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from paravane.full.bios_data import LOW_KIB

if TYPE_CHECKING:
    from paravane.time.clock import Clock

PORTS: Final = (0x70, 0x71)

_SIZE: Final = 128
_STATUS_A, _STATUS_B, _STATUS_C, _STATUS_D, _CENTURY = 0x0A, 0x0B, 0x0C, 0x0D, 0x32
_DIVIDER, _HOURS_24, _BINARY, _VALID = 0x26, 0x02, 0x04, 0x80
_SECOND: Final = 1_000_000_000
_KIB: Final = 1024


class Cmos:
    """An index port, 0x70, and a data port, 0x71."""

    def __init__(self, clock: Clock, memory: int) -> None:
        """`memory` is the machine's, in bytes."""
        self._clock = clock
        self._index = 0
        self._bytes = bytearray(_SIZE)
        self._bytes[_STATUS_A], self._bytes[_STATUS_B] = _DIVIDER, _HOURS_24
        extended = min(max(0, memory // _KIB - _KIB), 0xFFFF)
        beyond = min(max(0, memory - (16 << 20)) >> 16, 0xFFFF)
        for at, value in ((0x15, LOW_KIB), (0x17, extended), (0x30, extended), (0x34, beyond)):
            self._bytes[at : at + 2] = value.to_bytes(2, "little")

    def read(self, port: int) -> int:
        if port & 1 == 0:
            return 0xFF
        index = self._index
        if index == _STATUS_D:
            return _VALID
        if index == _STATUS_C:
            return 0
        time = self._time().get(index)
        if time is None:
            return self._bytes[index]
        return time if self._bytes[_STATUS_B] & _BINARY else time // 10 << 4 | time % 10

    def write(self, port: int, value: int) -> None:
        if port & 1:
            self._bytes[self._index] = value | _HOURS_24 if self._index == _STATUS_B else value
        else:
            self._index = value % _SIZE

    def _time(self) -> dict[int, int]:
        """The registers that tell the time, in binary."""
        seconds = (self._clock.wall_base() + self._clock.now()) // _SECOND
        now = datetime.fromtimestamp(seconds, UTC)
        weekday = now.isoweekday() % 7 + 1
        return {
            0x00: now.second,
            0x02: now.minute,
            0x04: now.hour,
            0x06: weekday,
            0x07: now.day,
            0x08: now.month,
            0x09: now.year % 100,
            _CENTURY: now.year // 100,
        }
