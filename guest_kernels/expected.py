"""Expected console output: exact lines, and lines that vary.

A line that starts with `~` is a regular expression (Python's `re`) that must match one whole console line.
Every other line stands for itself.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Final

PATTERN: Final = "~"


def differences(expected: str, console: str) -> list[str]:
    """What is wrong with `console`, one sentence for each line that differs; empty when nothing is."""
    found: list[str] = []
    for number, (want, got) in enumerate(zip_longest(expected.split("\n"), console.split("\n")), 1):
        if want is None:
            found.append(f"line {number}: nothing expected, console says {got!r}")
        elif got is None:
            found.append(f"line {number}: expected {want!r}, console has ended")
        elif not takes(want, got):
            found.append(f"line {number}: expected {want!r}, console says {got!r}")
    return found


def takes(want: str, got: str) -> bool:
    """Whether a line of the console is as one that is expected. Raises re.error for a bad pattern."""
    if want.startswith(PATTERN):
        return re.fullmatch(want.removeprefix(PATTERN), got) is not None
    return want == got
