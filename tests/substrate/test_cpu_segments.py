"""Ring changes and segment loads with the architectural checks."""

import struct

import pytest

from paravane.cpu import PAE, Cpu, EngineError, Ram, SegmentFault
from tests.support.cpu_bench import (
    CODE,
    DATA,
    DESCRIPTORS,
    GDT_VA,
    KERNEL_CS,
    KERNEL_DS,
    STACK,
    USER,
    USER_CS,
    USER_DS,
    Bench,
    Recorder,
    Trap,
)


@pytest.mark.parametrize(
    ("cs", "cpl", "vector", "error_code"),
    [
        pytest.param(0, 1, 13, 0, id="null"),
        pytest.param(3, 3, 13, 0, id="null-with-rpl"),
        pytest.param(0x1001, 1, 13, 0x1000, id="beyond-gdt"),
        pytest.param(0x0D, 1, 13, 0x0C, id="no-ldt"),
        pytest.param(KERNEL_DS, 1, 13, KERNEL_DS & ~3, id="data"),
        pytest.param(0x29, 1, 11, 0x28, id="not-present"),
        pytest.param(0x38, 0, 13, 0x38, id="ring-0"),
        pytest.param(0x39, 1, 13, 0x38, id="dpl-0-with-rpl-1"),
        pytest.param(USER_CS, 1, 13, USER_CS & ~3, id="rpl-above-cpl"),
        pytest.param(KERNEL_CS, 3, 13, KERNEL_CS & ~3, id="rpl-below-cpl"),
        pytest.param(0x61, 1, 13, 0x60, id="task-state"),
        pytest.param(0x68, 0, 13, 0x68, id="conforming-with-cpl-0"),
        pytest.param(0xF9, 1, 13, 0xF8, id="empty-descriptor"),
    ],
)
def test_enter_refuses_code_segments_as_hardware_does(
    bench: Bench, cs: int, cpl: int, vector: int, error_code: int
) -> None:
    before = bench.cpu.cs, bench.cpu.ss, bench.cpu.cpl, bench.cpu.eip
    with pytest.raises(SegmentFault) as refused:
        bench.cpu.enter(cs=cs, eip=0, eflags=2, cpl=cpl)
    assert (refused.value.vector, refused.value.error_code) == (vector, error_code)
    assert (bench.cpu.cs, bench.cpu.ss, bench.cpu.cpl, bench.cpu.eip) == before


@pytest.mark.parametrize(
    ("ss", "vector", "error_code"),
    [
        pytest.param(0, 13, 0, id="null"),
        pytest.param(0x31, 12, 0x30, id="not-present"),
        pytest.param(0x49, 13, 0x48, id="read-only"),
        pytest.param(KERNEL_CS, 13, KERNEL_CS & ~3, id="code"),
        pytest.param(USER_DS, 13, USER_DS & ~3, id="other-ring"),
        pytest.param(0x13, 13, 0x10, id="rpl-3"),
    ],
)
def test_enter_refuses_stack_segments_as_hardware_does(
    bench: Bench, ss: int, vector: int, error_code: int
) -> None:
    with pytest.raises(SegmentFault) as refused:
        bench.cpu.enter(cs=KERNEL_CS, eip=CODE, eflags=2, cpl=1, ss=ss)
    assert (refused.value.vector, refused.value.error_code) == (vector, error_code)


def test_enter_refuses_an_eip_beyond_the_limit(bench: Bench) -> None:
    bench.cpu.enter(cs=0x71, eip=0xFFFF, eflags=2, cpl=1)
    with pytest.raises(SegmentFault) as refused:
        bench.cpu.enter(cs=0x71, eip=0x10000, eflags=2, cpl=1)
    assert (refused.value.vector, refused.value.error_code) == (13, 0)


def test_conforming_code_of_a_lower_ring_may_be_entered_but_stays_in_the_ring(bench: Bench) -> None:
    bench.cpu.enter(cs=0x69, eip=CODE, eflags=0x202, cpl=1)
    assert bench.run(b"\xcd\x20\xfa") == [Trap("interrupt", 0x20, 0, CODE + 2, 1)]
    assert bench.run() == [Trap("exception", 13, 0, CODE + 2, 1)]


def test_enter_ring_3_takes_away_ring_1_data_segments(bench: Bench) -> None:
    bench.cpu.load_segment("fs", USER_DS)
    bench.cpu.load_segment("gs", KERNEL_DS)
    bench.cpu.enter(cs=USER_CS, eip=USER, eflags=0x202, cpl=3, ss=USER_DS, esp=USER + 0x800)
    cpu = bench.cpu
    assert (cpu.cpl, cpu.ds, cpu.es, cpu.fs, cpu.gs) == (3, 0, 0, USER_DS, 0)
    assert bench.run(b"\xcd\x20", at=USER) == [Trap("interrupt", 0x20, 0, USER + 2, 3)]
    assert bench.cpu.esp == USER + 0x800


def test_enter_without_stack_keeps_it(bench: Bench) -> None:
    bench.cpu.esp = STACK + 0x123
    bench.cpu.enter(cs=KERNEL_CS, eip=CODE, eflags=0x202, cpl=1)
    assert (bench.cpu.ss, bench.cpu.esp) == (KERNEL_DS, STACK + 0x123)


def test_enter_from_inside_a_handler(bench: Bench) -> None:
    bench.code(b"\xcd\x22", at=USER)
    bench.handler.on_trap = lambda trap: bench.user() if trap.cpl == 1 else bench.cpu.stop()
    bench.run(b"\xcd\x82")
    assert bench.traps[-1] == Trap("interrupt", 0x22, 0, USER + 2, 3)


