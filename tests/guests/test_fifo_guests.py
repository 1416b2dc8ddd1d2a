"""What a guest may do to the pages of its FIFO event channels, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
