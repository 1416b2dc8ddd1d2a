"""Translated code and cached translations never outlive what they were made from."""

import struct

import pytest

from paravane.cpu import CodeGroup, Cpu, Ram
from paravane.cpu.engine.library import Engine
from tests.support.cpu_bench import (
    CODE,
    CODE_MFN,
    DATA,
    GDT_VA,
    KERNEL_CS,
    KERNEL_DS,
    KERNEL_PAGE,
    ROOT,
    STACK,
    USER,
    Bench,
    Recorder,
    Trap,
)

# mov $n,%eax ; int $0x20
ONE = b"\xb8\x01\x00\x00\x00\xcd\x20"
TWO = b"\xb8\x02\x00\x00\x00\xcd\x20"
CODE_MADDR = CODE_MFN << 12


def test_code_written_between_runs_is_executed(any_bench: Bench) -> None:
    bench = any_bench
    bench.run(ONE)
    bench.kernel()
    bench.ram.write(CODE_MADDR, TWO)
    bench.run()
    assert bench.cpu.eax == 2


def test_code_changed_through_a_view_needs_and_gets_a_notice(bench: Bench) -> None:
    bench.run(ONE)
    bench.kernel()
    bench.ram.bytes[CODE_MADDR + 1] = 9
    bench.ram.code_changed(CODE_MFN)
    bench.run()
    assert bench.cpu.eax == 9


@pytest.mark.parametrize("through", ["ram", "guest", "guest-u32"])
def test_a_handler_may_rewrite_the_page_that_trapped(bench: Bench, through: str) -> None:
    def patch(trap: Trap) -> None:
        if trap.vector == 0x20:
            bench.cpu.stop()
            return
        if through == "ram":
            bench.ram.write(CODE_MADDR + 3, b"\x02")
        elif through == "guest":
            bench.cpu.write(CODE + 3, b"\x02")
        else:
            bench.cpu.write_u32(CODE, 0x02B882CD)

    bench.handler.on_trap = patch
    bench.run(b"\xcd\x82" + ONE)
    bench.kernel()
    bench.cpu.write(CODE + 3, b"\x01")
    bench.run()
    assert bench.cpu.eax == 2


def test_a_frame_cleared_and_reused_executes_its_new_contents(bench: Bench) -> None:
    bench.run(ONE)
    bench.ram.clear_frame(CODE_MFN)
    bench.kernel()
    # 00 00 is `add %al,(%eax)`, which faults on a null EAX.
    bench.cpu.eax = 0
    assert bench.run()[0].vector == 14


def test_code_reached_only_through_jumps_is_noticed_too(bench: Bench) -> None:
    """Blocks chained after the first of a run are translated out of sight."""
    bench.code(ONE, at=DATA)
    bench.code(b"\xe9" + struct.pack("<i", DATA - CODE - 5))
    bench.run()
    bench.kernel()
    bench.ram.write(DATA, TWO)
    bench.run()
    assert bench.cpu.eax == 2


def test_code_after_traps_only_is_noticed_too(bench: Bench) -> None:
    """No block ever runs to its end here: each ends in a trap."""
    bench.code(ONE, at=DATA)

    def onward(trap: Trap) -> None:
        if trap.vector == 0x20:
            bench.cpu.stop()
        else:
            bench.cpu.eip = DATA

    bench.handler.on_trap = onward
    bench.run(b"\xcd\x82")
    bench.ram.write(DATA, TWO)
    bench.kernel()
    bench.run()
    assert bench.cpu.eax == 2


def test_an_instruction_across_two_pages_is_noticed_on_the_second(bench: Bench) -> None:
    start = DATA - 3
    bench.code(b"\xeb\x00", at=CODE)
    bench.ram.write((CODE_MFN << 12) + 0xFFD, ONE)
    bench.cpu.eip = start
    bench.run()
    assert bench.cpu.eax == 1
    bench.ram.write((CODE_MFN + 1) << 12, b"\x07")
    bench.cpu.eip = start
    bench.run()
    assert bench.cpu.eax == 0x070001


def test_code_in_a_user_page_is_dropped_from_ring_1_and_3(bench: Bench) -> None:
    bench.user()
    bench.run(ONE, at=USER)
    bench.ram.write(USER, TWO)
    bench.user()
    bench.run()
    assert bench.cpu.eax == 2
    assert bench.cpu.cpl == 3


def test_guest_store_through_another_mapping_is_executed(bench: Bench) -> None:
    bench.map(0x30000, CODE_MFN, 3)
    bench.run(ONE)
    bench.kernel()
    # movb $5, 0x30000+n ; jmp to the patched code at CODE+0x100
    bench.code(ONE, at=CODE + 0x100)
    bench.run(b"", at=CODE)
    bench.cpu.eip = CODE + 0x100
    bench.run()
    bench.kernel()
    bench.run(b"\xc6\x05" + struct.pack("<I", 0x30101) + b"\x05\xe9" + struct.pack("<i", 0x100 - 12))
    assert bench.cpu.eax == 5


def second_cpu(bench: Bench, group: CodeGroup) -> Cpu:
    handler = Recorder()
    cpu = Cpu(bench.ram, handler, group=group)
    handler.cpu = cpu
    cpu.cr3 = ROOT << 12
    cpu.set_gdt(GDT_VA, 255)
    return cpu


