"""Limits by credit: so many bytes in each interval, as in the `rate=` of xl-network-configuration(5)."""

from __future__ import annotations

import re
from typing import Final

from paravane.classes import dataclass
from paravane.devices.net.errors import NetError
from paravane.devices.net.state import LATEST, CreditState, check

BURST: Final = 131_072
"""Bytes of credit that may be saved up, however little an interval brings: a packet of 64 KiB has to fit."""

_RATE: Final = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)([GMK]?)([Bb])/s(?:@([0-9]+)([mu]?)s?)?")
_NODE: Final = re.compile(rb"([1-9][0-9]{0,9}),([1-9][0-9]{0,9})")
_SCALE: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_MICROSECONDS: Final = {"": 10**6, "m": 10**3, "u": 1}
_DEFAULT_INTERVAL: Final = 50_000
_MOST: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Rate:
    """`size` bytes in each interval of so many microseconds. The node `rate` of a backend says just this."""

    size: int
    interval: int

    def __str__(self) -> str:
        return f"{self.size},{self.interval}"


def parse_rate(text: str) -> Rate:
    """`10Mb/s`, `250KB/s@20ms`: bits (b) or bytes (B) a second, and how often there is new credit (50 ms).
    Raises NetError."""
    found = _RATE.fullmatch(text)
    if not found:
        raise NetError(f"{text!r} is no rate: one is like 10Mb/s, 250KB/s or 1MB/s@20ms")
    number, scale, unit, interval, fraction = found.groups()
    amount = _number(number)
    length = _DEFAULT_INTERVAL if interval is None else _number(interval) * _MICROSECONDS[fraction]
    if not 0 < amount <= _MOST or not 0 < length <= _MOST:
        raise NetError(f"{text!r} is a rate out of all measure")
    a_second = amount * _SCALE[scale] // (8 if unit == "b" else 1)
    size = a_second * length // 1_000_000
    if not size:
        raise NetError(f"{text!r} is less than a byte in each interval: nothing would ever pass")
    return Rate(size, length)


def read_rate(node: bytes | None) -> Rate | None:
    """A rate as the node of a backend says it. None, no limit, where there is no such node, and as with
    netback for one that says none."""
    found = None if node is None else _NODE.fullmatch(node)
    return None if found is None else Rate(int(found[1]), int(found[2]))


def _number(text: str) -> int:
    """As strtoull reads it with base 0."""
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if len(text) > 1 and text[0] == "0":
        if not re.fullmatch("[0-7]+", text):
            raise NetError(f"{text!r} is no number")
        return int(text, 8)
    return int(text) if len(text) <= 20 else _MOST + 1


class Credit:
    """What is left of a rate. Times are system times in nanoseconds.

    As in Linux's netback an interval begins with the first packet that finds the last one over, and brings
    the same however long that was; what was not used is kept up to `BURST`.
    """

    def __init__(self, rate: Rate, now: int) -> None:
        self.rate = rate
        self._left = rate.size
        self._began = now
        self._burst = max(BURST, rate.size)

    def take(self, size: int, now: int) -> bool:
        """Whether there is credit for a packet of so many bytes, which is spent then."""
        if size > self._left and now >= self.renewed:
            self._began = now
            self._left = min(self._left + self.rate.size, self._burst)
        if size > self._left:
            return False
        self._left -= size
        return True

    def save(self) -> CreditState:
        """What another one goes on from."""
        return CreditState(self.rate.size, self.rate.interval, self._left, self._began)

    @classmethod
    def resumed(cls, state: CreditState) -> Credit:
        """Raises ValueError for what cannot have been kept."""
        check(0 < state.size <= _MOST and 0 < state.interval <= _MOST, "there is no such rate")
        made = cls(Rate(state.size, state.interval), state.began)
        check(0 <= state.left <= made._burst and 0 <= state.began < LATEST, "there is no such credit")
        made._left = state.left
        return made

    @property
    def renewed(self) -> int:
        """When there is new credit."""
        return self._began + self.rate.interval * 1000
