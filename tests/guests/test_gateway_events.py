"""Events that a vcpu sends itself: with what is served in C as without."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from paravane.trace import Kind
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.served import Runner

PROGRAMS: Final = 4
STEPS: Final = 120
PORTS: Final = 40
"""So that some are of the second word. Two of three are IPIs, the others wait for somebody to bind to them.
Ports 1 and 2 are of the store and the console, which the kernel prints on."""

KERNEL = (
    prelude("paging", "shared", "events", "user")
    + """
    .data
    .balign 4
port:                               # struct evtchn_send
    .long 0
close:                              # struct evtchn_close
    .long 0
upcalls:
    .long 0
sum:                                # of all that an upcall has met, and of all results
    .long 0

    .bss
    .balign PAGE_SIZE
info_page:                          # a vcpu_info of the guest's choice
    .skip PAGE_SIZE
info:
    .skip 4
moved:
    .skip VCPU_REGISTER_VCPU_INFO_sizeof

    .text
.equ PENDING, shared_info + SHARED_INFO_evtchn_pending
.equ MASK, shared_info + SHARED_INFO_evtchn_mask

    .type main, @function
main:
    call events_init
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall_here, %ecx
    movl %ebx, %edx
    movl $upcall_here, %esi
    HYPERCALL set_callbacks
    movl $UPCALL_MASK - 1, info
    movl $PORTS, %esi
1:  xorl %eax, %eax
    call bind_ipi
    xorl %eax, %eax
    call bind_ipi
    xorl %eax, %eax
    call alloc_unbound
    subl $3, %esi
    jns 1b
    movl $0, MASK
    movl $0, MASK + 4
    movb $0, UPCALL_MASK
{program}
    movl sum, %eax
    SHOW_HEX "sum "
    movl upcalls, %eax
    SHOW_HEX "upcalls "
    ret

    .type note, @function           # adds EAX to the sum
note:
    roll $3, sum
    xorl %eax, sum
    ret

    .type send, @function           # EAX = port
send:
    movl %eax, port
    movl $EVTCHNOP_send, %ebx
    movl $port, %ecx
    HYPERCALL event_channel_op
    jmp note

    .type upcall_here, @function
upcall_here:
    pushal
    incl upcalls
    movl info, %esi
    movb $0, (%esi)
    xorl %eax, %eax
    xchgl %eax, VCPU_INFO_evtchn_pending_sel(%esi)
    call note
    movl PENDING, %eax
    call note
    testb $3, upcalls
    jz 1f                           # what is left pending does not come again
    movl $0, PENDING
    movl $0, PENDING + 4
1:  movb $0, 1(%esi)
    popal
    iret

    .type move_info, @function
move_info:                          # only once: the second time it is refused
    movl $info_page, %eax
    call va_to_mfn
    movl %eax, moved + VCPU_REGISTER_VCPU_INFO_mfn
    movl $VCPUOP_register_vcpu_info, %ebx
    xorl %ecx, %ecx
    movl $moved, %edx
    HYPERCALL vcpu_op
    testl %eax, %eax
    jnz 1f
    movl $info_page, info
1:  ret
"""
)

STEP_TEXTS: Final = (
    "movl ${port}, %eax; call send",
    "movl ${port}, %eax; call send",
    "movl ${port}, %eax; call send",
    "lock btsl ${port}, MASK",
    "lock btrl ${port}, MASK",
    "lock btrl ${port}, MASK",
    "movl $0, MASK + 4",
    "movl $0, MASK",
    "movl $0, PENDING; movl $0, PENDING + 4",
    "movl info, %esi; movb $1, 1(%esi)",
    "movl info, %esi; movb $0, 1(%esi)",
    "movl info, %esi; movb $2, (%esi)",
    "xorl %ebx, %ebx; xorl %ecx, %ecx; HYPERCALL xen_version",
    "movl ${port}, %eax; call unmask_port",
    "movl $EVTCHNOP_send, %ebx; movl $0x3ff0, %ecx; HYPERCALL event_channel_op; call note",
    "movl $1000000, %eax; call send",
    "movl ${own}, %eax; movl %eax, close; movl $EVTCHNOP_close, %ebx; movl $close, %ecx;"
    " HYPERCALL event_channel_op; call note",
)


def random_kernel(seed: int) -> str:
    source = random.Random(seed)
    choices = STEP_TEXTS[:-1] * 4 + STEP_TEXTS[-1:]
    lines = [
        source.choice(choices).format(port=source.randrange(PORTS + 2), own=source.randrange(3, PORTS))
        for _ in range(STEPS)
    ]
    lines.insert(3 * STEPS // 4, "call move_info")
    text = KERNEL.replace("{program}", "\n".join(f"    {line}" for line in lines))
    return f".equ PORTS, {PORTS}\n{text}"


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_events_leave_the_same_memory_time_and_counts(run_both: Runner, seed: int) -> None:
    text = random_kernel(seed)
    in_python, in_c = (run_both(text, in_c=in_c) for in_c in (False, True))
    assert in_c.outcome == in_python.outcome
    assert b"upcalls 0x000000" in in_c.outcome.console, "it came to its end"
    assert in_c.outcome.counters[2] > 3, "upcalls"
    assert in_c.served >= 15, "or nothing was compared"


def test_who_watches_events_misses_none(run_both: Runner) -> None:
    text = random_kernel(0)
    in_python, in_c = (run_both(text, in_c=in_c, watched=(Kind.EVENT,)) for in_c in (False, True))
    assert in_c.outcome == in_python.outcome
    assert in_c.records == in_python.records
    assert in_c.records
