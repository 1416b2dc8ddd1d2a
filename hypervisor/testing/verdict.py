"""What came of a test, in XTF's words, and how XTF's kernels say it on their console."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

_TOLD: Final = re.compile(r"^Test result: (SUCCESS|SKIP|ERROR|FAILURE)\s*$", re.MULTILINE)


class Verdict(IntEnum):
    """In the order of severity: of several the most severe counts."""

    SUCCESS = 0
    SKIP = 1
    """It cannot be run here."""
    ERROR = 2
    """The test is broken."""
    FAILURE = 3
    """What it tests is broken."""


def told(console: str) -> Verdict | None:
    """The verdict a kernel has printed, the most severe of several; None: it has printed none."""
    return max((Verdict[word] for word in _TOLD.findall(console)), default=None)
