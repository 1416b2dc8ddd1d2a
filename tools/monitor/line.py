"""A line that is typed on a raw terminal, where nobody else echoes and edits it."""

from __future__ import annotations

import codecs
from enum import Enum, auto
from typing import Final

LONGEST: Final = 1024
"""Characters of a line; more are not taken."""

_ENTER: Final = (0x0D, 0x0A)
_BACKSPACE: Final = (0x08, 0x7F)
_CTRL_C: Final = 0x03
_CTRL_D: Final = 0x04
_CTRL_U: Final = 0x15
_CTRL_W: Final = 0x17
_ESC: Final = 0x1B
_FIRST_PRINTABLE: Final = 0x20
_LAST_OF_SEQUENCE: Final = range(0x40, 0x7F)


class Edit(Enum):
    """What a key did to the line."""

    NOTHING = auto()
    ADDED = auto()
    """`Line.added` came to its end."""
    CHANGED = auto()
    """Something of it went."""
    DROPPED = auto()
    """All of it, and whoever typed it wants another one (Ctrl-C)."""
    ENTERED = auto()
    """It is whole."""
    CLOSED = auto()
    """There was nothing, and there is to be nothing (Ctrl-D)."""


class Line:
    """The text that was typed so far, key by key.

    Backspace, Ctrl-W (a word) and Ctrl-U (all) take away from it, Ctrl-C drops it. The sequences that cursor
    keys send are passed over, as are other control characters: what is echoed is printable.
    """

    def __init__(self) -> None:
        self.text = ""
        self.added = ""
        self._sequence = ""
        self._after_cr = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, key: int) -> Edit:
        """One byte of what the terminal sends. The text of a line that is whole, or was dropped, is for the
        caller to `clear`."""
        after_cr, self._after_cr = self._after_cr, key == 0x0D
        if after_cr and key == 0x0A:
            return Edit.NOTHING  # the second half of a line end that was pasted
        if key < _FIRST_PRINTABLE:
            # It ends a sequence that was none: whoever pressed Escape alone still has an Enter key.
            self._sequence = ""
        if self._sequence or key == _ESC:
            self._pass_over(key)
            return Edit.NOTHING
        if key in _ENTER:
            return Edit.ENTERED
        if key == _CTRL_C:
            return Edit.DROPPED
        if key == _CTRL_D:
            return Edit.NOTHING if self.text else Edit.CLOSED
        if key in _BACKSPACE:
            return self._shorten(self.text[:-1])
        if key == _CTRL_W:
            words = self.text.rstrip()
            return self._shorten(words[: words.rfind(" ") + 1])
        if key == _CTRL_U:
            return self._shorten("")
        return self._add(key)

    def clear(self) -> None:
        """Begin anew."""
        self.text = ""
        self._decoder.reset()

    def _shorten(self, text: str) -> Edit:
        self._decoder.reset()
        before, self.text = self.text, text
        return Edit.NOTHING if text == before else Edit.CHANGED

    def _add(self, key: int) -> Edit:
        """A byte of a character: it counts once it is whole."""
        character = self._decoder.decode(bytes((key,)))
        if not character.isprintable() or len(self.text) >= LONGEST:
            return Edit.NOTHING
        self.added = character
        self.text += character
        return Edit.ADDED if character else Edit.NOTHING

    def _pass_over(self, key: int) -> None:
        """ESC and one character or, if that is `[` or `O`, all up to the first that ends such a sequence."""
        self._sequence += chr(key)
        length, long = len(self._sequence), self._sequence[1:2] in ("[", "O")
        if (length == 2 and not long) or (length > 2 and key in _LAST_OF_SEQUENCE):
            self._sequence = ""
