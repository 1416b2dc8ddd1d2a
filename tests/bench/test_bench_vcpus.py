"""What it costs that a vcpu waits for another: a round trip of two events between sleeping vcpus, and one of
two turns between vcpus that spin with PAUSE. Each is two switches between processors, whose floor is a stop
and a start of the bare engine."""

from __future__ import annotations

from typing import Any

import pytest

from paravane import DomainConfig, Machine, StopReason, asm, load_image
from paravane.asm.elf_writer import write_elf
from paravane.tools.bench.bare import BareEngine
from tests.bench.test_bench_cpu import best_of

ROUNDS = 1000
MEMORY = 8 << 20

_HEAD = f"""
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "vcpus.inc"
    XEN_NOTES vcpus
    .equ ROUNDS, {ROUNDS}
    .bss
    .skip 4096
other_stack:
ports: .skip 8
taken: .skip 8
turn: .skip 4
    .text
"""

EVENTS = (
    _HEAD
    + """
main:
    call events_init
    movl $FLAT_KERNEL_CS, %ebx
    movl $interrupted, %ecx
    movl %ebx, %edx
    movl $interrupted, %esi
    HYPERCALL set_callbacks
    movl $FLAT_KERNEL_CS, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_cs
    movl $interrupted, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_eip
    movl $1, %ebx
1:  movl %ebx, %eax
    call bind_ipi
    movl %eax, ports(,%ebx,4)
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    decl %ebx
    jns 1b
    movl $1, %eax
    movl $other, %edx
    movl $other_stack, %ecx
    call start_vcpu
    MUST start_vcpu
    movl ports + 4, %eax
    call send_event
2:  call block
    cmpl $ROUNDS, taken
    jb 2b
    ret
other:
    call block
    jmp other
interrupted:
    pushal
    xorl %ebx, %ebx
    leal 4096 - other_stack(%esp), %eax
    cmpl $4096, %eax                    # below: it is vcpu 1's stack
    adcl $0, %ebx
    movl %ebx, %edx
    imull $VCPU_INFO_sizeof, %edx
    movb $0, UPCALL_PENDING(%edx)
    movl $0, PENDING_SEL(%edx)
    movl ports(,%ebx,4), %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    jnc 1f
    incl taken(,%ebx,4)
    xorl $1, %ebx
    movl ports(,%ebx,4), %eax
    call send_event
1:  popal
    jmp hypercall_page + __HYPERVISOR_iret * 32
"""
)

TURNS = (
    _HEAD
    + """
main:
    movl $1, %eax
    movl $other, %edx
    movl $other_stack, %ecx
    call start_vcpu
    MUST start_vcpu
    movl $ROUNDS, %edi
1:  movl $1, turn
2:  pause
    cmpl $0, turn
    jne 2b
    decl %edi
    jnz 1b
    ret
other:
    pause
    cmpl $1, turn
    jne other
    movl $0, turn
    jmp other
"""
)


def _machine(source: str) -> Machine:
    machine = Machine(Machine.size_for(MEMORY))
    image = load_image(write_elf(asm.assemble_text(source)))
    machine.create(image, DomainConfig(memory=MEMORY, vcpus=2))
    return machine


def _switch_floor(rounds: int = 200) -> float:
    """Seconds to start the bare engine and to have it stop: the best of some."""
    with BareEngine() as engine:
        return best_of(lambda: engine.execute("trap", 1), rounds)


@pytest.mark.parametrize("how", [EVENTS, TURNS], ids=["events", "turns"])
def test_round_trip_between_vcpus(benchmark: Any, how: str) -> None:
    def setup() -> tuple[tuple[Machine], dict[str, object]]:
        return (_machine(how),), {}

    def run(machine: Machine) -> None:
        assert machine.run().reason is StopReason.DONE
        machine.close()

    benchmark.pedantic(run, setup=setup, rounds=3)
    if benchmark.stats is not None:
        trip = benchmark.stats.stats.min / ROUNDS
        floor = 2 * _switch_floor()
        benchmark.extra_info["floor_us"] = round(floor * 1e6, 1)
        benchmark.extra_info["ours_us"] = round(trip * 1e6, 1)
        benchmark.extra_info["ratio"] = round(trip / floor, 1)
