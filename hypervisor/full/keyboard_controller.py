"""The keyboard controller of a PC (Intel 8042, IBM PC AT Technical Reference, 1985, with the second port of a
PS/2's) with no keyboard and no mouse plugged in: kernels find it, and reset their machine by it, or by port
0x92 or 0xCF9, which newer chip sets have. What is sent to a keyboard or mouse times out, and is answered by
the controller itself, as by one that asks for the byte again: who waits for an answer need not wait for ever.

Address line 20 is open whatever is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_DATA, _COMMAND, _CONTROL_A, _RESET_CONTROL = 0x60, 0x64, 0x92, 0xCF9
PORTS: Final = (_DATA, _COMMAND, _CONTROL_A, _RESET_CONTROL)

_FULL, _SYSTEM, _LAST_WAS_COMMAND, _UNLOCKED = 0x01, 0x04, 0x08, 0x10
_OF_MOUSE, _TIMED_OUT = 0x20, 0x40
_READ_MODE, _WRITE_MODE, _TEST_MOUSE, _TEST, _TEST_KEYBOARD = 0x20, 0x60, 0xA9, 0xAA, 0xAB
_AS_KEYBOARD, _AS_MOUSE, _TO_MOUSE = 0xD2, 0xD3, 0xD4
_RESEND: Final = 0xFE
_KEYBOARD_OFF, _MOUSE_OFF = 0x10, 0x20
_SWITCHES: Final = {
    0xA7: (_MOUSE_OFF, 0),
    0xA8: (0, _MOUSE_OFF),
    0xAD: (_KEYBOARD_OFF, 0),
    0xAE: (0, _KEYBOARD_OFF),
}
"""Commands that set and clear bits of the mode."""
_READ_OUTPUT, _WRITE_OUTPUT, _PULSE = 0xD0, 0xD1, 0xF0
_PASSED: Final = 0x55
_NOT_RESET, _A20 = 0x01, 0x02
_TAKE_DATA: Final = (_WRITE_MODE, _WRITE_OUTPUT, _AS_KEYBOARD, _AS_MOUSE, _TO_MOUSE)
"""Commands of which the next byte at the data port is a part."""
_RESET_PROCESSOR: Final = 0x04


class KeyboardController:
    """`reset` is told by which port the kernel resets its machine."""

    def __init__(self, reset: Callable[[str], None]) -> None:
        self._reset = reset
        self._mode = _SYSTEM
        self._output = _NOT_RESET | _A20
        self._answer: int | None = None
        self._about_answer = 0
        self._last = 0
        self._expects = self._command_last = False
        self._control_a, self._reset_control = _A20, 0

    def read(self, port: int) -> int:
        if port == _DATA:
            answer, self._answer, self._about_answer = self._answer or 0, None, 0
            return answer
        if port == _COMMAND:
            full = self._about_answer | _FULL * (self._answer is not None)
            return _UNLOCKED | self._mode & _SYSTEM | _LAST_WAS_COMMAND * self._command_last | full
        return self._control_a if port == _CONTROL_A else self._reset_control

    def write(self, port: int, value: int) -> None:
        if port == _COMMAND:
            self._command(value)
        elif port == _DATA:
            self._take(value)
        elif port == _CONTROL_A:
            if value & ~self._control_a & 1:
                self._reset("port 0x92")
            self._control_a = value
        else:
            if value & ~self._reset_control & _RESET_PROCESSOR:
                self._reset("port 0xcf9")
            self._reset_control = value

    def _command(self, value: int) -> None:
        self._command_last, self._last = True, value
        self._expects = value in _TAKE_DATA
        if value & 0xF0 == _PULSE:
            if not value & _NOT_RESET:
                self._reset("the keyboard controller")
            return
        set_bits, cleared = _SWITCHES.get(value, (0, 0))
        self._mode = self._mode & ~cleared | set_bits
        answers = {
            _READ_MODE: self._mode,
            _TEST: _PASSED,
            _TEST_MOUSE: 0,
            _TEST_KEYBOARD: 0,
            _READ_OUTPUT: self._output,
        }
        if value in answers:
            self._put(answers[value])

    def _put(self, answer: int, about: int = 0) -> None:
        """What is read next at the data port; `about` is what the status says of it."""
        self._answer, self._about_answer = answer, about

    def _take(self, value: int) -> None:
        """A byte of a command, or one for the keyboard."""
        command, self._command_last = self._last if self._expects else None, False
        self._expects = False
        if command is None:
            self._put(_RESEND, _TIMED_OUT)
        elif command == _TO_MOUSE:
            self._put(_RESEND, _TIMED_OUT | _OF_MOUSE)
        elif command == _AS_KEYBOARD:
            self._put(value)
        elif command == _AS_MOUSE:
            self._put(value, _OF_MOUSE)
        elif command == _WRITE_MODE:
            self._mode = value
        elif command == _WRITE_OUTPUT:
            self._output = value
            if not value & _NOT_RESET:
                self._reset("the keyboard controller")
