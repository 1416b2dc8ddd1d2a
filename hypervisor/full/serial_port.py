"""The first serial port of a PC, a 16550A (National Semiconductor data sheet).

What is sent is sent at once, whatever the divisor says. What comes in waits on the line, which has flow
control, until the receiver has room: a FIFO of 16 bytes, or a register of one while FIFOs are off. It comes
in when the guest looks whether it has, or asks to be interrupted, so that a guest that clears its FIFOs
before that, as they do when they begin, loses nothing that was typed. To have waited for a while, which makes
a FIFO interrupt with fewer bytes than it was set to, takes no time.

Modem lines are as those of a cable that is plugged in. The interrupt request goes out whatever OUT2 says,
which opens the way on a PC's card: kernels that were only tried on emulators leave that closed.
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
"""Bytes that wait on the line; whoever feeds it keeps the rest."""

FIFO: Final = 16
"""Bytes that the receiver holds with FIFOs on."""

_DATA, _INTERRUPTS, _IDENTIFICATION, _LINE, _MODEM, _LINE_STATUS, _MODEM_STATUS, _SCRATCH = range(8)
_RECEIVED, _EMPTY, _STATUS = 0x01, 0x02, 0x04
_OVERRUN: Final = 0x02
_FIFO_ENABLED, _CLEAR_RECEIVER, _CLEAR_TRANSMITTER = 0x01, 0x02, 0x04
_DIVISOR_LATCH: Final = 0x80
_LOOPBACK: Final = 0x10
_NO_INTERRUPT, _FIFOS = 0x01, 0xC0
_EMPTY_INTERRUPT, _RECEIVED_INTERRUPT, _STATUS_INTERRUPT, _TIMEOUT_INTERRUPT = 0x02, 0x04, 0x06, 0x0C
_TRANSMITTER_EMPTY: Final = 0x60
_PLUGGED_IN: Final = 0xB0
_LEVELS: Final = (1, 4, 8, 14)


class SerialPort:
    """A 16550A. `sink` takes what the guest sends; `set_line` is told the level of its interrupt request.

    As a console it is what `paravane.devices.console.Console` is: `room`, `waiting`, `feed`, `when_room`.
    """

    def __init__(self, sink: Callable[[bytes], object], set_line: Callable[[bool], None]) -> None:
        self._sink = sink
        self._room_made: dict[Callable[[], None], None] = {}
        self._set_line = set_line
        self._on_the_line: deque[int] = deque()
        self._receiver: deque[int] = deque()
        self._interrupts = self._line = self._modem = self._scratch = 0
        self._divisor = 12
        self._level = 1
        self._last = 0
        self._fifos = self._emptied = self._overrun = False

    @property
    def room(self) -> int:
        """Bytes that `feed` takes now."""
        return MOST_WAITING - len(self._on_the_line)

    @property
    def waiting(self) -> int:
        """Bytes that the guest has not read yet."""
        return len(self._on_the_line) + len(self._receiver)

    def feed(self, data: bytes) -> int:
        """Bytes arrive from outside: how many of them there was room for."""
        taken = data[: self.room]
        self._on_the_line.extend(taken)
        self._tell()
        return len(taken)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, as soon as the guest has taken input and there is more `room`. Several
        may wait for that."""
        self._room_made[callback] = None

    def read(self, port: int) -> int:
        register = port - BASE
        if self._line & _DIVISOR_LATCH and register in (_DATA, _INTERRUPTS):
            return self._divisor >> 8 * register & 0xFF
        if register == _DATA:
            return self._read_data()
        if register == _IDENTIFICATION:
            return self._identify()
        if register == _LINE_STATUS:
            return self._line_status()
        if register == _MODEM_STATUS:
            return self._modem_status
        plain = {_INTERRUPTS: self._interrupts, _LINE: self._line, _MODEM: self._modem}
        return plain.get(register, self._scratch)

    def write(self, port: int, value: int) -> None:
        register = port - BASE
        if self._line & _DIVISOR_LATCH and register in (_DATA, _INTERRUPTS):
            shift = 8 * register
            self._divisor = self._divisor & ~(0xFF << shift) | value << shift
        elif register == _DATA:
            self._send(bytes((value,)))
        elif register == _INTERRUPTS:
            changed = value ^ self._interrupts
            if changed & _EMPTY:
                self._emptied = value & _EMPTY != 0
            self._interrupts = value & 0x0F
        elif register == _IDENTIFICATION:
            self._control_fifos(value)
        elif register == _LINE:
            self._line = value
        elif register == _MODEM:
            self._modem = value & 0x1F
        elif register == _SCRATCH:
            self._scratch = value
            return
        self._tell()

    def takes_runs(self, port: int) -> bool:
        """See `paravane.full.ports.RunDevice`."""
        plain = not (self._line & _DIVISOR_LATCH or self._modem & _LOOPBACK or self._interrupts & _EMPTY)
        return port == BASE and plain

    def write_run(self, port: int, data: bytes) -> None:
        """See `paravane.full.ports.RunDevice`."""
        self._send(data)

    # Receiver.

    def _receive(self) -> None:
        """What waits on the line comes in, as far as there is room."""
        line, receiver = self._on_the_line, self._receiver
        room = (FIFO if self._fifos else 1) - len(receiver)
        if room <= 0 or not line or self._modem & _LOOPBACK:
            return
        for _ in range(min(room, len(line))):
            receiver.append(line.popleft())
        if not self._fifos:
            self._last = receiver[-1]
        waiting, self._room_made = self._room_made, {}
        for room_made in waiting:
            room_made()

    def _read_data(self) -> int:
        """The next byte. If there is none, what the register of one still holds; an empty FIFO gives 0."""
        self._receive()
        if not self._receiver:
            return 0 if self._fifos else self._last
        value = self._receiver.popleft()
        if len(self._receiver) < self._level:
            # Where another one comes in, or has waited for long enough, that is another request.
            self._set_line(bool(self._sender_reason))
        self._tell()
        return value

    def _line_status(self) -> int:
        self._receive()
        status = _TRANSMITTER_EMPTY | _OVERRUN * self._overrun | _RECEIVED * bool(self._receiver)
        self._overrun = False
        self._tell()
        return status

    def _control_fifos(self, value: int) -> None:
        turned = self._fifos != (value & _FIFO_ENABLED != 0)
        self._fifos = value & _FIFO_ENABLED != 0
        self._level = _LEVELS[value >> 6] if self._fifos else 1
        if turned or value & _CLEAR_RECEIVER:
            self._receiver.clear()
        if turned or value & _CLEAR_TRANSMITTER:
            self._emptied = True

    # Transmitter.

    def _send(self, data: bytes) -> None:
        self._emptied = False
        self._tell()
        if self._modem & _LOOPBACK:
            self._come_back(data[0])
        else:
            self._sink(data)
        self._emptied = True

    def _come_back(self, value: int) -> None:
        """A byte that is sent in a loop, which has no flow control."""
        full = len(self._receiver) == (FIFO if self._fifos else 1)
        self._overrun = self._overrun or full
        if not self._fifos:  # the register holds the last one
            self._receiver.clear()
            self._last = value
        if not (full and self._fifos):
            self._receiver.append(value)

    @property
    def _modem_status(self) -> int:
        """In a loop it has its own outputs as inputs: RTS and DTR as CTS and DSR, OUT1 and OUT2."""
        if not self._modem & _LOOPBACK:
            return _PLUGGED_IN
        return (self._modem & 0x0C) << 4 | (self._modem & 0x02) << 3 | (self._modem & 0x01) << 5

    # Interrupts.

    @property
    def _receiver_reason(self) -> int:
        if self._interrupts & _STATUS and self._overrun:
            return _STATUS_INTERRUPT
        if self._interrupts & _RECEIVED and self._receiver:
            return _RECEIVED_INTERRUPT if len(self._receiver) >= self._level else _TIMEOUT_INTERRUPT
        return 0

    @property
    def _sender_reason(self) -> int:
        return _EMPTY_INTERRUPT if self._interrupts & _EMPTY and self._emptied else 0

    def _identify(self) -> int:
        """What it interrupts for, the most urgent first. To be told of the empty transmitter ends that."""
        self._receive()
        reason = self._receiver_reason or self._sender_reason or _NO_INTERRUPT
        if reason == _EMPTY_INTERRUPT:
            self._emptied = False
        self._tell()
        return reason | _FIFOS * self._fifos

    def _tell(self) -> None:
        if self._interrupts & _RECEIVED:
            self._receive()
        self._set_line(bool(self._receiver_reason or self._sender_reason))
