"""What the processor costs, next to the engine alone: figures in `extra_info`, no assertion on time."""

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from unicorn import x86_const as x86

from paravane.cpu import Cpu, Ram
from paravane.tools.bench.bare import IN_C, IN_PYTHON, BareEngine
from tests.support.cpu_bench import CODE, DATA, GDT_VA, KERNEL_CS, KERNEL_DS, ROOT, STACK, Bench

CALLS = 2000
STEPS = 5_000_000
# DR7: breakpoint 0 enabled, on writes, four bytes.
WATCH_WRITES = 0xD0002


def imm32(value: int) -> bytes:
    return struct.pack("<I", value)


# mov $CALLS,%ecx ; 1: int $0x82 ; dec %ecx ; jnz 1b ; int $0x20
HYPERCALLS = b"\xb9" + imm32(CALLS) + b"\xcd\x82\x49\x75\xfb\xcd\x20"
# mov $STEPS,%ecx ; 1: add %eax,%ebx ; xor %ebx,%edx ; dec %ecx ; jnz 1b ; int $0x20
STRAIGHT = b"\xb9" + imm32(STEPS) + b"\x01\xc3\x31\xda\x49\x75\xf9\xcd\x20"


def stores_to(va: int, steps: int = STEPS) -> bytes:
    """mov $steps,%ecx ; 1: mov %ecx,va ; dec %ecx ; jnz 1b ; int $0x20"""
    return b"\xb9" + imm32(steps) + b"\x89\x0d" + imm32(va) + b"\x49\x75\xf7\xcd\x20"


class HypercallHandler:
    """Serves int 0x82 as a hypercall table would: registers in one go, the ring, a result."""

    def __init__(self) -> None:
        self.cpu: Cpu
        self.served = 0

    def exception(self, vector: int, error_code: int) -> None:
        raise AssertionError(f"vector {vector}, error code {error_code:#x}")

    def interrupt(self, vector: int) -> None:
        cpu = self.cpu
        if vector == 0x20:
            cpu.stop()
            return
        number, *_arguments = cpu.gprs()
        if cpu.cpl == 1:
            self.served += 1
        cpu.eax = number & 0

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return leaf, subleaf, 0, 0


@pytest.fixture
def machine() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def best_of(function: Callable[[], object], rounds: int = 5) -> float:
    """Shortest of a few rounds, in seconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def compare(benchmark: Any, ours: Callable[[], None], routine: str, per: int, hook: Any = IN_C) -> None:
    """Benchmark `ours` and note its cost beside that of a routine of floors, in nanoseconds per operation."""
    benchmark(ours)
    with BareEngine(hook) as engine:
        lowest = best_of(lambda: engine.execute(routine, per))
    reached = best_of(ours)
    benchmark.extra_info["floor_ns"] = round(lowest / per * 1e9, 1)
    benchmark.extra_info["ours_ns"] = round(reached / per * 1e9, 1)
    benchmark.extra_info["ratio"] = round(reached / lowest, 2)


def guest_loop(bench: Bench, cpu: Cpu, code: bytes) -> Callable[[], None]:
    bench.code(code)

    def run() -> None:
        cpu.enter(cs=KERNEL_CS, eip=CODE, eflags=0x202, cpl=1, ss=KERNEL_DS, esp=STACK + 0x1000)
        cpu.load_segment("ds", KERNEL_DS)
        cpu.run()

    return run


def test_null_hypercall_against_an_empty_hook(benchmark: Any, machine: Bench) -> None:
    handler = HypercallHandler()
    cpu = Cpu(machine.ram, handler)
    handler.cpu = cpu
    cpu.cr3 = ROOT << 12
    cpu.set_gdt(GDT_VA, 255)
    compare(benchmark, guest_loop(machine, cpu, HYPERCALLS), "trap", CALLS, IN_PYTHON)
    assert handler.served >= CALLS
    assert handler.served % CALLS == 0
    cpu.close()


def test_straight_line_code_against_the_engine_alone(benchmark: Any, machine: Bench) -> None:
    compare(benchmark, guest_loop(machine, machine.cpu, STRAIGHT), "straight", STEPS)
    assert machine.cpu.ecx == 0


def test_stores_into_no_execute_pages_against_the_engine_alone(benchmark: Any, machine: Bench) -> None:
    machine.set_pte(DATA, 17 << 12 | 3 | 1 << 63)
    ours = guest_loop(machine, machine.cpu, stores_to(DATA))
    compare(benchmark, ours, "store", STEPS)
    assert machine.cpu.read_u32(DATA) == 1


@pytest.mark.parametrize("size", [4, 64, 4096])
def test_guest_read(benchmark: Any, machine: Bench, size: int) -> None:
    machine.cpu.write(DATA, bytes(range(256)) * 16)
    assert benchmark(machine.cpu.read, DATA, size)[:4] == b"\x00\x01\x02\x03"


@pytest.mark.parametrize("size", [4, 64, 4096])
def test_guest_write(benchmark: Any, machine: Bench, size: int) -> None:
    benchmark(machine.cpu.write, DATA, b"\xa5" * size)
    assert machine.ram.read(DATA, size) == b"\xa5" * size


def test_read_u32(benchmark: Any, machine: Bench) -> None:
    machine.cpu.write_u32(DATA, 77)
    assert benchmark(machine.cpu.read_u32, DATA) == 77


def test_translate(benchmark: Any, machine: Bench) -> None:
    assert benchmark(machine.cpu.translate, DATA) == 17 << 12


def test_flush(benchmark: Any, machine: Bench) -> None:
    """The flush itself: what a trap pays when its handler asked for one."""
    benchmark(machine.cpu._engine.flush_tlb)
    assert machine.cpu._engine.read_register(x86.UC_X86_REG_CR3) in (0, ROOT << 12)


def test_new_processor(benchmark: Any) -> None:
    ram = Ram(16)

    def create() -> int:
        cpu = Cpu(ram, HypercallHandler())
        ring = cpu.cpl
        cpu.close()
        return ring

    assert benchmark(create) == 1
    ram.close()


def test_stores_beside_a_watched_word_and_after_it(benchmark: Any, machine: Bench) -> None:
    """What an armed data breakpoint costs every store, and that it costs nothing once it is disabled."""
    # Watched, one takes a hundred times as long.
    run = guest_loop(machine, machine.cpu, stores_to(DATA, STEPS // 20))
    free = best_of(run)
    machine.cpu.set_dr(0, DATA + 0x100)
    machine.cpu.set_dr(7, WATCH_WRITES)
    watched = best_of(run)
    machine.cpu.set_dr(7, 0)
    benchmark(run)
    benchmark.extra_info["watched / free"] = round(watched / free, 1)
    benchmark.extra_info["afterwards / free"] = round(best_of(run) / free, 2)
