"""A small PC: the devices around the processor, and the wires between them.

No BIOS, no PCI, no disk, no APIC, no real mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.full import (
    bios_data,
    cmos,
    debug_exit,
    interrupt_controllers,
    interval_timer,
    keyboard_controller,
    serial_port,
    text_screen,
)
from paravane.full.cmos import Cmos
from paravane.full.debug_exit import DebugExit
from paravane.full.interrupt_controllers import InterruptControllers
from paravane.full.interval_timer import IntervalTimer
from paravane.full.keyboard_controller import KeyboardController
from paravane.full.ports import Ports
from paravane.full.serial_port import SerialPort
from paravane.full.text_screen import TextScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.full.physical_memory import PhysicalMemory
    from paravane.platform import Platform

_TIMER_IRQ = 0


class Pc:
    """Its I/O ports are in `ports`; `interrupts` asks for the processor."""

    def __init__(
        self,
        platform: Platform,
        owner: str,
        memory: PhysicalMemory,
        *,
        sink: Callable[[bytes], object],
        interrupted: Callable[[], None],
        ended: Callable[[int], None],
        reset: Callable[[str], None],
    ) -> None:
        """In `memory` the screen is blank, and the BIOS's data are there; timers are `owner`'s. `sink` takes
        what the serial port sends, `interrupted` is called when a device asks for an interrupt, `ended` with
        what the kernel writes to the debug exit, and `reset` with the name of that by which it resets its
        machine."""
        for address, data in bios_data.pieces():
            memory.write(address, data)
        self.ports = Ports()
        self.interrupts = InterruptControllers()
        self._interrupted = interrupted
        self._timer = IntervalTimer(platform.clock, platform.timers, owner, self._tick)
        self.serial = SerialPort(sink, self._serial_line)
        self.ports.claim(interrupt_controllers.PORTS, self.interrupts)
        self.ports.claim(interval_timer.PORTS, self._timer)
        self.ports.claim(serial_port.PORTS, self.serial)
        self.ports.claim(cmos.PORTS, Cmos(platform.clock, memory.size))
        self.ports.claim(debug_exit.PORTS, DebugExit(ended))
        self.ports.claim(keyboard_controller.PORTS, KeyboardController(reset))
        self.screen = TextScreen(memory)
        self.ports.claim(text_screen.PORTS, self.screen)

    def close(self) -> None:
        """Nothing of it happens any more."""
        self._timer.close()

    def _tick(self) -> None:
        self.interrupts.pulse(_TIMER_IRQ)
        self._interrupted()

    def _serial_line(self, high: bool) -> None:
        self.interrupts.set_line(serial_port.IRQ, high=high)
        self._interrupted()
