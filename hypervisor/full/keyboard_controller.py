"""The keyboard controller of a PC (Intel 8042, IBM PC AT Technical Reference, 1985) with no keyboard plugged
in: kernels find it, and reset their machine by it, or by port 0x92 or 0xCF9, which newer chip sets have.

Address line 20 is open whatever is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_DATA, _COMMAND, _CONTROL_A, _RESET_CONTROL = 0x60, 0x64, 0x92, 0xCF9
PORTS: Final = (_DATA, _COMMAND, _CONTROL_A, _RESET_CONTROL)

_FULL, _SYSTEM, _LAST_WAS_COMMAND, _UNLOCKED = 0x01, 0x04, 0x08, 0x10
_READ_MODE, _WRITE_MODE, _TEST, _TEST_KEYBOARD = 0x20, 0x60, 0xAA, 0xAB
_READ_OUTPUT, _WRITE_OUTPUT, _PULSE = 0xD0, 0xD1, 0xF0
_PASSED: Final = 0x55
_NOT_RESET, _A20 = 0x01, 0x02
_TAKE_DATA: Final = (_WRITE_MODE, _WRITE_OUTPUT, 0xD2, 0xD3, 0xD4)
"""Commands of which the next byte at the data port is a part."""
_RESET_PROCESSOR: Final = 0x04


class KeyboardController:
    """`reset` is told by which port the kernel resets its machine."""

    def __init__(self, reset: Callable[[str], None]) -> None:
        self._reset = reset
        self._mode = _SYSTEM
        self._output = _NOT_RESET | _A20
        self._answer: int | None = None
        self._last = 0
        self._expects = self._command_last = False
        self._control_a, self._reset_control = _A20, 0

    def read(self, port: int) -> int:
        if port == _DATA:
            answer, self._answer = self._answer or 0, None
            return answer
        if port == _COMMAND:
            full = _FULL * (self._answer is not None)
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
        else:
            answers = {
                _READ_MODE: self._mode,
                _TEST: _PASSED,
                _TEST_KEYBOARD: 0,
                _READ_OUTPUT: self._output,
            }
            self._answer = answers.get(value, self._answer)

    def _take(self, value: int) -> None:
        """A byte of a command, or one for the keyboard, which is not there."""
        self._command_last = False
        if self._expects:
            self._expects = False
            if self._last == _WRITE_MODE:
                self._mode = value
            elif self._last == _WRITE_OUTPUT:
                self._output = value
                if not value & _NOT_RESET:
                    self._reset("the keyboard controller")
