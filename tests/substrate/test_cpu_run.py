"""Starting, stopping, budgets, failures."""

import os
import signal
import struct
import threading
import time

import pytest

from paravane.cpu import PAE, Cpu, EngineError, Ram, RunEnd, SliceTimer, processor
from tests.support.boot import HOST_TIMEOUT
from tests.support.cpu_bench import CODE, DATA, Bench, Recorder, Trap

SPIN = b"\xeb\xfe"
COUNT = b"\x41\xeb\xfd"  # inc %ecx ; jmp


def test_stop_in_a_handler_ends_the_run_after_it(bench: Bench) -> None:
    bench.code(b"\xcd\x82\x40\xcd\x83")
    assert bench.cpu.run() is RunEnd.STOPPED
    assert [trap.vector for trap in bench.traps] == [0x82]
    assert bench.cpu.run() is RunEnd.STOPPED
    assert bench.cpu.eax == 1


def test_stop_before_a_run_ends_it_at_once(bench: Bench) -> None:
    bench.cpu.stop()
    assert bench.cpu.run() is RunEnd.STOPPED
    assert bench.cpu.eip == CODE
    assert bench.run(b"\xcd\x20") == [Trap("interrupt", 0x20, 0, CODE + 2, 1)]


def test_stop_from_another_thread_ends_a_spinning_guest(bench: Bench) -> None:
    bench.code(SPIN)
    for _ in range(20):
        timer = threading.Timer(0.002, bench.cpu.stop)
        timer.start()
        assert bench.cpu.run() is RunEnd.STOPPED
        timer.join()
        assert bench.cpu.eip == CODE


