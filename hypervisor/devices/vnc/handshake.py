"""What a viewer and the server say before there are pictures (RFC 6143, 7.1 to 7.3)."""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from typing import Final

VERSION: Final = b"RFB 003.008\n"
_VERSION: Final = re.compile(rb"RFB (\d{3})\.(\d{3})\n")
_SENTENCE: Final = struct.Struct(">I")


class Security(IntEnum):
    """Security types."""

    INVALID = 0
    NONE = 1
    VNC = 2


def minor_of(line: bytes) -> int:
    """Which of the three versions, 3.3, 3.7 and 3.8, a viewer of this version speaks. Raises ValueError for
    what is no viewer."""
    found = _VERSION.fullmatch(line)
    if found is None:
        raise ValueError("it speaks another protocol than RFB")
    major, minor = int(found[1]), int(found[2])
    if major > 3:
        return 8
    # Some say 3.4 to 3.6, which have never been, and 3.889 is Apple's for 3.8.
    return 8 if minor >= 8 else 7 if minor == 7 else 3


def offered(minor: int, security: Security) -> bytes:
    """The only security type that there is: 3.3 is told, later versions choose."""
    return _SENTENCE.pack(security) if minor == 3 else bytes([1, security])


def result(minor: int, sentence: str = "") -> bytes:
    """How it went: well, unless there is a sentence."""
    if not sentence:
        return _SENTENCE.pack(0)
    return _SENTENCE.pack(1) + (text(sentence) if minor == 8 else b"")


def text(words: str) -> bytes:
    """A text with its length before it."""
    data = words.encode()
    return _SENTENCE.pack(len(data)) + data
