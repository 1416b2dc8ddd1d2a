"""Traps beside the floor: what the same loop costs when the hypervisor only steps over the trap."""

from collections.abc import Callable, Iterator
from time import perf_counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from paravane.abi.trap import TI_IF
from tests.support.trap_machine import KERNEL, UNMAPPED, USER, TrapMachine, handler

REPEATS = 500
DONE = 0x21
ADD_4_TO_ESP, ADD_5_TO_EIP, IRET = b"\x83\xc4\x04", b"\x83\x04\x24\x05", b"\xcf"


def loop(body: bytes) -> bytes:
    """mov $REPEATS, %ecx; 1: body; dec %ecx; jnz 1b; int $DONE"""
    back = (-(len(body) + 3)) & 0xFF
    return b"\xb9" + REPEATS.to_bytes(4, "little") + body + bytes((0x49, 0x75, back, 0xCD, DONE))


class Served(TrapMachine):
    """A machine whose guest runs until it executes `int $DONE`."""

    def exception(self, vector: int, error_code: int) -> None:
        self.traps.exception(vector, error_code)

    def interrupt(self, vector: int) -> None:
        if vector == DONE:
            self.cpu.stop()
        else:
            self.traps.interrupt(vector)


class Floor(Served):
    """The same, stepping over every trap: nothing is delivered, nothing is looked at."""

    step = 0

    def exception(self, vector: int, error_code: int) -> None:
        self.cpu.eip += self.step

    def interrupt(self, vector: int) -> None:
        if vector == DONE:
            self.cpu.stop()


CASES = {
    "system call, direct": (3, b"\xcd\x80", 2),
    "system call, bounced": (3, b"\xcd\x81", 2),
    "page fault to the handler and back": (3, b"\xa1" + (UNMAPPED + 4).to_bytes(4, "little"), 5),
    "emulated mov %cr0, %eax": (1, b"\x0f\x20\xc0", 3),
    "emulated in %dx, %al": (1, b"\xec", 1),
}


def prepared(machine: Served, case: str) -> Callable[[], None]:
    """A function that runs the loop of `case` once."""
    ring, body, step = CASES[case]
    if isinstance(machine, Floor):
        machine.step = step
    machine.install_all()
    machine.install(0x80, TI_IF)
    machine.traps.observe(None)
    machine.traps.state.iopl = 1
    machine.ram.write(handler(0x80), IRET)
    machine.ram.write(handler(0x81), IRET)
    machine.ram.write(handler(14), ADD_4_TO_ESP + ADD_5_TO_EIP + IRET)
    machine.ram.write(KERNEL if ring == 1 else USER, loop(body))

    def run() -> None:
        machine.enter_ring(ring)
        machine.cpu.edx = 0x300
        machine.cpu.run()

    run()
    return run


def best(run: Callable[[], None]) -> float:
    """Seconds of the fastest of a few runs."""
    times = []
    for _ in range(20):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


@pytest.fixture
def machines() -> Iterator[tuple[Served, Floor]]:
    pair = Served(), Floor()
    yield pair
    for machine in pair:
        machine.close()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["floor", "served"])
def test_trap_cost(benchmark: BenchmarkFixture, machines: tuple[Served, Floor], case: str, kind: str) -> None:
    served, floor = machines
    machine = floor if kind == "floor" else served
    run = prepared(machine, case)
    benchmark.group = case
    benchmark.extra_info["traps"] = REPEATS
    benchmark(run)
    if machine is served:
        if benchmark.stats is not None:
            benchmark.extra_info["times the floor"] = benchmark.stats["min"] / best(prepared(floor, case))
        counters = served.traps.counters
        taken = counters.direct if case.endswith("direct") else counters.emulated + counters.bounced
        assert taken >= 2 * REPEATS
