"""JSON from files that somebody else may have made: no deeper than what is done with it can go."""

from __future__ import annotations

import json
import re
from typing import Any, Final

DEEPEST: Final = 64
"""Levels of lists and objects in an entry: whatever goes through one calls itself for each of them."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')


def loads(text: bytes, deepest: int = DEEPEST) -> Any:
    """The value that a text stands for. Raises JSONDecodeError or UnicodeDecodeError for what is no JSON,
    another ValueError for what is nested too deeply or has a number that Python does not take."""
    if text.count(b"[") + text.count(b"{") > deepest and _depth(text) > deepest:
        raise ValueError("it is nested too deeply")
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:
        raise ValueError("it has a number of thousands of digits") from None


def _depth(text: bytes) -> int:
    """How deeply lists and objects are nested, at most; brackets in strings are none."""
    deepest = depth = 0
    for byte in _STRING.sub(b"", text):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
