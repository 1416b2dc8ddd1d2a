"""The report of a processor whose segments do not start at zero."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

from paravane.place import Places
from paravane.report import processor, stack
from tests.support.cpu_bench import CODE, DATA, Bench

if TYPE_CHECKING:
    from paravane.image import Image

CODE_AT_BASE, STACK_AT_BASE = 0x00CFBB010000FFFF, 0x0040B3011000FFFF
"""Descriptors of ring 1: code of 32 bits from CODE on, a stack of 32 bits from DATA on."""


class NoSymbols:
    """An image that tells nothing."""

    def symbol_at(self, address: int) -> None:
        """None."""

    def line_at(self, address: int) -> None:
        """None."""

    def is_code(self, address: int) -> bool:
        return False


def test_code_and_stack_are_read_from_the_bases_of_their_segments(bench: Bench) -> None:
    gdt = 0x1F000
    bench.ram.write(gdt + 15 * 8, struct.pack("<QQ", CODE_AT_BASE, STACK_AT_BASE))
    bench.code(b"\x90\xcd\x20", CODE + 0x40)
    bench.ram.write(DATA + 0x100, struct.pack("<I", 0x12345678))
    bench.cpu.enter(cs=15 << 3 | 1, eip=0x40, eflags=0x202, cpl=1, ss=16 << 3 | 1, esp=0x100)
    image = cast("Image", NoSymbols())
    places = Places(image)
    assert any(f"=> {CODE + 0x40:08x}: 90 " in line for line in processor.code(bench.cpu, places))
    assert any(f"{DATA + 0x100:08x}: 12345678" in line for line in stack.words(bench.cpu, image, places))
