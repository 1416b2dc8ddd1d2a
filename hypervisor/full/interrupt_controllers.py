"""The pair of 8259A interrupt controllers of a PC (Intel 8259A data sheet, order 231468).

The second one is at input 2 of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_CASCADE: Final = 2
_INPUTS: Final = 8
_SPURIOUS: Final = 7

_ICW1, _ICW4_FOLLOWS, _SINGLE, _LEVEL = 0x10, 0x01, 0x02, 0x08
_AUTO_EOI, _FULLY_NESTED = 0x02, 0x10
_OCW3, _READ_REGISTER, _READ_IN_SERVICE = 0x08, 0x02, 0x01
_POLL, _SET_SPECIAL_MASK, _SPECIAL_MASK = 0x04, 0x40, 0x20
_EOI, _SPECIFIC, _ROTATE = 0x20, 0x40, 0x80
_POLLED: Final = 0x80


class InterruptController:
    """One 8259A with its eight inputs, at two ports: an even one and the odd one after it. Of those at once
    the first is the most urgent, or after a rotation another one, and those after it come next."""

    def __init__(self, *, cascade: int = 0) -> None:
        """`cascade` is the bit of the input at which another one is, if there is one."""
        self._cascade = cascade
        self.base = 0
        """The vector of input 0."""
        self.mask = 0xFF
        self.requested = 0
        self.in_service = 0
        self._lines = 0
        self._expects: list[Callable[[int], None]] = []
        self._auto_eoi = self._level = False
        self._reads_in_service = self._polled = self._special_mask = False
        self._nested = self._rotates = False
        self._first = 0

    def set_line(self, number: int, *, high: bool) -> None:
        """An input of it goes high or low; a request is made as it goes high."""
        bit = 1 << number
        if high:
            self.requested |= bit & ~self._lines
            self._lines |= bit
        else:
            self._lines &= ~bit
            if self._level:
                self.requested &= ~bit

    @property
    def next(self) -> int | None:
        """The input that it asks the processor to serve, if any: more urgent than all that are in service."""
        asked = self.requested & ~self.mask
        if not asked:
            return None  # nearly always, and each return to the guest asks
        rank = self._rank(asked)
        serving = self.in_service
        if self._special_mask:
            serving &= ~self.mask
        if self._nested:  # the other one's interrupts may interrupt each other
            serving &= ~self._cascade
        return rank + self._first & 7 if rank < self._rank(serving) else None

    def _rank(self, inputs: int) -> int:
        """How many inputs are more urgent than the most urgent of some; 8 for none."""
        turned = (inputs | inputs << _INPUTS) >> self._first & 0xFF
        return (turned & -turned).bit_length() - 1 if turned else _INPUTS

    def acknowledge(self) -> int:
        """The processor takes the interrupt: its input; 7 if it has gone meanwhile."""
        taken = self.next
        if taken is None:
            return _SPURIOUS
        bit = 1 << taken
        if not (self._level and self._lines & bit):
            self.requested &= ~bit
        if not self._auto_eoi:
            self.in_service |= bit
        elif self._rotates:
            self._first = taken + 1 & 7
        return taken

    def read(self, port: int) -> int:
        if self._polled:
            self._polled = False
            return 0 if self.next is None else _POLLED | self.acknowledge()
        if port & 1:
            return self.mask
        return self.in_service if self._reads_in_service else self.requested

    def write(self, port: int, value: int) -> None:
        if port & 1:
            if self._expects:
                self._expects.pop(0)(value)
            else:
                self.mask = value
        elif value & _ICW1:
            self._initialise(value)
        elif value & _OCW3:
            self._polled = self._polled or value & _POLL != 0
            if value & _READ_REGISTER:
                self._reads_in_service = value & _READ_IN_SERVICE != 0
            if value & _SET_SPECIAL_MASK:
                self._special_mask = value & _SPECIAL_MASK != 0
        else:
            self._end(value)

    def _end(self, value: int) -> None:
        """OCW2: an interrupt is done with, or what is the least urgent from now on."""
        number = value & 7
        if value & _EOI:
            if not value & _SPECIFIC:
                if not self.in_service:
                    return
                number = self._rank(self.in_service) + self._first & 7
            self.in_service &= ~(1 << number)
        elif not value & _SPECIFIC:
            self._rotates = value & _ROTATE != 0
            return
        if value & _ROTATE:
            self._first = number + 1 & 7

    def _initialise(self, value: int) -> None:
        """ICW1: the words that follow come to the other port."""
        self.mask = self.requested = self.in_service = self._lines = 0
        self._auto_eoi = self._reads_in_service = self._polled = self._special_mask = False
        self._nested = self._rotates = False
        self._first = 0
        self._level = value & _LEVEL != 0
        self._expects = [self._take_base]
        if not value & _SINGLE:
            self._expects.append(_cascading)
        if value & _ICW4_FOLLOWS:
            self._expects.append(self._take_mode)

    def _take_base(self, value: int) -> None:
        self.base = value & 0xF8

    def _take_mode(self, value: int) -> None:
        self._auto_eoi = value & _AUTO_EOI != 0
        self._nested = value & _FULLY_NESTED != 0


def _cascading(value: int) -> None:
    """ICW3 says how the two are wired, which on a PC they are in one way only."""


class InterruptControllers:
    """Both: interrupt requests 0 to 15 in, vectors out."""

    def __init__(self) -> None:
        self.first = InterruptController(cascade=1 << _CASCADE)
        self.second = InterruptController()

    def set_line(self, irq: int, *, high: bool) -> None:
        """A device's request goes high or low."""
        controller = self.second if irq & 8 else self.first
        controller.set_line(irq & 7, high=high)
        self._cascade()

    def pulse(self, irq: int) -> None:
        """A request goes high, and low again."""
        self.set_line(irq, high=True)
        self.set_line(irq, high=False)

    @property
    def pending(self) -> bool:
        """Whether the processor is to be interrupted."""
        return self.first.next is not None

    def acknowledge(self) -> int:
        """The processor takes the interrupt: its vector."""
        number = self.first.acknowledge()
        if number != _CASCADE:
            return self.first.base + number
        vector = self.second.base + self.second.acknowledge()
        self._cascade()
        return vector

    def read(self, port: int) -> int:
        value = self._at(port).read(port)
        self._cascade()  # to poll one is to acknowledge
        return value

    def write(self, port: int, value: int) -> None:
        self._at(port).write(port, value)
        self._cascade()

    def _at(self, port: int) -> InterruptController:
        return self.second if port & 0x80 else self.first

    def _cascade(self) -> None:
        """The second one's output is an input of the first, and makes a new request for each of its own."""
        wanted = self.second.next is not None
        if not wanted:
            self.first.requested &= ~(1 << _CASCADE)
        self.first.set_line(_CASCADE, high=False)
        self.first.set_line(_CASCADE, high=wanted)


PORTS: Final = (0x20, 0x21, 0xA0, 0xA1)
