"""An event or an NMI for another vcpu reaches it at once, not when its turn comes: on a machine with a
processor for each vcpu it would be interrupted right away."""

from __future__ import annotations

import pytest

from paravane.time.clock import TRAP_COST
from tests.support.boot import boot, finished
from tests.support.prelude import prelude

SOON = 20 * TRAP_COST
"""Nanoseconds of virtual time: a slice of a million instructions takes ten million."""

PRELUDE = (
    prelude("paging", "shared", "events", "vcpus")
    + """
.macro NOW low, high
    rdtsc
    movl %eax, \\low
    movl %edx, \\high
.endm

    .bss
    .skip 4096
other_stack:
port: .skip 4
taken: .skip 4
at: .skip 8
began: .skip 8
up: .skip 4
    .text

main:
    call events_init
    movl $1, %eax
    call bind_ipi
    movl %eax, port
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    movl $FLAT_KERNEL_CS, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_cs
    movl $interrupted, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_eip
    movl $interrupted, vcpu_context + VCPU_GUEST_CONTEXT_trap_ctxt + 2 * TRAP_INFO_sizeof + TRAP_INFO_address
    movw $FLAT_KERNEL_CS, vcpu_context + VCPU_GUEST_CONTEXT_trap_ctxt + 2 * TRAP_INFO_sizeof + TRAP_INFO_cs
    movl $1, %eax
    movl $other, %edx
    movl $other_stack, %ecx
    call start_vcpu
    MUST start_vcpu
1:  call yield
    cmpl $0, up
    je 1b
    call settle
    NOW began, began + 4
    call interrupt
2:  cmpl $0, taken
    je 2b                           # without PAUSE: this one does not give way
    movl at, %eax
    subl began, %eax
    SHOW_SIGNED ""
    ret

interrupted:
    pushal
    movb $0, UPCALL_PENDING + VCPU_INFO_sizeof
    NOW at, at + 4
    movl $1, taken
    popal
    jmp hypercall_page + __HYPERVISOR_iret * 32

send:
    movl port, %eax
    jmp send_event

nmi:
    movl $VCPUOP_send_nmi, %eax
    movl $1, %edx
    xorl %ecx, %ecx
    jmp vcpu_op
"""
)

COMPUTES = """
other:
    movb $0, UPCALL_MASK + VCPU_INFO_sizeof
    movl $1, up
1:  jmp 1b
settle:
    ret
"""

SLEEPS = """
other:
    movl $1, up
1:  call block
    jmp 1b
settle:                             # until it sleeps
    call yield
    movl $VCPUOP_get_runstate_info, %eax
    movl $1, %edx
    movl $run_states, %ecx
    call vcpu_op
    cmpl $RUNSTATE_blocked, run_states + VCPU_RUNSTATE_INFO_state
    jne settle
    ret
    .bss
run_states: .skip VCPU_RUNSTATE_INFO_sizeof
    .text
"""

INTERRUPTS = {"event": "send", "nmi": "nmi"}


@pytest.mark.parametrize("other", [COMPUTES, SLEEPS], ids=["computes", "sleeps"])
@pytest.mark.parametrize("what", INTERRUPTS)
def test_another_vcpu_is_interrupted_at_once(what: str, other: str) -> None:
    body = f"{PRELUDE}interrupt:\n    jmp {INTERRUPTS[what]}\n{other}"
    result = finished(boot(body, memory=4 << 20, vcpus=2, slice_instructions=1_000_000))
    assert 0 < int(result.console) < SOON
