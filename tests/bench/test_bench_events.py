"""What an event costs, from the hypercall that sends it to the handler and back, in and between domains; and
what a timer does, from the hypercall that sets it to its handler."""

from __future__ import annotations

import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from paravane import DomainConfig, Machine, StopReason, asm, load_image
from paravane.asm.elf_writer import write_elf
from paravane.tools.bench import bare
from tests.support.event_machine import EventMachine

if TYPE_CHECKING:
    from collections.abc import Callable

KERNEL = Path(__file__).parents[2] / "guest_kernels" / "pingpong" / "pingpong.S"
MEMORY = 4 << 20
BALLS = 1000
SENDS = 1000
ALARMS = 1000

ALARM = f"""
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    XEN_NOTES timer
    .bss
taken:
    .skip 4
    .text
main:
    call events_init
    movl $VCPUOP_stop_periodic_timer, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    MUST stop_periodic_timer
    movl $VIRQ_TIMER, %eax
    xorl %edx, %edx
    call bind_virq
    movl %eax, %esi
    movl $took, %edx
    call set_handler
    movl %esi, %eax
    call unmask_port
    movb $0, UPCALL_MASK
    movl $FIRST, %edi                   # nanoseconds after the machine began
1:  .ifdef ASLEEP
    movb $1, UPCALL_MASK                # until it sleeps, or it would miss one that comes before
    .endif
    movl %edi, %ebx
    xorl %ecx, %ecx
    HYPERCALL set_timer_op
    .ifdef ASLEEP
    call block
    addl $100000, %edi
    .endif
    cmpl ${ALARMS}, taken
    jb 1b
    ret
took:
    incl taken
    ret
"""


TIMERS = {"has-passed": {"FIRST": 1}, "wakes-a-sleeper": {"FIRST": 1_000_000_000, "ASLEEP": 1}}
"""Timers that go off as they are set, and those that are set for 100 us after the one before."""


@cache
def _kernel() -> bytes:
    return write_elf(asm.assemble_text(KERNEL.read_text()))


def _machine(*cmdlines: str) -> Machine:
    machine = Machine(Machine.size_for(*[MEMORY] * len(cmdlines)))
    image = load_image(_kernel())
    for words in cmdlines:
        machine.create(image, DomainConfig(memory=MEMORY, cmdline=f"{words} balls={BALLS}"))
    return machine


@pytest.mark.parametrize("abi", ["", "fifo"], ids=["two-level", "fifo"])
@pytest.mark.parametrize("sides", [("",), ("ping peer=2", "pong peer=1")], ids=["itself", "between-domains"])
def test_round_trip(benchmark: Any, sides: tuple[str, ...], abi: str) -> None:
    """The figure is that of a whole run, divided by its balls: two sends, two upcalls and their returns and,
    between domains, two switches. The boot adds a few milliseconds."""

    def setup() -> tuple[tuple[Machine], dict[str, object]]:
        return (_machine(*(f"{side} {abi}" for side in sides)),), {}

    benchmark.pedantic(_run, setup=setup, rounds=5)
    _report(benchmark, BALLS, partial(bare.least, "trap"))


@pytest.mark.parametrize("timer", TIMERS)
def test_timer_to_handler(benchmark: Any, timer: str) -> None:
    """A timer is set, its event is delivered, the handler counts it and returns. While a sleeper waits for it
    the machine looks for others to run, and has time jump."""
    image = load_image(write_elf(asm.assemble_text(ALARM, defines=TIMERS[timer])))

    def setup() -> tuple[tuple[Machine], dict[str, object]]:
        machine = Machine(Machine.size_for(MEMORY))
        machine.create(image, DomainConfig(memory=MEMORY))
        return (machine,), {}

    benchmark.pedantic(_run, setup=setup, rounds=5)
    _report(benchmark, ALARMS, partial(bare.least, "trap"))


@pytest.mark.parametrize("abi", ["two-level", "fifo"])
@pytest.mark.parametrize("port_is", ["pending", "masked"])
def test_send(benchmark: Any, abi: str, port_is: str) -> None:
    """The send alone, without a guest, to a port that is pending already, or that is masked and is not. The
    floor is a call of an empty method."""
    guest = EventMachine({1: 1}).guests[1]
    if abi == "fifo":
        guest.use_fifo()
    send, port = guest.events.send, guest.events.bind_ipi(0)
    word, bit = (guest.at(port), 1 << 31) if abi == "fifo" else (guest.pending_word, 1 << port)
    masked = 1 << 30 if abi == "fifo" else 0
    guest.set_word("evtchn_mask", 0, bit)
    guest.words[word] = masked

    def sends() -> None:
        for _ in range(SENDS):
            send(port)

    def sends_anew() -> None:
        for _ in range(SENDS):
            guest.words[word] = masked
            send(port)

    benchmark(sends if port_is == "pending" else sends_anew)
    assert guest.words[word] & bit
    _report(benchmark, SENDS, _method)


def _run(machine: Machine) -> None:
    assert machine.run().reason is StopReason.DONE
    machine.close()


def _report(benchmark: Any, operations: int, floor: Callable[[], float]) -> None:
    """Cost of one operation beside its floor; without figures when the benchmark is a smoke test."""
    if benchmark.stats is not None:
        cost, bare = benchmark.stats.stats.min / operations, floor()
        benchmark.extra_info.update(
            microseconds=round(cost * 1e6, 3),
            floor_microseconds=round(bare * 1e6, 3),
            floors=round(cost / bare, 1),
        )


def _method() -> float:
    class Empty:
        def send(self, port: int) -> None: ...

    send = Empty().send

    def calls() -> None:
        for port in range(SENDS):
            send(port)

    return min(_timed(calls) for _ in range(50)) / SENDS


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
