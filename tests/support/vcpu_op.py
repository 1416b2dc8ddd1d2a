"""The head of kernels that try vcpu_op, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.boot import boot, finished
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from paravane import BootResult

PRELUDE = (
    prelude("paging", "shared")
    + """
.macro VCPU_OP command, vcpuid=$0, arg=$0
    movl $VCPUOP_\\command, %ebx
    movl \\vcpuid, %ecx
    movl \\arg, %edx
    HYPERCALL vcpu_op
.endm

.macro SHOW command, vcpuid=$0, arg=$0     # prints the command and how it ended
    VCPU_OP \\command, \\vcpuid, \\arg
    pushl %eax
    PRINT "\\command "
    popl %eax
    call print_result
    PRINT "\\n"
.endm

    .text
# Prints EAX as a signed number.
print_result:
    testl %eax, %eax
    jns print_dec
    pushl %eax
    PRINT "-"
    popl %eax
    negl %eax
    jmp print_dec

# Binds the timer interrupt; every port masked, so that it only shows as a pending bit.
bind_timer:
    call map_shared_info
    call mask_all_events
    movl $VIRQ_TIMER, bind + EVTCHN_BIND_VIRQ_virq
    movl $EVTCHNOP_bind_virq, %ebx
    movl $bind, %ecx
    HYPERCALL event_channel_op
    MUST bind_virq
    ret

# Yields until EAX milliseconds have passed. EAX: how often the timer interrupt came.
count_ticks:
    pushl %esi
    pushl %edi
    imull $1000000, %eax, %esi
    addl shared_info + SHARED_INFO_vcpu_info_time_system_time, %esi
    xorl %edi, %edi
1:  call yield
    movl bind + EVTCHN_BIND_VIRQ_port, %eax
    btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    adcl $0, %edi
    movl shared_info + SHARED_INFO_vcpu_info_time_system_time, %eax
    subl %esi, %eax
    js 1b
    movl %edi, %eax
    popl %edi
    popl %esi
    ret

# Sleeps until the timer interrupt comes.
sleep:
    movl bind + EVTCHN_BIND_VIRQ_port, %eax
    movl %eax, port
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    ret

    .data
    .balign 4
bind: .skip EVTCHN_BIND_VIRQ_sizeof
poll: .long port, 1
    .quad 0
port: .long 0
    .text
"""
)


def run(body: str) -> BootResult:
    """What came of a kernel whose time passes with its instructions: a loaded host ticks it no sooner."""
    return boot(PRELUDE + body, memory=4 << 20, slice_instructions=1_000_000)


def lines(body: str) -> list[str]:
    """The lines a kernel printed that powers off."""
    return finished(run(body)).lines
