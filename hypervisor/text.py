"""Text of a file, a guest or a user that nobody vouches for: made fit to be shown, and the numbers in it."""

from __future__ import annotations


def printable(raw: bytes, limit: int) -> str:
    """The first `limit` bytes as printable ASCII; any other byte becomes an escape.

    So it can neither move a terminal's cursor nor be more than the output's encoding can say.
    """
    return shown(raw[:limit].decode("ascii", "backslashreplace"))


def file_name(raw: bytes, limit: int) -> str:
    """As `printable`, with letters of every script as they are: a file is found by its name."""
    return shown(raw[:limit].decode("utf-8", "backslashreplace"))


def shown(text: str) -> str:
    """Text in one line: what is not printable becomes an escape, and so does a byte that was no text."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def number_in(text: str) -> int | None:
    """A number in decimal or, with 0x, in hex; None for anything else, and for one that nobody can mean."""
    digits, base = (text[2:], 16) if text[:2].lower() == "0x" else (text, 10)
    try:
        # Of thousands of digits Python makes no number, and says so with a ValueError.
        return int(digits, base) if digits.isalnum() and digits.isascii() else None
    except ValueError:
        return None


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