def test_who_stops_a_run_is_let_go_when_it_has_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when it looks again: whoever disarms a slice timer waits for it."""
    monkeypatch.setattr(processor, "_STOP_PAUSE", 600.0)
    bench.code(b"\xcd\x82" + SPIN)
    thread = threading.Thread(target=bench.cpu.stop, daemon=True)
    bench.handler.on_trap = lambda trap: thread.start()
    assert bench.cpu.run() is RunEnd.STOPPED
    thread.join(HOST_TIMEOUT)
    assert not thread.is_alive()


def test_stop_racing_with_the_start_is_not_lost(bench: Bench) -> None:
    bench.code(SPIN)
    go = threading.Event()
    done = threading.Event()

    def stopper() -> None:
        while not done.is_set():
            if go.wait(0.1):
                go.clear()
                bench.cpu.stop()

    thread = threading.Thread(target=stopper)
    thread.start()
    for _ in range(200):
        go.set()
        assert bench.cpu.run() is RunEnd.STOPPED
    done.set()
    thread.join()


def test_registers_are_whole_after_a_stop_between_blocks(bench: Bench) -> None:
    # Count from when the other thread is there: int $0x82; 1: inc %ecx; jmp 1b
    bench.code(b"\xcd\x82" + COUNT)
    bench.cpu.ecx = 0

    def stop() -> None:
        while bench.cpu.ecx <= 1000:
            time.sleep(0)
        bench.cpu.stop()

    stopper = threading.Thread(target=stop)
    bench.handler.on_trap = lambda trap: stopper.start()
    assert bench.cpu.run() is RunEnd.STOPPED
    stopper.join()
    assert bench.cpu.ecx > 1000
    assert bench.cpu.eip == CODE + 2


def test_slice_timer_ends_runs_only_while_armed(bench: Bench) -> None:
    bench.code(SPIN)
    with SliceTimer(0.002) as timer:
        timer.arm(bench.cpu)
        for _ in range(5):
            assert bench.cpu.run() is RunEnd.STOPPED
        timer.disarm()
        bench.cpu.run(instructions=1)
        assert bench.cpu.run(instructions=1000) is RunEnd.BUDGET
        time.sleep(0.006)
        assert bench.cpu.run(instructions=1000) is RunEnd.BUDGET


def test_slice_timer_needs_a_positive_period_and_closes_twice() -> None:
    with pytest.raises(ValueError, match="positive"):
        SliceTimer(0)
    threads = set(threading.enumerate())
    timer = SliceTimer(0.001)
    timer.start()
    timer.start()
    timer.close()
    timer.close()
    assert set(threading.enumerate()) <= threads


def test_budget_is_exact_and_reproducible(bench: Bench) -> None:
    bench.code(b"\x40" * 32 + b"\xcd\x20")
    for executed in (5, 10, 15):
        assert bench.cpu.run(instructions=5) is RunEnd.BUDGET
        assert (bench.cpu.eax, bench.cpu.eip) == (executed, CODE + executed)


def test_budget_ends_in_a_trap_when_the_handler_stops(bench: Bench) -> None:
    bench.code(b"\x40\x40\xcd\x82" + SPIN)
    assert bench.cpu.run(instructions=100) is RunEnd.STOPPED
    assert bench.cpu.eax == 2


def test_runs_with_and_without_budget_alternate_without_stray_faults(bench: Bench) -> None:
    for _ in range(3):
        bench.kernel()
        bench.code(b"\x40" * 4 + b"\xcd\x20")
        assert bench.cpu.run(instructions=2) is RunEnd.BUDGET
        assert bench.cpu.run() is RunEnd.STOPPED
        assert bench.cpu.cr2 == 0
        bench.kernel()
        assert bench.run(b"\xfa") == [Trap("exception", 13, 0, CODE, 1)]


def test_a_stop_leaves_no_stray_page_fault_behind(bench: Bench) -> None:
    bench.cpu.cr2 = 0x1234
    bench.run(b"\xcd\x20")
    assert bench.cpu.cr2 == 0x1234


class Oops(Exception):
    """Raised by handlers under test."""


@pytest.mark.parametrize("code", [b"\xcd\x82", b"\xfa", b"\x0f\x0b", b"\xec", b"\x0f\x05"], ids=bytes.hex)
def test_what_a_handler_raises_comes_out_of_run(bench: Bench, code: bytes) -> None:
    def fail(trap: Trap) -> None:
        raise Oops(trap.vector)

    bench.handler.on_trap = fail
    with pytest.raises(Oops):
        bench.run(code + SPIN)
    assert len(bench.traps) == 1
    bench.handler.on_trap = lambda trap: bench.cpu.stop()
    bench.kernel()
    assert bench.run(b"\xcd\x20") == [Trap("interrupt", 0x20, 0, CODE + 2, 1)]


def test_what_cpuid_raises_comes_out_of_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        raise Oops(leaf, subleaf)

    monkeypatch.setattr(bench.handler, "cpuid", fail)
    with pytest.raises(Oops):
        bench.run(b"\x0f\xa2" + SPIN)


def test_an_interrupt_from_the_keyboard_comes_out_of_run_once(bench: Bench) -> None:
    def raise_signal(trap: Trap) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    bench.handler.on_trap = raise_signal
    with pytest.raises(KeyboardInterrupt):
        bench.run(b"\xcd\x82" + SPIN)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_keyboard_interrupt_while_the_guest_traps_all_the_time_is_not_lost(bench: Bench) -> None:
    """The signal arrives at the very entry of a hook, where an exception would only be printed."""
    bench.code(b"\xcd\x82" + b"\xeb\xfc")
    # Only once the guest traps: before the run the signal would hit the test.
    sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))

    def on_trap(_trap: Trap) -> None:
        if len(bench.traps) == 100:
            sender.start()

    bench.handler.on_trap = on_trap
    with pytest.raises(KeyboardInterrupt):
        bench.cpu.run()
    sender.join()


def test_an_access_outside_machine_memory_is_an_engine_error_with_the_registers(bench: Bench) -> None:
    bench.set_pte(DATA, 0x7F000000 | 3)
    with pytest.raises(EngineError, match="eip=00010000"):
        bench.run(b"\xa1" + struct.pack("<I", DATA))


def test_a_page_table_outside_machine_memory_does_not_bring_the_process_down(bench: Bench) -> None:
    bench.ram.quads[(2 << 9)] = 0x7F000000 | 7
    bench.cpu.flush_tlb()
    bench.handler.on_trap = lambda trap: bench.cpu.stop()
    try:
        traps = bench.run()
    except EngineError:
        traps = []
    assert all(trap.vector == 14 for trap in traps)


def test_a_hundred_processors_come_and_go() -> None:
    ram = Ram(16)
    processors = [Cpu(ram, Recorder(), PAE) for _ in range(100)]
    for cpu in processors:
        cpu.close()
        cpu.close()
    ram.close()
