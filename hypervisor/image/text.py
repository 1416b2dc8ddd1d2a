"""Text of a file that nobody vouches for, made fit to be shown."""

from __future__ import annotations


def printable(raw: bytes, limit: int) -> str:
    """The first `limit` bytes as printable ASCII; any other byte becomes an escape.

    So it can neither move a terminal's cursor nor be more than the output's encoding can say.
    """
    text = raw[:limit].decode("ascii", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
