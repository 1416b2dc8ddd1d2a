"""Segments that are loaded by other tables than the engine's, and rings that no selector tells."""

from __future__ import annotations

import pytest

from paravane.cpu.segments import Descriptor
from tests.support.cpu_bench import CODE, DATA, Bench

FLAT_CODE, FLAT_DATA = 0x00CF9B00, 0x00CF9300


@pytest.fixture
def held(bench: Bench) -> Bench:
    """A processor whose GDT is empty, in ring 1 with the flat segments of a ring 0 kernel."""
    cpu = bench.cpu
    cpu.set_gdt(0, 0)
    cpu.set_ring(1)
    cpu.hold_segment("cs", Descriptor(8, 0, 0xFFFFFFFF, FLAT_CODE))
    for name in ("ds", "es", "ss"):
        cpu.hold_segment(name, Descriptor(0x10, 0, 0xFFFFFFFF, FLAT_DATA))
    return bench


def _run(bench: Bench, code: bytes) -> None:
    bench.ram.write(CODE, code)
    bench.cpu.eip = CODE
    bench.cpu.run()


def test_held_segments_are_used_and_read_back(held: Bench) -> None:
    """mov %cs, %eax; mov %ds, %ecx; mov %eax, DATA; hlt"""
    _run(held, b"\x8c\xc8\x8c\xd9\xa3" + DATA.to_bytes(4, "little") + b"\xf4")
    assert (held.cpu.eax, held.cpu.ecx, held.ram.words[DATA >> 2]) == (8, 0x10, 8)
    assert (held.traps[0].vector, held.traps[0].cpl) == (13, 1)


def test_base_of_a_held_segment_counts(held: Bench) -> None:
    """mov %ds:0, %eax; hlt"""
    held.ram.words[DATA >> 2] = 0x1234
    held.cpu.hold_segment("ds", Descriptor(0x18, DATA, 0xFFF, FLAT_DATA))
    _run(held, b"\xa1\0\0\0\0\xf4")
    assert held.cpu.eax == 0x1234


@pytest.mark.parametrize(
    "code",
    [b"\x8e\xd8", b"\x1e\x1f", b"\xea\0\0\0\0\x10\0", b"\x8e\xd0", b"\x6a\x02\x6a\x10\x6a\0\xcf"],
    ids=["mov ds", "pop ds", "ljmp", "mov ss", "iret"],
)
def test_every_load_of_a_selector_traps_without_a_table(held: Bench, code: bytes) -> None:
    held.cpu.eax, held.cpu.esp = 0x10, DATA + 0x800
    _run(held, code + b"\xf4")
    assert (held.traps[0].vector, held.traps[0].error_code) == (13, 0x10)


def test_ring_is_another_one_than_the_selector_says(held: Bench) -> None:
    held.cpu.set_ring(3)
    _run(held, b"\xf4")
    assert (held.traps[0].cpl, held.traps[0].vector) == (3, 14)  # the page is ring 1's


def test_no_ring_0_and_no_unknown_segment(held: Bench) -> None:
    with pytest.raises(ValueError, match="ring 0"):
        held.cpu.set_ring(0)
    with pytest.raises(ValueError, match="no segment register xs"):
        held.cpu.hold_segment("xs", Descriptor(0, 0, 0, 0))


def test_instruction_that_is_done_for_the_guest_ends_a_shadow(held: Bench) -> None:
    """sti; hlt: the trap at HLT still lies in the shadow of STI."""
    held.cpu.eflags = 0x1002
    _run(held, b"\xfb\xf4")
    assert held.cpu.shadowed
    held.cpu.shadowed = False
    assert not held.cpu.shadowed
    held.cpu.shadowed = True
    assert held.cpu.shadowed
