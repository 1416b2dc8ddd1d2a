"""Code that its guest changes is executed as it is, by whatever way it is changed, and whoever fills the TLB.

Each pattern is a program that calls a function, `mov $value, %eax; ret`, changes the value and calls it again
and again, and adds all up in ESI: a store that went unseen leaves an older value in the sum.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest

from paravane.x86 import Pte, Vector
from tests.support.cpu_bench import CODE, DATA, KERNEL_PAGE, NX, STACK, TABLES, USER, USER_PAGE, Bench, Trap

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.gateway.vcpu_tlb import VcpuTlb

# Functions lie in a frame of their own, mapped at PAGE; ALIAS is the same frame once more.
PAGE, ALIAS, MFN = 0x30000, 0x40000, 40
F = 0x100
VALUES = (2, 3, 4, 5)
FUNCTION = b"\xb8\x01\x00\x00\x00\xc3"
ADD = b"\x01\xc6"
END = b"\xcd\x20"


class Code:
    """Instructions from linear `at` on."""

    def __init__(self, at: int = CODE) -> None:
        self.at = at
        self.bytes = b""

    def add(self, *parts: bytes) -> Code:
        self.bytes += b"".join(parts)
        return self

    def call(self, target: int) -> Code:
        """Call it, and add EAX to ESI."""
        here = self.at + len(self.bytes) + 5
        return self.add(b"\xe8" + struct.pack("<i", target - here), ADD)


def store_byte(address: int, value: int) -> bytes:
    return b"\xc6\x05" + struct.pack("<I", address) + bytes([value])


def store_word(address: int, value: int) -> bytes:
    return b"\xc7\x05" + struct.pack("<II", address, value)


def store_string(address: int, value: int) -> bytes:
    """rep stosb of two bytes: the value's first byte and one that stays 0 is not in it."""
    return (
        b"\xbf"
        + struct.pack("<I", address)
        + b"\xb0"
        + bytes([value])
        + b"\xb9\x01\x00\x00\x00"
        + b"\xf3\xaa"
    )


def store_locked(address: int, _value: int) -> bytes:
    """Each is one more than the last."""
    return b"\xf0\xff\x05" + struct.pack("<I", address)


def store_vector(address: int, value: int) -> bytes:
    """Sixteen bytes at once: the operand is in the page of data."""
    at = DATA + value * 16
    return b"\x0f\x10\x05" + struct.pack("<I", at) + b"\x0f\x11\x05" + struct.pack("<I", address - 1)


def push(address: int, value: int) -> bytes:
    """With the stack there for the moment."""
    return b"\x89\xe5\xbc" + struct.pack("<I", address + 4) + b"\x6a" + bytes([value]) + b"\x89\xec"


STORES: dict[str, Callable[[int, int], bytes]] = {
    "byte": store_byte,
    "word": store_word,
    "string": store_string,
    "locked": store_locked,
    "vector": store_vector,
    "push": push,
}


class Alias(NamedTuple):
    """Where the stores go, and the rights of both mappings."""

    through: int
    first: int
    second: int


MAPPINGS = {
    "the page itself": Alias(PAGE, KERNEL_PAGE, KERNEL_PAGE),
    "a second mapping": Alias(ALIAS, KERNEL_PAGE, KERNEL_PAGE),
    "one that is NX": Alias(ALIAS, KERNEL_PAGE, KERNEL_PAGE | NX),
    "one that is NX, of read-only code": Alias(ALIAS, KERNEL_PAGE & ~2, KERNEL_PAGE | NX),
}


@pytest.fixture
def bench(filled_bench: Bench) -> Bench:
    """The functions' frame is there, and vectors to store."""
    filled_bench.ram.write((MFN << 12) + F, FUNCTION)
    for value in VALUES:
        vector = b"\xb8" + struct.pack("<I", value) + b"\xc3" + bytes(10)
        filled_bench.ram.write(DATA + value * 16, vector)
    filled_bench.map(PAGE, MFN, KERNEL_PAGE)
    filled_bench.map(ALIAS, MFN, KERNEL_PAGE)
    filled_bench.cpu.esi = 0
    return filled_bench


def total(bench: Bench, code: Code) -> int:
    """ESI at the end."""
    assert bench.run(code.add(END).bytes)[-1] == Trap("interrupt", 0x20, 0, CODE + len(code.bytes), 1)
    return bench.cpu.esi


@pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS)
@pytest.mark.parametrize("kind", STORES)
def test_stores_of_every_kind(bench: Bench, kind: str, mapping: Alias) -> None:
    bench.map(PAGE, MFN, mapping.first)
    bench.map(ALIAS, MFN, mapping.second)
    code = Code().call(PAGE + F)
    for value in VALUES:
        code.add(STORES[kind](mapping.through + F + 1, value)).call(PAGE + F)
    assert total(bench, code) == 1 + sum(VALUES)


@pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS)
def test_a_frame_of_data_that_becomes_code(bench: Bench, mapping: Alias) -> None:
    """Stored to before anything is fetched from it: what is remembered of its page then is that of data."""
    bench.map(PAGE, MFN, mapping.first)
    bench.map(ALIAS, MFN, mapping.second)
    code = Code()
    for value in (7, *VALUES):
        code.add(store_byte(mapping.through + F + 1, value)).call(PAGE + F)
    assert total(bench, code) == 7 + sum(VALUES)


@pytest.mark.parametrize("rights", [KERNEL_PAGE, KERNEL_PAGE | NX], ids=["executable", "NX"])
def test_the_very_block_that_stores(bench: Bench, rights: int) -> None:
    """The instruction after the store is another one when it is reached."""
    at = PAGE + 0x200
    bench.map(ALIAS, MFN, rights)
    # movb $value, after; mov $1, %eax; ret
    store = store_byte(ALIAS + 0x200 + 7 + 1, 0)
    bench.ram.write((MFN << 12) + 0x200, store + FUNCTION)
    code = Code()
    for value in VALUES:
        code.add(store_byte(PAGE + 0x206, value)).call(at)
    assert total(bench, code) == sum(VALUES)


@pytest.mark.parametrize("rights", [KERNEL_PAGE, KERNEL_PAGE | NX], ids=["executable", "NX"])
@pytest.mark.parametrize("split", range(1, 5))
def test_an_instruction_across_two_pages(bench: Bench, split: int, rights: int) -> None:
    """Its value, four bytes, is changed where it lies: by one store that crosses as well, and bytewise."""
    first, second = MFN, MFN + 1
    bench.map(PAGE + 0x1000, second, KERNEL_PAGE)
    bench.map(ALIAS, first, rights)
    bench.map(ALIAS + 0x1000, second, rights)
    start = 0x1000 - split
    bench.ram.write((first << 12) + start, FUNCTION)
    code = Code().call(PAGE + start)
    for value in VALUES:
        code.add(store_word(ALIAS + start + 1, value)).call(PAGE + start)
        code.add(store_byte(ALIAS + start + 2, value)).call(PAGE + start)
    assert total(bench, code) == 1 + sum(value + (value << 8 | value) for value in VALUES)


def test_code_of_ring_3_changed_by_ring_1(bench: Bench) -> None:
    """Two rings have two TLBs: the page is fetched from through one, stored to through the other."""
    seen = list[int]()

    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x82:  # of ring 3, with what it saw in EAX: let ring 1 store
            seen.append(bench.cpu.eax)
            bench.kernel()
            bench.cpu.eax = len(seen) + 1
        elif trap.vector == 0x83:
            bench.user()
        else:
            bench.cpu.stop()
        if len(seen) == 5:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.map(ALIAS, USER >> 12, KERNEL_PAGE | NX)
    # mov $1, %eax; int $0x82; and for ring 1: mov %al, ALIAS + 1; int $0x83
    bench.ram.write(USER, b"\xb8\x01\x00\x00\x00\xcd\x82")
    bench.ram.write(CODE, b"\xa2" + struct.pack("<I", ALIAS + 1) + b"\xcd\x83")
    bench.user()
    bench.run()
    assert seen == [1, 2, 3, 4, 5]


def test_code_of_ring_1_changed_by_ring_3(bench: Bench) -> None:
    seen = list[int]()

    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x82:
            seen.append(bench.cpu.eax)
            bench.user()
            bench.cpu.eax = len(seen) + 1
        else:
            bench.kernel(eip=PAGE + F)
        if len(seen) == 5:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.map(ALIAS, MFN, USER_PAGE | NX)
    bench.ram.write((MFN << 12) + F, b"\xb8\x01\x00\x00\x00\xcd\x82")
    bench.ram.write(USER, b"\xa2" + struct.pack("<I", ALIAS + F + 1) + b"\xcd\x83")
    bench.kernel(eip=PAGE + F)
    bench.run()
    assert seen == [1, 2, 3, 4, 5]


def from_outside(bench: Bench, change: Callable[[int], None]) -> int:
    """The sum where each change is made in a trap."""
    code = Code().call(PAGE + F)
    for _ in VALUES:
        code.add(b"\xcd\x82").call(PAGE + F)
    values = iter(VALUES)

    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x82:
            change(next(values))
        else:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    return total(bench, code)