def enter(cpu: Cpu, eip: int) -> None:
    cpu.enter(cs=KERNEL_CS, eip=eip, eflags=0x202, cpl=1, ss=KERNEL_DS, esp=STACK + 0x800)
    cpu.load_segment("ds", KERNEL_DS)


def test_host_writes_reach_every_processor(bench: Bench) -> None:
    other = second_cpu(bench, CodeGroup())
    bench.run(ONE)
    enter(other, CODE)
    other.run()
    bench.ram.write(CODE_MADDR, TWO)
    bench.kernel()
    bench.run()
    enter(other, CODE)
    other.run()
    assert (bench.cpu.eax, other.eax) == (2, 2)
    other.close()


def test_stores_of_one_vcpu_reach_the_code_of_another() -> None:
    group = CodeGroup()
    bench = Bench()
    first, second = second_cpu(bench, group), second_cpu(bench, group)
    bench.code(ONE)
    for cpu in (first, second):
        enter(cpu, CODE)
        cpu.run()
        assert cpu.eax == 1
    # The first one's guest patches the immediate; the second must execute the new one.
    bench.code(b"\xc6\x05" + struct.pack("<I", CODE + 1) + b"\x06\xcd\x20", at=DATA)
    enter(first, DATA)
    first.run()
    enter(second, CODE)
    second.run()
    assert second.eax == 6
    for cpu in (first, second):
        cpu.close()
    bench.close()


def test_dropping_very_many_frames_drops_everything() -> None:
    bench = Bench(nr_frames=256)
    first, count = 100, 100
    for mfn in range(first, first + count):
        bench.map(mfn << 12, mfn, KERNEL_PAGE)
    to_the_next = (b"\xe9" + struct.pack("<i", 0x1000 - 5)).ljust(0x1000, b"\0") * (count - 1)
    for tail, result in ((ONE, 1), (TWO, 2)):
        bench.ram.write(first << 12, to_the_next + tail)
        bench.kernel(first << 12)
        bench.run()
        assert bench.cpu.eax == result
    bench.close()


def test_page_table_edits_by_the_host_show_after_a_flush(any_bench: Bench) -> None:
    bench = any_bench
    bench.cpu.write_u32(DATA, 111)
    bench.cpu.write_u32(STACK, 222)

    def remap(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.map(DATA, STACK >> 12, 3)
            bench.cpu.flush_page(DATA)
        else:
            bench.cpu.stop()

    bench.handler.on_trap = remap
    load = b"\xa1" + struct.pack("<I", DATA)
    bench.run(load + b"\x89\xc3\xcd\x82" + load + b"\xcd\x20")
    assert (bench.cpu.ebx, bench.cpu.eax) == (111, 222)


def test_page_table_edits_between_runs_show_after_a_flush(any_bench: Bench) -> None:
    bench = any_bench
    load = b"\xa1" + struct.pack("<I", DATA) + b"\xcd\x20"
    assert bench.run(load)[0].kind == "interrupt"
    bench.map(DATA, 0, 0)
    bench.cpu.flush_tlb()
    bench.kernel()
    assert bench.run() == [Trap("exception", 14, 0, CODE, 1)]


def test_cr3_written_in_a_handler_counts_at_once(bench: Bench) -> None:
    tables = bench.ram.read(ROOT << 12, 3 << 12)
    bench.ram.write(40 << 12, tables)
    bench.ram.quads[40 << 9] = 41 << 12 | 1
    bench.ram.quads[41 << 9] = 42 << 12 | 7
    bench.ram.quads[(42 << 9) + (DATA >> 12)] = (STACK >> 12) << 12 | 3
    bench.cpu.write_u32(DATA, 111)
    bench.cpu.write_u32(STACK, 222)

    def switch(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.cpu.cr3 = 40 << 12
        else:
            bench.cpu.stop()

    bench.handler.on_trap = switch
    load = b"\xa1" + struct.pack("<I", DATA)
    bench.run(load + b"\x89\xc3\xcd\x82" + load + b"\xcd\x20")
    assert (bench.cpu.ebx, bench.cpu.eax) == (111, 222)
    assert bench.cpu.read_u32(DATA) == 222


def test_host_writes_into_frames_without_code_drop_nothing(bench: Bench) -> None:
    bench.run(ONE)
    bench.ram.write(DATA, b"data")
    assert not bench.cpu._stale
    assert bench.ram.code_map[CODE_MFN]
    assert isinstance(bench.ram, Ram)


def test_code_that_a_processor_never_translated_is_not_its_to_drop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[Engine] = []

    def remove_code(engine: Engine, address: int, size: int) -> None:
        dropped.append(engine)

    other = second_cpu(bench, CodeGroup())
    try:
        bench.run(ONE)
        bench.code(TWO, at=DATA)
        enter(other, DATA)
        other.run()
        monkeypatch.setattr(Engine, "remove_code", remove_code)
        bench.ram.write(CODE_MADDR + 0x800, ONE)
        enter(other, DATA)
        other.run()
        assert dropped == []
        bench.kernel()
        bench.run()
        assert len(dropped) == 1
    finally:
        other.close()
