"""What a guest may do to the pages of its FIFO event channels, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.boot import boot, finished
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.boot import Run

MEMORY = 4 << 20

PRELUDE = prelude("paging", "shared", "events")


def test_pages_of_events_become_no_page_tables_while_they_are_in_use(run: Run) -> None:
    """The hypervisor writes there whenever it likes, so their contents are not to be trusted."""
    lines = run("""
.macro TRY what, page
    movl $\\page, %eax
    call make_read_only
    MUST make_read_only
    movl $\\page, %eax
    call va_to_mfn
    MMUEXT PIN_L1_TABLE, %eax
    SHOW_SIGNED "\\what "
.endm
main:
    call events_init
    call use_fifo
    SHOW_SIGNED "fifo "
    TRY "words", event_array
    TRY "control", control_block
    TRY "other", other
    pushl $0                        # struct evtchn_expand_array
    movl $other, %eax
    call va_to_mfn
    pushl %eax
    EVTCHN expand_array, 4(%esp)
    addl $8, %esp
    SHOW_SIGNED "a table as words "
    ret
    .bss
    .balign PAGE_SIZE
other:
    .skip PAGE_SIZE
""").lines
    assert lines == ["fifo 0", "words -22", "control -22", "other 0", "a table as words -22"]


def test_after_a_reset_delivery_is_by_two_levels_and_the_pages_are_the_guests(run: Run) -> None:
    """A reset takes the console away as well, so how it ends is all that this kernel tells."""
    run("""
.macro CHECK condition
    j\\condition 1f
    movl $SHUTDOWN_crash, %eax
    jmp shutdown
1:
.endm
main:
    call events_init
    call use_fifo
    MUST use_fifo
    movb $0, UPCALL_MASK
    call fire                       # the first free port, after those of store and console
    cmpl $3, %eax
    CHECK e
    cmpl $1, event_counts + 3 * 4
    CHECK e
    EVTCHN reset, itself
    testl %eax, %eax
    CHECK z
    movl $consume_two_levels, consume
    movl $-1, shared_info + SHARED_INFO_evtchn_mask
    call fire
    cmpl $1, %eax
    CHECK e
    cmpl $1, event_counts + 1 * 4
    CHECK e
    movl $event_array, %eax
    call make_read_only
    testl %eax, %eax
    CHECK z
    movl $event_array, %eax
    call va_to_mfn
    MMUEXT PIN_L1_TABLE, %eax
    testl %eax, %eax
    CHECK z
    movl $SHUTDOWN_poweroff, %eax
    jmp shutdown

# Binds an interrupt to itself and sends it once; gives its port.
fire:
    xorl %eax, %eax
    call bind_ipi
    pushl %eax
    call unmask_port
    movl (%esp), %eax
    call send_event
    popl %eax
    ret
    .data
    .balign 4
itself:
    .long DOMID_SELF
""")


SECOND = (
    prelude("paging", "shared", "events", "vcpus")
    + """
.equ BLOCK, control_block + 128     # of vcpu 1
.equ WORD, event_array + 3 * 4
main:
    call events_init
    call use_fifo
    MUST use_fifo
    movl $FLAT_KERNEL_CS, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_cs
    movl $interrupted, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_eip
    movl $1, %eax
    movl $other, %edx
    movl $other_stack, %ecx
    call start_vcpu
    MUST start_vcpu
    movl $1, %eax
    call bind_ipi
    SHOW_SIGNED "port "
    movl $3, %eax
    call unmask_port
    movl $3, %eax
    call send_event
    SHOW_SIGNED "sent "
    movl WORD, %eax
    SHOW_SIGNED "word "
    movl $control_block, %eax
    call va_to_mfn
    movl %eax, init + EVTCHN_INIT_CONTROL_control_gfn
    EVTCHN init_control, init
    SHOW_SIGNED "control block "
    EVTCHN init_control, init
    SHOW_SIGNED "another "
    movl $3, %eax
    xorl %edx, %edx                 # the most urgent
    call set_priority
    SHOW_SIGNED "priority "
    movl $3, %eax
    call send_event
    SHOW_SIGNED "sent "
1:  call yield
    cmpl $0, taken
    je 1b
    movl taken, %eax
    SHOW_SIGNED "ready "
    movl head, %eax
    SHOW_SIGNED "head "
    movl WORD, %eax
    SHOW_SIGNED "word "
    movl control_block + EVTCHN_FIFO_CONTROL_BLOCK_ready, %eax
    SHOW_SIGNED "ready for the first vcpu "
    ret

other:
1:  call block
    jmp 1b

interrupted:
    pushal
    movb $0, UPCALL_PENDING + VCPU_INFO_sizeof
    xorl %eax, %eax
    xchgl %eax, BLOCK + EVTCHN_FIFO_CONTROL_BLOCK_ready
    movl BLOCK + EVTCHN_FIFO_CONTROL_BLOCK_head, %ecx
    movl %ecx, head
    movl $0, WORD
    movl %eax, taken
    popal
    jmp hypercall_page + __HYPERVISOR_iret * 32

    .data
    .balign 4
init:                               # struct evtchn_init_control
    .long 0, 0, BLOCK - control_block, 1, 0, 0
    .bss
    .balign PAGE_SIZE
    .skip PAGE_SIZE
other_stack:
taken: .skip 4
head: .skip 4
"""
)


def test_each_vcpu_has_queues_of_its_own_once_it_has_a_control_block() -> None:
    """Before that its events are lost, as by Xen."""
    result = finished(boot(SECOND, memory=MEMORY, vcpus=2, slice_instructions=100_000))
    assert result.lines == [
        "port 3",
        "sent 0",
        "word 0",
        "control block 0",
        "another -22",
        "priority 0",
        "sent 0",
        "ready 1",
        "head 3",
        "word 0",
        "ready for the first vcpu 0",
    ]
