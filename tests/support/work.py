"""A measure of work that does not depend on the host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def lines_executed(action: Callable[[], object]) -> int:
    """How many lines of Python `action` takes. What C code does for it is not seen."""
    lines = 0

    def count(frame: object, event: str, _: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        action()
    finally:
        sys.settrace(before)
    return lines
