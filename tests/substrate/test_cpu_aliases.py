"""Code that its guest changes through a second mapping, one that cannot be executed."""

from __future__ import annotations

import struct

import pytest

from paravane.cpu import RunEnd
from paravane.cpu import code as code_module
from paravane.cpu.processor import RESTART_COST
from tests.support.cpu_bench import CODE, CODE_MFN, KERNEL_PAGE, NX, Bench

F, G = CODE + 0x800, CODE + 0xA00
ALIAS = 0x15000


def setting(register: int, value: int) -> bytes:
    """`mov $value, register; ret`; the value is its second byte."""
    return bytes([0xB8 + register]) + struct.pack("<I", value) + b"\xc3"


class Program:
    """Straight code at `CODE` that calls and stores."""

    def __init__(self) -> None:
        self.code = b""

    def call(self, target: int) -> Program:
        self.code += b"\xe8" + struct.pack("<i", target - (CODE + len(self.code) + 5))
        return self

    def store(self, address: int, value: int) -> Program:
        self.code += b"\xc6\x05" + struct.pack("<I", address) + bytes([value])
        return self

    def end(self) -> bytes:
        return self.code + b"\xcd\x20"


@pytest.fixture
def aliased(bench: Bench) -> Bench:
    """The page of code once more, NX, with a function that sets EAX and one that sets EBX."""
    bench.map(ALIAS, CODE_MFN, KERNEL_PAGE | NX)
    bench.code(setting(0, 1), F)
    bench.code(setting(3, 1), G)
    return bench


def test_every_store_is_executed(aliased: Bench) -> None:
    program = Program().call(F)
    for value in range(2, 8):
        program.store(ALIAS + (F & 0xFFF) + 1, value).call(F)
        # Keep what EAX was: add it up in ESI.
        program.code += b"\x01\xc6"
    aliased.cpu.esi = 0
    aliased.run(program.end())
    assert aliased.cpu.eax == 7
    assert aliased.cpu.esi == sum(range(2, 8))


def test_a_second_function_changed_between_is_executed(aliased: Bench) -> None:
    at_f, at_g = (ALIAS + (at & 0xFFF) + 1 for at in (F, G))
    program = Program().call(F).call(G).store(at_f, 2).store(at_g, 3).call(F).call(G)
    aliased.run(program.end())
    assert (aliased.cpu.eax, aliased.cpu.ebx) == (2, 3)


def test_many_frames_are_changed_so(bench: Bench) -> None:
    """More than are watched at a time."""
    frames, pages = range(32, 32 + 24), 0x80000
    program = Program()
    for index, mfn in enumerate(frames):
        bench.map(pages + index * 0x1000, mfn, KERNEL_PAGE)
        bench.map(pages + 0x100000 + index * 0x1000, mfn, KERNEL_PAGE | NX)
        bench.ram.write(mfn << 12, setting(0, 1))
    for value in (2, 3):
        for index in range(len(frames)):
            at = pages + index * 0x1000
            program.call(at).store(at + 0x100001, value).call(at)
            program.code += b"\x01\xc6"
    assert len(program.code) < 0x1000
    bench.cpu.esi = 0
    bench.run(program.end())
    assert bench.cpu.esi == 24 * (2 + 3)


def test_the_first_block_of_all_is_noted(bench: Bench) -> None:
    bench.run(b"\xcd\x20")
    assert bench.ram.code_map[CODE_MFN]


def test_what_is_remembered_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_module, "_MOST_FRAMES", 4)
    program = Program()
    for index in range(12):
        bench.map(0x80000 + index * 0x1000, 40 + index, KERNEL_PAGE)
        bench.ram.write(40 + index << 12, setting(0, index))
        program.call(0x80000 + index * 0x1000)
    bench.run(program.end())
    assert bench.cpu.eax == 11
    assert len(bench.cpu._translated._frames) <= 5


INC_ECX_FOR_EVER = b"\x41\xeb\xfd"


def test_a_budget_goes_on_after_code_was_translated_again(aliased: Bench) -> None:
    # F is changed unseen; that is noticed as G is translated, after five instructions.
    program = Program().call(F).store(ALIAS + (F & 0xFFF) + 1, 2).call(G)
    aliased.code(program.code + INC_ECX_FOR_EVER)
    aliased.cpu.ecx = 0
    assert aliased.cpu.run(instructions=RESTART_COST + 1007) is RunEnd.BUDGET
    assert aliased.cpu.ecx == 500, "seven instructions, then two for each round"


def test_a_restart_that_costs_more_than_the_budget_uses_it_up(aliased: Bench) -> None:
    program = Program().call(F).store(ALIAS + (F & 0xFFF) + 1, 2).call(G)
    aliased.code(program.code + INC_ECX_FOR_EVER)
    aliased.cpu.ecx = 0
    assert aliased.cpu.run(instructions=1000) is RunEnd.BUDGET
    assert (aliased.cpu.eip, aliased.cpu.ecx) == (G, 0)
    assert aliased.cpu.run(instructions=1002) is RunEnd.BUDGET
    assert aliased.cpu.ecx == 500
