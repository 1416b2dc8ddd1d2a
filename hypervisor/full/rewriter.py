"""Sensitive instructions found before they run, and made to trap while their bytes stay readable.

A new block is looked at before it executes. Over the first byte of each sensitive instruction in it goes an
INT3, the blocks of that byte are translated anew, and then the byte is put back: what was translated traps,
what the guest reads is its own. Should it store there, the engine drops the block.

INS and OUTS are found in every mode: for the former the engine stores a zero before it asks whether there may
be input, and with a count of zero it asks for neither.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from paravane.cpu.instructions import MAX_LENGTH, STRING_IO, instructions
from paravane.full.sensitive import POSSIBLE, is_sensitive
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.cpu import Cpu
    from paravane.cpu.instructions import Instruction

INT3: Final = 0xCC
_BREAKPOINT: Final = 3
_POSSIBLE_STRING: Final = re.compile(rb"[\x6c-\x6f]")
_POSSIBLE_STRING_OR_SENSITIVE: Final = re.compile(rb"[\x6c-\x6f]|" + POSSIBLE.pattern, re.DOTALL)


class Rewriter:
    """Looks at the new blocks of one processor (`paravane.cpu.scanner.BlockScanner`)."""

    def __init__(self, cpu: Cpu, *, sensitive: bool) -> None:
        """Whether the `sensitive` ones are to be found, or those alone that the engine does wrongly."""
        self._cpu = cpu
        self._possible = _POSSIBLE_STRING_OR_SENSITIVE if sensitive else _POSSIBLE_STRING
        self._sensitive = sensitive
        self._bytes = cpu.ram.bytes
        self._planted: dict[int, int] = {}
        self._trapping: frozenset[int] = frozenset()
        cpu.scanner = self

    def translated(self) -> None:
        self._trapping = frozenset(self._planted)
        self.restore()

    def scan(self, va: int, code: bytes) -> Sequence[int]:
        if self._possible.search(code) is None:
            return ()
        big = self._cpu.has_big_code
        first = next((at.offset for at in instructions(code, big=big) if self._traps(at)), None)
        if first is None:
            return ()
        address = self._machine(va + first & 0xFFFFFFFF)
        if address in self._trapping:
            return ()  # the block ends there
        self._planted[address] = self._bytes[address]
        self._bytes[address] = INT3
        return (address,)

    def _traps(self, instruction: Instruction) -> bool:
        if instruction.is_locked or instruction.length > MAX_LENGTH:
            return False  # the engine refuses them by itself
        return instruction.opcode in STRING_IO or (self._sensitive and is_sensitive(instruction))

    def restore(self) -> None:
        """Have memory read as the guest wrote it. At every trap and interrupt, for one may come before the
        block is translated; not where a slice ends, or a guest whose slices are short would never come past
        here."""
        for address, value in self._planted.items():
            self._bytes[address] = value
        self._planted.clear()

    def planted_at(self, va: int) -> bool:
        """A breakpoint was executed whose last byte is at linear `va`: whether an INT3 stood for what memory
        has there. Nothing that is made to trap begins with 3, as `int $3` ends."""
        return self._bytes[self._machine(va)] not in (INT3, _BREAKPOINT)

    def drop(self, va: int) -> None:
        """What the INT3 at linear `va` stood for has become another instruction, by a change in the next
        page: have it translated anew."""
        self._cpu.drop_bytes((self._machine(va),))

    def _machine(self, va: int) -> int:
        """The machine address of code that was just fetched: only the monitor takes mappings away, and after
        that the engine fetches anew."""
        frame = self._cpu.frame_at(va)
        assert frame is not None, "a block was translated from a page that is not mapped"
        return (frame << PAGE_SHIFT) + va % PAGE_SIZE
