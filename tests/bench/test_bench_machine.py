"""What a hypercall costs while somebody looks, from `int $0x82` to the guest's next instruction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from paravane import DomainConfig, Machine, StopReason, asm, load_image
from paravane.asm.elf_writer import write_elf
from paravane.hypercalls import table
from paravane.tools.bench import bare
from paravane.tools.lines import Lines
from paravane.tools.trace_output import DirectSink, TraceOutput
from paravane.tools.trace_process import TraceProcess
from paravane.trace import Header, Kind
from paravane.trace.filters import parse
from paravane.trace.forms import FORMS
from paravane.trace.unpacker import Unpacker

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.tools.trace_output import TraceSink

CALLS = 20_000
MEMORY = 8 << 20

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


def test_observed_hypercall(benchmark: Any) -> None:
    """Somebody subscribes to hypercalls, and drops the records. The figure is that of a whole run, divided by
    its hypercalls; the run itself adds a millisecond."""

    def setup() -> tuple[tuple[Machine], dict[str, object]]:
        machine = _machine(NULL_HYPERCALLS)
        machine.trace.subscribe(lambda record: None, (Kind.HYPERCALL,))
        return (machine,), {}

    def run(machine: Machine) -> None:
        assert machine.run().reason is StopReason.DONE
        machine.close()

    benchmark.pedantic(run, setup=setup, rounds=10)
    _report(benchmark)


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
    _report(benchmark)


def _report(benchmark: Any) -> None:
    """Cost of one hypercall beside its floor; without figures when the benchmark is a smoke test."""
    if benchmark.stats is None:
        return
    cost, floor = benchmark.stats.stats.min / CALLS, bare.least("trap")
    benchmark.extra_info.update(
        microseconds=round(cost * 1e6, 3),
        floor_microseconds=round(floor * 1e6, 3),
        floors=round(cost / floor, 2),
    )