@pytest.mark.parametrize(
    ("selector", "cpl", "vector", "error_code"),
    [
        pytest.param(KERNEL_DS, 3, 13, KERNEL_DS & ~3, id="too-privileged"),
        pytest.param(0x13, 1, 13, 0x10, id="rpl-too-high"),
        pytest.param(0x31, 1, 11, 0x30, id="not-present"),
        pytest.param(0x51, 1, 13, 0x50, id="execute-only"),
        pytest.param(0x61, 1, 13, 0x60, id="system"),
        pytest.param(0x40, 1, 13, 0x40, id="dpl-0"),
        pytest.param(0x8001, 1, 13, 0x8000, id="beyond-gdt"),
    ],
)
def test_data_segments_are_refused_as_hardware_does(
    bench: Bench, selector: int, cpl: int, vector: int, error_code: int
) -> None:
    with pytest.raises(SegmentFault) as refused:
        bench.cpu.load_segment("fs", selector, cpl=cpl)
    assert (refused.value.vector, refused.value.error_code) == (vector, error_code)


@pytest.mark.parametrize("name", ["ds", "es", "fs", "gs"])
def test_null_selectors_load_into_data_segments_only(bench: Bench, name: str) -> None:
    bench.cpu.load_segment(name, 3)
    assert bench.cpu.selector(name) == 3
    with pytest.raises(SegmentFault) as refused:
        bench.cpu.load_segment("ss", 0)
    assert refused.value.error_code == 0


def test_loaded_base_is_what_the_guest_addresses_through(bench: Bench) -> None:
    bench.ram.write(DATA + 0x10, struct.pack("<I", 0xCAFE))
    bench.cpu.load_segment("gs", 0x59)
    assert bench.cpu.segment_base("gs") == 0x2340
    # mov %gs:disp32,%eax ; int $0x20
    bench.run(b"\x65\xa1" + struct.pack("<I", DATA + 0x10 - 0x2340) + b"\xcd\x20")
    assert bench.cpu.eax == 0xCAFE


def test_default_data_segment_with_a_base_is_honoured(bench: Bench) -> None:
    bench.ram.write(DATA + 0x10, struct.pack("<I", 0xBEEF))
    bench.cpu.load_segment("ds", 0x59)
    bench.run(b"\xa1" + struct.pack("<I", DATA + 0x10 - 0x2340) + b"\xcd\x20")
    assert bench.cpu.eax == 0xBEEF


def test_loading_a_segment_sets_its_accessed_bit_even_where_the_table_is_read_only(bench: Bench) -> None:
    bench.map(GDT_VA, 0x1F, 1)
    assert not bench.cpu.read(GDT_VA + 11 * 8 + 5, 1)[0] & 1
    bench.cpu.load_segment("gs", 0x59)
    assert bench.cpu.read(GDT_VA + 11 * 8 + 5, 1)[0] & 1


def test_ldt_selectors_work_once_the_ldt_is_loaded(bench: Bench) -> None:
    bench.ram.write(DATA, struct.pack("<2Q", 0, DESCRIPTORS[2]))
    with pytest.raises(SegmentFault):
        bench.cpu.load_segment("fs", 0x0D)
    bench.cpu.set_ldt(DATA, 15)
    bench.cpu.load_segment("fs", 0x0D)
    # mov $0xd,%ax ; mov %ax,%gs, natively
    bench.run(b"\x66\xb8\x0d\x00\x8e\xe8\xcd\x20")
    assert bench.cpu.gs == 0x0D
    bench.cpu.set_ldt(0, 0)
    bench.kernel()
    assert bench.run() == [Trap("exception", 13, 0x0C, CODE + 4, 1)]


def test_table_loaded_in_a_handler_counts_at_once(bench: Bench) -> None:
    bench.ram.write(DATA, struct.pack("<16Q", *(DESCRIPTORS.get(i, 0) for i in range(14)), 0, DESCRIPTORS[2]))

    def swap(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.cpu.set_gdt(DATA, 127)
            bench.cpu.ecx = 77
        else:
            bench.cpu.stop()

    bench.handler.on_trap = swap
    assert bench.run(b"\xcd\x82\x66\xb8\x79\x00\x8e\xe8\xcd\x20")[-1].vector == 0x20
    assert (bench.cpu.gs, bench.cpu.ecx) == (0x79, 77)


def test_an_unmapped_descriptor_table_refuses_every_selector(bench: Bench) -> None:
    bench.cpu.set_gdt(0x700000, 0xFF)
    with pytest.raises(SegmentFault) as refused:
        bench.cpu.load_segment("ds", KERNEL_DS)
    assert refused.value.error_code == KERNEL_DS & ~3


def test_a_new_processor_is_in_ring_1_and_cannot_be_made_to_run_in_ring_0() -> None:
    ram = Ram(16)
    handler = Recorder()
    cpu = Cpu(ram, handler, PAE)
    handler.cpu = cpu
    assert cpu.cpl == 1
    cpu._set_cpl(0)
    with pytest.raises(EngineError, match="ring 0"):
        cpu.run()
    cpu.close()
    ram.close()


def test_ring_0_forged_in_a_handler_ends_the_run(bench: Bench) -> None:
    bench.handler.on_trap = lambda trap: bench.cpu._set_cpl(0)
    with pytest.raises(EngineError, match="ring 0"):
        bench.run(b"\xcd\x82\xfa")
    assert len(bench.traps) == 1
