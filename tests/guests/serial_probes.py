"""Registers of the serial port, which sends to itself, in sequences by chance: probes for
`tests.support.probes`."""

from __future__ import annotations

import random
from typing import Final

from tests.support.probes import Probe

_BASE: Final = 0x3F8
_DATA, _INTERRUPTS, _FIFOS, _LINE, _MODEM, _LINE_STATUS, _MODEM_STATUS, _SCRATCH = range(8)
_READS: Final = 56
_PROBES: Final = 60

# So slow that no FIFO waits for long enough to interrupt with less than it is to, and all have a level of 1.
_SLOW: Final = ((_LINE, 0x83), (_DATA, 0xFF), (_INTERRUPTS, 0xFF), (_LINE, 0x03))
_AFTER: Final = ((_INTERRUPTS, 0), (_MODEM, 0), (_FIFOS, 7), (_FIFOS, 0), (_LINE, 0x83), (_DATA, 1),
                 (_INTERRUPTS, 0), (_LINE, 3))  # fmt: skip
_WRITES: Final = (
    *(((_DATA, None),) * 5),
    *((_INTERRUPTS, value) for value in (0, 1, 2, 3, 4, 5, 7, 15)),
    *((_FIFOS, value) for value in (0, 1, 1, 3, 5, 7)),
    *((_MODEM, 0x10 | value) for value in (0, 1, 2, 4, 8, 15)),
    (_SCRATCH, None),
)


def _write(register: int, value: int) -> str:
    return f"movl ${_BASE + register:#x}, %edx\nmovb ${value:#x}, %al\noutb %al, %dx\n"


def sequences() -> list[Probe]:
    """What is read is kept in memory. No interrupt is taken: QEMU has them come some instructions later."""
    chance = random.Random(16550)
    found = []
    for _ in range(_PROBES):
        code = "".join(_write(*one) for one in (*_SLOW, (_MODEM, 0x10)))
        reads = 0
        while reads < _READS:
            if chance.random() < 0.5:
                register, value = chance.choice(_WRITES)
                code += _write(register, chance.randrange(256) if value is None else value)
            else:
                register = chance.choice((0, 0, 0, 1, 2, 2, 2, 5, 5, 5, 6, 4, 7))
                code += f"movl ${_BASE + register:#x}, %edx\ninb %dx, %al\nmovb %al, {reads}(%ebx)\n"
                reads += 1
        code += "cli\n" + "".join(_write(*one) for one in _AFTER)
        found.append(Probe(code))
    return found
