"""The first interrupt controller, told anything it can be told, with the serial port's request coming and
going: probes for `tests.support.probes`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.support.probes import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

_READS: Final = 56
_PROBES: Final = 60
_COMMAND, _MASK = 0x20, 0x21
_TIMER: Final = 0x01
"""Masked, and left out of what is read: when QEMU's comes is the host's matter."""

_HIGH: Final = "movl $0x3f8, %edx\nmovb $1, %al\noutb %al, %dx\n"
_LOW: Final = "movl $0x3f8, %edx\ninb %dx, %al\n"


def _out(port: int, value: int) -> str:
    return f"movb ${value:#x}, %al\noutb %al, ${port:#x}\n"


_BEFORE: Final = (
    "movl $0x3fc, %edx\nmovb $0x10, %al\noutb %al, %dx\nmovl $0x3f9, %edx\nmovb $1, %al\noutb %al, %dx\n"
)
_AFTER: Final = f"{_LOW}movl $0x3fc, %edx\nmovb $0, %al\noutb %al, %dx\n"


def _initialised(chance: random.Random) -> str:
    """Two to four words, and a mask."""
    first = chance.choice((0x10, 0x11, 0x11, 0x12, 0x13))
    words = [0x20 | chance.randrange(8)]
    if not first & 2:
        words.append(4)
    if first & 1:
        words.append(chance.choice((1, 1, 3, 0x11, 0x13)))
    return _out(_COMMAND, first) + "".join(_out(_MASK, word) for word in (*words, _TIMER))


def _steps(chance: random.Random) -> Iterator[tuple[str, bool]]:
    """What is done, and whether it reads."""
    while True:
        kind = chance.randrange(16)
        if kind == 0:
            yield _initialised(chance), False
        elif kind < 3:
            yield chance.choice((_HIGH, _LOW)), False
        elif kind < 4:
            yield _out(_MASK, chance.choice((0, 0, 0x10, chance.randrange(256))) | _TIMER), False
        elif kind < 7:
            yield _out(_COMMAND, chance.randrange(8) << 5 | chance.choice((4, chance.randrange(8)))), False
        elif kind < 10:
            yield _out(_COMMAND, 0x08 | chance.choice((0x04, 0x04, 0x02, 0x03, 0x40, 0x60, 0x66))), False
        else:
            port = chance.choice((_COMMAND, _COMMAND, _MASK))
            yield f"inb ${port:#x}, %al\n{'andb $0xfe, %al' if port == _COMMAND else ''}\n", True


def sequences() -> list[Probe]:
    """What is read is kept in memory."""
    chance = random.Random(8259)
    found = []
    for _ in range(_PROBES):
        code, reads = _BEFORE + _initialised(chance), 0
        for step, is_read in _steps(chance):
            code += step + (f"movb %al, {reads}(%ebx)\n" if is_read else "")
            reads += is_read
            if reads == _READS:
                break
        found.append(Probe(code + _AFTER))
    return found