def test_changed_by_a_device(bench: Bench) -> None:
    assert from_outside(bench, lambda value: bench.ram.write((MFN << 12) + F + 1, bytes([value]))) == 15


def test_changed_by_the_hypervisor_through_the_guests_mapping(bench: Bench) -> None:
    assert from_outside(bench, lambda value: bench.cpu.write(PAGE + F + 1, bytes([value]))) == 15


def test_another_frame_in_its_place(bench: Bench) -> None:
    """What a page held is not what it holds: by the tables, and one page's flush."""

    def change(value: int) -> None:
        bench.ram.write((MFN + value << 12) + F, b"\xb8" + struct.pack("<I", value) + b"\xc3")
        bench.map(PAGE, MFN + value, KERNEL_PAGE)
        bench.cpu.flush_page(PAGE)

    assert from_outside(bench, change) == 15


def test_stores_after_a_device_dropped_the_code(bench: Bench) -> None:
    """The frame's mark is gone with its code, and comes again with the next."""
    bench.map(ALIAS, MFN, KERNEL_PAGE | NX)
    code = Code().call(PAGE + F)
    for value in VALUES:
        code.add(b"\xcd\x82")
        code.add(store_byte(ALIAS + F + 1, value)).call(PAGE + F)
        code.add(store_byte(ALIAS + F + 1, value + 1)).call(PAGE + F)
    device = iter(range(100, 200))

    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.ram.write((MFN << 12) + F + 1, bytes([next(device)]))
        else:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    assert total(bench, code) == 1 + sum(2 * value + 1 for value in VALUES)


def test_a_page_that_loses_its_right_to_be_executed_faults(bench: Bench) -> None:
    def act(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.map(PAGE, MFN, KERNEL_PAGE | NX)
            bench.cpu.flush_page(PAGE)
        else:
            bench.cpu.stop()

    bench.handler.on_trap = act
    bench.run(Code().call(PAGE + F).add(b"\xcd\x82").call(PAGE + F).add(END).bytes)
    assert bench.traps[-1] == Trap("exception", Vector.PF, 0x11, PAGE + F, 1)
    assert bench.cpu.cr2 == PAGE + F


def test_two_functions_of_a_frame_changed_one_after_the_other(fill: VcpuTlb) -> None:
    """The engine by itself sees the first store only, and no block of the frame is translated in between."""
    bench = Bench(tlb_fill=fill)
    try:
        bench.map(PAGE, MFN, KERNEL_PAGE)
        bench.map(ALIAS, MFN, KERNEL_PAGE | NX)
        for at in (F, 2 * F):
            bench.ram.write((MFN << 12) + at, FUNCTION)
        bench.cpu.esi = 0
        code = Code().call(PAGE + F).call(PAGE + 2 * F)
        for value in VALUES:
            code.add(store_byte(ALIAS + F + 1, value), store_byte(ALIAS + 2 * F + 1, value + 1))
            code.call(PAGE + 2 * F).call(PAGE + F)
        assert total(bench, code) == 2 + sum(2 * value + 1 for value in VALUES)
        assert fill.has_code(MFN)
    finally:
        bench.close()


def test_code_on_the_stack(bench: Bench) -> None:
    """Pushed, called and popped, over and over in the same place."""
    code = Code()
    for value in VALUES:
        # push the ret and the rest of the immediate, then the opcode and the value
        code.add(b"\x68" + struct.pack("<I", 0xC300)).add(b"\x68" + struct.pack("<I", 0xB8 | value << 8))
        code.add(b"\xff\xd4", ADD, b"\x83\xc4\x08")  # call *%esp; add $8, %esp
    assert total(bench, code) == sum(VALUES)
    assert bench.cpu.esp == STACK + 0x1000


def test_code_that_was_first_read_through_a_large_page(fill: VcpuTlb) -> None:
    """Such a translation is the engine's own, and may be fetched from without another fill."""
    bench = Bench(tlb_fill=fill)
    try:
        bench.map(ALIAS, MFN, KERNEL_PAGE | NX)
        bench.ram.write((MFN << 12) + F, FUNCTION)
        bench.ram.quads[(TABLES << 9) + 2] = Pte.PSE | KERNEL_PAGE  # two megabytes from 0
        large = 0x400000 + (MFN << 12)
        bench.cpu.esi = 0
        code = Code().add(store_byte(ALIAS + F + 1, 1), b"\xa1" + struct.pack("<I", large)).call(large + F)
        for value in VALUES:
            code.add(store_byte(ALIAS + F + 1, value)).call(large + F)
        assert total(bench, code) == 1 + sum(VALUES)
    finally:
        bench.close()
