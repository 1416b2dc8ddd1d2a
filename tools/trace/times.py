"""Times of traces: as the user writes them, and in words."""

from __future__ import annotations

import argparse
import re
from typing import Final

_UNITS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_HERTZ: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_NUMBER: Final = r"(\d{1,20}(?:\.\d{1,20})?)"
"""More digits than that nobody means, and of thousands Python makes no number."""


def nanoseconds(text: str) -> int:
    """`1.5` (seconds), `200ms`, `30us` or `40ns`, as nanoseconds."""
    match = re.fullmatch(_NUMBER + r"(s|ms|us|ns|)", text.strip(), re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write 1.5 (seconds), 200ms, 30us or 40ns")
    return _exactly(match[1], _UNITS[match[2] or "s"])


def hertz(text: str) -> int:
    """`2400M`, `2.4G` or `1000000000`, as cycles a second."""
    match = re.fullmatch(_NUMBER + r"([KMG]|)", text.strip(), re.ASCII)
    if match is None or not (found := _exactly(match[1], _HERTZ[match[2]])):
        raise argparse.ArgumentTypeError(f"{text!r} is not a frequency: write 2.4G, 2400M or 1000000000")
    return found


def seconds(time: int) -> str:
    """Nanoseconds as text has them: `1.500000000`."""
    return f"{time // 10**9}.{time % 10**9:09d}"


def duration(time: int) -> str:
    """Nanoseconds in the unit that suits them: `512 ns`, `1.02 us`."""
    for unit, size in _UNITS.items():
        if time >= size > 1:
            return f"{time / size:.3g} {unit}" if time < 1000 * size else f"{time // size} {unit}"
    return f"{time} ns"


def _exactly(number: str, unit: int) -> int:
    """A decimal fraction times a unit, without a float's rounding."""
    whole, _, fraction = number.partition(".")
    found: int = int(whole + fraction) * unit // 10 ** len(fraction)
    return found
