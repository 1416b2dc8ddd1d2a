"""Ordinary instructions for random streams (tests/support/streams.py), and the bytes of any."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
DATA: Final = (EAX, ECX, EDX)

ABSENT, READ_ONLY, SUPERVISOR, WINDOW, ALIAS = 0x403000, 0x404000, 0x405000, 0x400000, 0x402000
CODE_WINDOW: Final = 0x406000
FLAGS: Final = (2, 2, 0x202, 0x8D7, 0x402, 0x3002, 0x3202, 0x1002, 0x40002, 0x200002)
_LEAVES_SIZE: Final = b"\x66"
TF: Final = 0x100
_IOPL: Final = 0x3000


def long(value: int) -> bytes:
    """Four bytes."""
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


class Parts:
    """Writes the instructions of one stream. Only EAX, ECX and EDX are written, and memory."""

    def __init__(
        self, seed: int | str, address: int, labels: Mapping[str, int], *, promised_by_state: bool
    ) -> None:
        """`promised_by_state`: nothing that `--sensitive state` does not do as hardware does."""
        self._by_state = promised_by_state
        self.chance = random.Random(seed)
        self._address, self._labels = address, labels
        self._code = bytearray()
        self.pieces: list[int] = []
        self.ring = self.chance.choice((0, 0, 3))
        self._paged = self.chance.random() < 0.8
        self._steps = self.chance.random() < 0.2

    def _put(self, *parts: bytes | int) -> None:
        for part in parts:
            self._code += bytes((part,)) if isinstance(part, int) else part

    @property
    def _here(self) -> int:
        return self._address + len(self._code)

    def _byte(self) -> int:
        return self.chance.choice((0, 1, 0x7F, 0x80, 0xFF, self.chance.randrange(256)))

    def _word(self) -> int:
        return self.chance.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, self.chance.getrandbits(32)))

    def _flags(self, *others: int) -> int:
        flags = self.chance.choice((*FLAGS, *others))
        return flags & ~_IOPL if self._by_state else flags

    def _data(self) -> int:
        return self.chance.choice(DATA)

    def _memory(self, reg: int) -> bytes:
        """ModRM and what follows it, of memory that is there as a rule."""
        chance, low = self.chance, reg << 3
        kind = chance.random()
        if kind < 0.06:
            place = chance.choice((ABSENT, READ_ONLY, SUPERVISOR, READ_ONLY, ABSENT - 2, READ_ONLY - 1))
            if self._paged:
                return bytes((low | 5,)) + long(place + chance.choice((0, 0, 0x10)))
        if kind < 0.2:
            place = chance.choice((WINDOW, ALIAS, WINDOW + 0xFFD, WINDOW + 0x1FFE, CODE_WINDOW))
            return bytes((low | 5,)) + long(place + chance.randrange(4))
        if kind < 0.4:
            return bytes((0x44 | low, 0x24, chance.randrange(4, 36, 2)))  # above a return address
        if kind < 0.45:
            return bytes((0x84 | low, 0x23)) + long(chance.randrange(64))  # (%ebx), no index
        return bytes((0x40 | low | chance.choice((EBX, EBP, ESI, EDI)), chance.randrange(24)))

    def _operand(self, reg: int) -> bytes:
        """As `_memory`, or a register that holds something."""
        if self.chance.random() < 0.5:
            return bytes((0xC0 | reg << 3 | self._data(),))
        return self._memory(reg)

    def _prefix(self, share: float = 0.15) -> bytes:
        return _LEAVES_SIZE if self.chance.random() < share else b""

    def _define_flags(self) -> None:
        """CMP, which leaves none undefined."""
        self._put(0x3C, self._byte())

    # Instructions, or little groups.

    def _arithmetic(self) -> None:
        """ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, in all their forms; TEST, XADD, CMPXCHG."""
        chance = self.chance
        operation = chance.randrange(8) << 3
        form = chance.randrange(7)
        lock = b"\xf0" if chance.random() < 0.15 and form < 2 and operation != 0x38 else b""
        if form < 2:
            self._put(lock, self._prefix(), operation | form, self._memory(self._data()))
        elif form < 4:
            self._put(self._prefix(), operation | form, self._operand(self._data()))
        elif form == 4:
            self._put(operation | 4, self._byte())
        elif form == 5:
            self._put(self._prefix(), 0x83, self._operand(operation >> 3), self._byte())
        else:
            code = chance.choice((b"\x84", b"\x85", b"\x0f\xc0", b"\x0f\xc1", b"\x0f\xb0", b"\x0f\xb1"))
            self._put(self._prefix(), code, self._operand(self._data()))
        if operation in (0x08, 0x20, 0x30) or form == 6:
            self._define_flags()

    def _group(self) -> None:
        """INC, DEC, NOT, NEG, MUL, IMUL, DIV, shifts and rotations."""
        chance = self.chance
        which = chance.randrange(4)
        if which == 0:
            self._put(self._prefix(), chance.choice((0xFE, 0xFF)), self._operand(chance.randrange(2)))
        elif which == 1:
            self._put(self._prefix(), chance.choice((0xF6, 0xF7)), self._operand(chance.randrange(2, 6)))
        elif which == 2:
            self._put(
                self._prefix(),
                chance.choice((0xD0, 0xD1, 0xD2, 0xD3)),
                self._operand(chance.choice((0, 1, 4, 5, 7))),
            )
        elif chance.random() < 0.3:  # a divisor that fits, or does not
            self._put(0x31, 0xD2, chance.choice((0xF6, 0xF7)), self._operand(chance.randrange(6, 8)))
        else:
            self._put(0x0F, chance.choice((0xA4, 0xAC)), self._operand(self._data()), chance.randrange(32))
        self._define_flags()

    def _move(self) -> None:
        chance = self.chance
        data = self._data()
        which = chance.randrange(9)
        if which == 0:
            self._put(0xB8 | data, long(self._word()))
        elif which == 1:
            self._put(self._prefix(), chance.choice((0x88, 0x89)), self._memory(data))
        elif which == 2:
            self._put(self._prefix(), chance.choice((0x8A, 0x8B)), self._operand(data))
        elif which == 3:
            self._put(0x0F, chance.choice((0xB6, 0xB7, 0xBE, 0xBF)), self._operand(data))
        elif which == 4:
            self._put(self._prefix(), 0x8D, self._memory(data))
        elif which == 5:
            self._put(self._prefix(), chance.choice((0x86, 0x87)), self._operand(data))
        elif which == 6:
            self._put(0x0F, 0x40 | chance.randrange(16), self._operand(data))
        elif which == 7:
            self._put(0x0F, 0x90 | chance.randrange(16), 0xC0 | data)
        else:
            self._put(0xC7, self._memory(0), long(self._word()))

    def _bits(self) -> None:
        """BT and its kind, BSF, BSWAP, conversions, decimal adjustments, which leave most flags undefined."""
        chance = self.chance
        which = chance.randrange(6)
        if which == 0:
            self._put(self._prefix(), 0x0F, 0xBA, self._operand(chance.randrange(4, 8)), self._byte())
        elif which == 1:
            self._put(0x0C, 1, 0x0F, chance.choice((0xBC, 0xBD)), 0xC0 | self._data() << 3)
        elif which == 2:
            self._put(0x0F, 0xC8 | self._data())
        elif which == 3:
            self._put(self._prefix(), chance.choice((0x98, 0x99)))
        elif which == 4:
            self._put(chance.choice((0x27, 0x2F, 0x37, 0x3F)))
        else:
            self._put(chance.choice((0xD4, 0xD5)), chance.choice((0, 10, 10, 16)))
        self._define_flags()

    def _stack(self) -> None:
        chance = self.chance
        which = chance.randrange(9)
        if which < 2:
            self._put(self._prefix(), 0x50 | chance.randrange(8))
        elif which < 4:
            self._put(0x58 | self._data())
        elif which == 4:
            self._put(self._prefix(), 0x6A, self._byte())
        elif which == 5:
            self._put(0x68, long(self._word()))
        elif which == 6:
            self._put(self._prefix(), 0xFF, self._memory(6))
        elif which == 7:
            self._put(self._prefix(), 0x8F, self._memory(0))
        else:
            self._put(0x60, chance.choice((b"\x90", b"\x1e\x1f", b"\x8c\xc8")), 0x61)

    def _string(self) -> None:
        chance = self.chance
        operation = chance.choice((0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF))
        if chance.random() < 0.6:
            self._put(0xB9, long(chance.randrange(5)))  # a count, and its prefix
            self._put(chance.choice((0xF3, 0xF3, 0xF2)))
        self._put(chance.choice((b"", b"", b"", b"\x2e", b"\x36", b"\x26")), self._prefix(), operation)

    def _flag(self) -> None:
        self._put(self.chance.choice((0xF5, 0xF8, 0xF9, 0xFC, 0xFD, 0x9E, 0x9F, 0xD6, 0x90)))
