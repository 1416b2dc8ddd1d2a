"""Expected console output: exact lines, and lines that vary.

A line that starts with `~` is a regular expression (Python's `re`) that must match one whole console line.
Every other line stands for itself.
"""

from __future__ import annotations

import re
from typing import Final

PATTERN: Final = "~"


def takes(want: str, got: str) -> bool:
    """Whether a line of the console is as one that is expected. Raises re.error for a bad pattern."""
    if want.startswith(PATTERN):
        return re.fullmatch(want.removeprefix(PATTERN), got) is not None
    return want == got
