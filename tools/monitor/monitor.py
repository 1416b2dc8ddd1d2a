"""What Ctrl-] opens on a console: a prompt for commands about the machine, while its guests go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.text import shown
from paravane.tools.monitor.line import Edit, Line
from paravane.tools.terminal import ESCAPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.tools.monitor.commands import Answer

PROMPT: Final = b"(paravane) "

HELD_BACK: Final = 4096
"""Bytes of a line that a guest has not ended, after which it is put out all the same."""

_ERASE: Final = b"\r\x1b[K"


class Monitor:
    """The prompt, from when it is opened until an empty line, Ctrl-] or a command closes it.

    Guests go on meanwhile. Where they print on the same terminal their lines appear above the prompt, each as
    soon as it is whole, and what is typed stays in one piece.
    """

    def __init__(
        self, perform: Callable[[str], Answer], show: Callable[[bytes], None], *, erases: bool = True
    ) -> None:
        """`perform` obeys a line, `show` puts bytes on the terminal, which `erases` a line when told to."""
        self.active = False
        self._perform = perform
        self._show = show
        self._erases = erases
        self._line = Line()
        self._fresh = False
        self._held_back = bytearray()

    def open(self) -> None:
        """The user wants to say something."""
        self.active = self._fresh = True
        self._line.clear()
        self._show(b"\n" + PROMPT)

    def close(self) -> None:
        """The guest has the keys again. Idempotent."""
        if self.active:
            self.active = False
            self._show(self._erase() + bytes(self._held_back))
            self._held_back.clear()

    def key(self, key: int) -> bytes:
        """A byte that was typed; what of it is for the guest after all."""
        fresh, self._fresh = self._fresh, False
        if key == ESCAPE:
            self.close()
            return bytes((ESCAPE,)) if fresh else b""
        match self._line.take(key):
            case Edit.ADDED:
                self._show(self._line.added.encode())
            case Edit.CHANGED:
                self._show(self._erase() + self._prompt())
            case Edit.DROPPED:
                self._line.clear()
                self._show(b"^C\n" + PROMPT)
            case Edit.CLOSED:
                self.close()
            case Edit.ENTERED:
                return self._obey()
        return b""

    def interject(self, lines: bytes) -> bytes:
        """What is to be put out for whole lines of ours that come while this is open."""
        return self._erase() + lines + self._prompt()

    def above(self, data: bytes) -> bytes:
        """What is to be put out for a guest's output that comes while this is open."""
        self._held_back += data
        end = self._held_back.rfind(b"\n") + 1
        whole, rest = self._held_back[:end], self._held_back[end:]
        if len(rest) >= HELD_BACK:
            whole, rest = self._held_back + b"\n", bytearray()
        self._held_back = rest
        return self.interject(bytes(whole)) if whole else b""

    def _obey(self) -> bytes:
        text = self._line.text.strip()
        self._line.clear()
        if not text:
            self.close()
            return b""
        self._show(b"\n")
        answer = self._perform(text)
        for line in answer.text.splitlines():
            self._show(shown(line.expandtabs()).encode("utf-8", "backslashreplace") + b"\n")
        if answer.closes:
            self.close()
        else:
            self._show(PROMPT)
        return answer.keys

    def _prompt(self) -> bytes:
        return PROMPT + self._line.text.encode()

    def _erase(self) -> bytes:
        return _ERASE if self._erases else b"\n"
