"""The devices of a bare PC, accessed at random while time passes and bytes arrive: each read is a byte, and
none of it raises."""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from paravane.cpu import Ram
from paravane.full import cmos, interrupt_controllers, interval_timer, keyboard_controller, serial_port
from paravane.full import text_screen as screen
from paravane.full.pc import Pc
from paravane.full.physical_memory import PhysicalMemory
from paravane.memory import MachineMemory
from paravane.platform import Platform
from paravane.registry import Registry
from paravane.time.clock import VirtualClock

ACCESSES = 3_000
FRAMES = 256
_PORTS = tuple(
    port
    for ports in (
        *(cmos.PORTS, interrupt_controllers.PORTS, interval_timer.PORTS, keyboard_controller.PORTS),
        *(serial_port.PORTS, screen.PORTS, (0x80, 0xF4, 0xFFFF)),
    )
    for port in ports
)


class _Bench:
    """A PC without a processor: one that takes each interrupt at once, or none."""

    def __init__(self, ram: Ram, chance: random.Random) -> None:
        self._chance = chance
        self.platform = Platform(
            ram, MachineMemory(ram, Registry(), low_frames=FRAMES), Registry(), VirtualClock()
        )
        self.pc = Pc(
            self.platform,
            "d0",
            PhysicalMemory(ram, FRAMES << 12),
            sink=lambda data: None,
            interrupted=lambda: None,
            ended=lambda code: None,
            reset=lambda by: None,
        )

    def step(self) -> None:
        chance, pc = self._chance, self.pc
        port, size = chance.choice(_PORTS), chance.choice((1, 1, 1, 2, 4))
        kind = chance.randrange(10)
        if kind < 5:
            pc.ports.write(port, size, chance.choice((0, 1, 0xFF, chance.randrange(1 << 32))))
        elif kind < 8:
            assert 0 <= pc.ports.read(port, size) < 1 << 8 * size
        elif kind == 8:
            clock = self.platform.clock
            clock.ran(chance.choice((0, 1, 1000, 10**6, 10**10)))
            self.platform.timers.expire(clock.now())
        else:
            assert 0 <= pc.serial.feed(chance.randbytes(chance.randrange(40))) <= 40
        if pc.interrupts.pending and chance.random() < 0.5:
            assert 0 <= pc.interrupts.acknowledge() < 256


@pytest.mark.parametrize("seed", range(5))
def test_devices_bear_anything(seed: int) -> None:
    with closing(Ram(FRAMES + 512)) as ram:
        bench = _Bench(ram, random.Random(seed))
        for _ in range(ACCESSES):
            bench.step()
        assert bench.pc.screen.text().count("\n") <= screen.LINES
        bench.pc.close()
