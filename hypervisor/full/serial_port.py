"""The first serial port of a PC, a 16550A (National Semiconductor data sheet).

What is sent is sent at once, whatever the divisor says. Modem lines are as those of a cable that is plugged
in. Its interrupt request goes out whatever OUT2 says, which opens the way on a PC's card: kernels that were
only tried on emulators leave that closed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BASE: Final = 0x3F8
PORTS: Final = range(BASE, BASE + 8)
IRQ: Final = 4

MOST_WAITING: Final = 4096
"""Bytes that wait for the guest to read them; whoever feeds it keeps the rest."""

_DATA, _INTERRUPTS, _IDENTIFICATION, _LINE, _MODEM, _LINE_STATUS, _MODEM_STATUS, _SCRATCH = range(8)
_RECEIVED, _EMPTY = 0x01, 0x02
_FIFO_ENABLED, _CLEAR_RECEIVER = 0x01, 0x02
_DIVISOR_LATCH: Final = 0x80
_LOOPBACK: Final = 0x10
_NO_INTERRUPT, _EMPTY_INTERRUPT, _RECEIVED_INTERRUPT, _FIFOS = 0x01, 0x02, 0x04, 0xC0
_TRANSMITTER_EMPTY: Final = 0x60
_PLUGGED_IN: Final = 0xB0


class SerialPort:
    """A 16550A. `sink` takes what the guest sends; `set_line` is told the level of its interrupt request."""

    def __init__(self, sink: Callable[[bytes], object], set_line: Callable[[bool], None]) -> None:
        self._sink = sink
        self._when_room: list[Callable[[], None]] = []
        self._set_line = set_line
        self._waiting: deque[int] = deque()
        self._interrupts = self._line = self._modem = self._scratch = 0
        self._divisor = 12
        self._fifos = self._emptied = False

    @property
    def room(self) -> int:
        """Bytes that `feed` takes now."""
        return MOST_WAITING - len(self._waiting)

    def feed(self, data: bytes) -> int:
        """Bytes arrive from outside: how many of them there was room for."""
        taken = data[: self.room]
        self._waiting.extend(taken)
        self._tell()
        return len(taken)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, when there is room to `feed` it."""
        self._when_room.append(callback)

    def read(self, port: int) -> int:
        register = port - BASE
        if self._line & _DIVISOR_LATCH and register in (_DATA, _INTERRUPTS):
            return self._divisor >> 8 * register & 0xFF
        if register == _DATA:
            return self._receive()
        if register == _IDENTIFICATION:
            return self._identify()
        return {
            _INTERRUPTS: self._interrupts,
            _LINE: self._line,
            _MODEM: self._modem,
            _LINE_STATUS: _TRANSMITTER_EMPTY | _RECEIVED * bool(self._waiting),
            _MODEM_STATUS: _PLUGGED_IN,
        }.get(register, self._scratch)

    def write(self, port: int, value: int) -> None:
        register = port - BASE
        if self._line & _DIVISOR_LATCH and register in (_DATA, _INTERRUPTS):
            shift = 8 * register
            self._divisor = self._divisor & ~(0xFF << shift) | value << shift
        elif register == _DATA:
            self._send(value)
        elif register == _INTERRUPTS:
            self._emptied = self._emptied or bool(value & ~self._interrupts & _EMPTY)
            self._interrupts = value & 0x0F
        elif register == _IDENTIFICATION:
            self._fifos = value & _FIFO_ENABLED != 0
            if value & _CLEAR_RECEIVER:
                while self._waiting:
                    self._receive()
        elif register == _LINE:
            self._line = value
        elif register == _MODEM:
            self._modem = value & 0x1F
        elif register == _SCRATCH:
            self._scratch = value
        self._tell()

    def _receive(self) -> int:
        """The next byte that waits, if there is one."""
        if not self._waiting:
            return 0
        value = self._waiting.popleft()
        self._tell()
        waiting, self._when_room = self._when_room, []
        for callback in waiting:
            callback()
        return value

    def _send(self, value: int) -> None:
        if self._modem & _LOOPBACK:
            if self.room:
                self._waiting.append(value)
        else:
            self._sink(bytes((value,)))
        self._emptied = True

    def _identify(self) -> int:
        """What it interrupts for, the most urgent first. To be told of the empty transmitter ends that."""
        if self._interrupts & _RECEIVED and self._waiting:
            reason = _RECEIVED_INTERRUPT
        elif self._interrupts & _EMPTY and self._emptied:
            reason, self._emptied = _EMPTY_INTERRUPT, False
            self._tell()
        else:
            reason = _NO_INTERRUPT
        return reason | _FIFOS * self._fifos

    def _tell(self) -> None:
        received = self._interrupts & _RECEIVED and self._waiting
        emptied = self._interrupts & _EMPTY and self._emptied
        self._set_line(bool(received or emptied))
