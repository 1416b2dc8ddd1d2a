"""What a whole machine costs: a hypercall from `int $0x82` to the guest's next instruction, and a boot."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from paravane import DomainConfig, Machine, StopReason, asm, load_image
from paravane.asm.elf_writer import write_elf
from paravane.hypercalls import table
from paravane.tools.lines import Lines
from paravane.tools.trace_output import DirectSink, TraceOutput
from paravane.tools.trace_process import TraceProcess
from paravane.trace import Header, Kind
from paravane.trace.filters import parse
from paravane.trace.forms import FORMS
from paravane.trace.unpacker import Unpacker
from tests.bench.test_bench_cpu import CALLS as FLOOR_CALLS
from tests.bench.test_bench_cpu import HYPERCALLS, BareLoop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paravane.tools.trace_output import TraceSink

CALLS = 20_000
MEMORY = 8 << 20
TARGET_FLOORS = 8
TARGET_BOOT_SECONDS = 0.5

NULL_HYPERCALLS = f"""
    .include "runtime.inc"
    XEN_NOTES null
    .text
main:
    movl ${CALLS}, %esi
1:  movl $__HYPERVISOR_xen_version, %eax
    xorl %ebx, %ebx
    int $0x82
    decl %esi
    jnz 1b
    ret
"""


def _machine(source: str) -> Machine:
    machine = Machine(Machine.size_for(MEMORY))
    machine.create(load_image(write_elf(asm.assemble_text(source))), DomainConfig(memory=MEMORY))
    return machine


def _floor(rounds: int = 20) -> float:
    """Seconds for one trap into an empty raw hook of the bare engine: the best of some runs."""
    loop = BareLoop().load(HYPERCALLS)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        loop()
        best = min(best, time.perf_counter() - start)
    return best / FLOOR_CALLS


def test_null_hypercall(benchmark: Any) -> None:
    """The figure is that of a whole run, divided by its hypercalls; the run itself adds a millisecond."""

    def setup() -> tuple[tuple[Machine], dict[str, object]]:
        return (_machine(NULL_HYPERCALLS),), {}

    def run(machine: Machine) -> None:
        assert machine.run().reason is StopReason.DONE
        machine.close()

    benchmark.pedantic(run, setup=setup, rounds=10)
    _report(benchmark, CALLS, _floor, TARGET_FLOORS)


def test_observed_hypercall(benchmark: Any) -> None:
    """The same while somebody subscribes to hypercalls, and drops the records."""

    def setup() -> tuple[tuple[Machine], dict[str, object]]:
        machine = _machine(NULL_HYPERCALLS)
        machine.trace.subscribe(lambda record: None, (Kind.HYPERCALL,))
        return (machine,), {}

    def run(machine: Machine) -> None:
        assert machine.run().reason is StopReason.DONE
        machine.close()

    benchmark.pedantic(run, setup=setup, rounds=10)
    _report(benchmark, CALLS, _floor, None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sink", ["process", "direct"])
def test_traced_hypercall(benchmark: Any, tmp_path: Path, sink: str, form: str) -> None:
    """The same while every hypercall is written to a file, up to where the file is complete; by a process of
    its own, or by the machine's."""

    def setup() -> tuple[tuple[Machine, TraceSink], dict[str, object]]:
        machine = _machine(NULL_HYPERCALLS)
        fileno = os.open(tmp_path / "trace", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        unpacker = Unpacker(FORMS[form].writer(), table)
        made: TraceSink
        if sink == "process":
            made = TraceProcess(fileno, unpacker, Header())
        else:
            made = DirectSink(Lines(fileno), unpacker, Header())
        TraceOutput(made, parse("hypercall")).join(machine)
        return (machine, made), {}

    def run(machine: Machine, made: TraceSink) -> None:
        assert machine.run().reason is StopReason.DONE
        machine.close()
        made.finish()
        assert made.drain(None, lambda: False) == 0
        made.close()

    benchmark.pedantic(run, setup=setup, rounds=10)
    _report(benchmark, CALLS, _floor, None)


def test_boot_hello_by_the_command(benchmark: Any) -> None:
    """From the shell to the guest's end and back; an interpreter that does nothing is the floor."""

    def boot() -> None:
        subprocess.run(
            [sys.executable, "-m", "paravane.tools.cli", "boot", "hello"], check=True, capture_output=True
        )

    def bare() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        return time.perf_counter() - start

    benchmark.pedantic(boot, rounds=5)
    _report(benchmark, 1, bare, None)
    benchmark.extra_info["target_seconds"] = TARGET_BOOT_SECONDS


def _report(benchmark: Any, operations: int, floor: Callable[[], float], target: float | None) -> None:
    """Cost of one operation beside its floor; without figures when the benchmark is a smoke test."""
    if benchmark.stats is None:
        return
    cost, bare = benchmark.stats.stats.min / operations, floor()
    benchmark.extra_info.update(
        microseconds=round(cost * 1e6, 3),
        floor_microseconds=round(bare * 1e6, 3),
        floors=round(cost / bare, 2),
    )
    if target is not None:
        benchmark.extra_info["target_floors"] = target
