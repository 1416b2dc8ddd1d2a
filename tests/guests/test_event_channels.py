"""Event channels and grant tables as a guest uses them, on the real processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.boot import Run

MEMORY = 4 << 20

PRELUDE = (
    prelude()
    + """
.macro EVTCHN command, struct
    movl $EVTCHNOP_\\command, %ebx
    movl $\\struct, %ecx
    HYPERCALL event_channel_op
.endm

.macro GRANT command, struct, count=1
    movl $GNTTABOP_\\command, %ebx
    movl $\\struct, %ecx
    movl $\\count, %edx
    HYPERCALL grant_table_op
.endm

    .bss
    .balign PAGE_SIZE
shared:                             # becomes the shared_info page
    .skip PAGE_SIZE
window:                             # becomes the first page of the grant table
    .skip PAGE_SIZE
    .text
"""
)


MAP_SHARED_INFO = """
    movl start_info, %edx
    movl START_INFO_shared_info(%edx), %edx
    orl $PTE_PRESENT | PTE_RW, %edx
    xorl %ecx, %ecx
    movl $shared, %eax
    call write_pte
    SHOW_SIGNED "shared_info "
"""


INTERRUPTS_ITSELF = f"""
main:
    {MAP_SHARED_INFO}
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall, %ecx
    movl $FLAT_KERNEL_CS, %edx
    movl $upcall, %esi
    HYPERCALL set_callbacks
    SHOW_SIGNED "callbacks "
    EVTCHN alloc_unbound, unbound
    SHOW_SIGNED "unbound "
    movl unbound + EVTCHN_ALLOC_UNBOUND_port, %eax
    movl %eax, interdomain + EVTCHN_BIND_INTERDOMAIN_remote_port
    SHOW_SIGNED "port "
    EVTCHN bind_interdomain, interdomain
    SHOW_SIGNED "bound "
    movl interdomain + EVTCHN_BIND_INTERDOMAIN_local_port, %eax
    movl %eax, port
    SHOW_SIGNED "local "
    movl $6, shared + SHARED_INFO_evtchn_mask       # ports 1 and 2: console and xenstore
    movb $0, shared + VCPU_INFO_evtchn_upcall_mask
    call yield                      # the event of the binding comes on the way out
    PRINT "sending\\n"
    EVTCHN send, port
    SHOW_SIGNED "sent "
    EVTCHN close, port
    SHOW_SIGNED "closed "
    EVTCHN send, port
    SHOW_SIGNED "closed port "
    EVTCHN send, unbound + EVTCHN_ALLOC_UNBOUND_port
    SHOW_SIGNED "unbound port "
    ret

upcall:
    pushal
    movb $0, shared + VCPU_INFO_evtchn_upcall_pending
    movl $0, shared + VCPU_INFO_evtchn_pending_sel
1:  movl shared + SHARED_INFO_evtchn_mask, %eax
    notl %eax
    andl shared + SHARED_INFO_evtchn_pending, %eax
    jz 2f
    bsfl %eax, %eax
    btrl %eax, shared + SHARED_INFO_evtchn_pending
    SHOW_SIGNED "upcall for port "
    jmp 1b
2:  popal
    movb $0, shared + VCPU_INFO_evtchn_upcall_mask
    iret

    .data
    .balign 4
unbound:
    .word DOMID_SELF, DOMID_SELF
    .long 0
interdomain:
    .word DOMID_SELF, 0
    .long 0, 0
port:
    .long 0
"""


def test_a_guest_interrupts_itself_over_a_channel_of_its_own(run: Run) -> None:
    lines = run(INTERRUPTS_ITSELF).lines
    assert lines == [
        "shared_info 0",
        "callbacks 0",
        "unbound 0",
        "port 3",
        "bound 0",
        "local 4",
        "upcall for port 4",
        "sending",
        "upcall for port 3",
        "sent 0",
        "closed 0",
        "closed port -22",
        "unbound port 0",
    ]


def test_a_guest_maps_its_grant_table_and_finds_the_toolstacks_entries(run: Run) -> None:
    lines = run("""
main:
    GRANT setup_table, setup
    SHOW_SIGNED "setup "
    movswl setup + GNTTAB_SETUP_TABLE_status, %eax
    SHOW_SIGNED "status "
    movl frames, %edx
    movl %edx, %ecx
    shll $12, %edx
    shrl $20, %ecx
    orl $PTE_PRESENT | PTE_RW, %edx
    movl $window, %eax
    call write_pte
    SHOW_SIGNED "mapped "
    movzwl window, %eax             # reference 0, the console's: permitted, being read and written
    SHOW_SIGNED "console flags "
    movl start_info, %edx
    movl START_INFO_console_domU_mfn(%edx), %eax
    subl window + 4, %eax
    SHOW_SIGNED "console frame off by "
    movl start_info, %edx
    movl START_INFO_store_mfn(%edx), %eax
    subl window + 12, %eax
    SHOW_SIGNED "xenstore frame off by "
    GRANT set_version, version
    SHOW_SIGNED "version 2 "
    movl version, %eax
    SHOW_SIGNED "version "
    movl $window, %eax
    call read_pte
    call pte_to_mfn
    subl frames, %eax
    SHOW_SIGNED "read back "
    ret

    .data
    .balign 4
setup:
    .word DOMID_SELF, 0
    .long 1, 0, frames
version:
    .long 2
frames:
    .long 0
""").lines
    assert lines == [
        "setup 0",
        "status 0",
        "mapped 0",
        "console flags 25",
        "console frame off by 0",
        "xenstore frame off by 0",
        "version 2 0",
        "version 2",
        "read back 0",
    ]


POLLS_AND_UNMASKS = f"""
.macro POLL list, count
    movl $\\list, poll
    movl $\\count, poll + 4
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
.endm
.equ last, edge + PAGE_SIZE - 4
main:
    {MAP_SHARED_INFO}
    movl start_info, %edx
    movl START_INFO_store_evtchn(%edx), %eax
    SHOW_SIGNED "store "
    movl start_info, %edx
    movl START_INFO_console_domU_evtchn(%edx), %eax
    SHOW_SIGNED "console "
    orl $-1, shared + SHARED_INFO_evtchn_mask
    orl $-1, shared + SHARED_INFO_evtchn_mask + 4
    EVTCHN bind_ipi, ipi
    SHOW_SIGNED "ipi "
    movl $edge + PAGE_SIZE, %ebx        # a page that is not there follows one that is
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $UVMF_INVLPG, %esi
    HYPERCALL update_va_mapping
    SHOW_SIGNED "unmapped "
    POLL closed, 1
    SHOW_SIGNED "closed "
    POLL reserved, 1
    SHOW_SIGNED "reserved "
    POLL absent, 1
    SHOW_SIGNED "never created "
    movl $40, last
    POLL last, 2
    SHOW_SIGNED "closed, then unreadable "
    movl ipi + EVTCHN_BIND_IPI_port, %eax
    movl %eax, last
    POLL last, 2
    SHOW_SIGNED "silent, then unreadable "
    EVTCHN send, last
    POLL last, 2
    SHOW_SIGNED "pending, then unreadable "
    POLL closed, 129
    SHOW_SIGNED "too many "
    EVTCHN unmask, closed
    SHOW_SIGNED "unmask closed "
    EVTCHN unmask, reserved
    SHOW_SIGNED "unmask reserved "
    EVTCHN unmask, absent
    SHOW_SIGNED "unmask never created "
    EVTCHN unmask, last
    SHOW_SIGNED "unmask ipi "
    xorl %eax, %eax
    btl $40, shared + SHARED_INFO_evtchn_mask
    adcl $0, %eax
    btl $0, shared + SHARED_INFO_evtchn_mask
    adcl $0, %eax
    SHOW_SIGNED "still masked "
    xorl %eax, %eax
    btl $3, shared + SHARED_INFO_evtchn_mask
    adcl $0, %eax
    SHOW_SIGNED "ipi masked "
    EVTCHN close, reserved
    SHOW_SIGNED "close reserved "
    EVTCHN close, closed
    SHOW_SIGNED "close closed "
    EVTCHN send, closed
    SHOW_SIGNED "send closed "
    movl $14, %ebx                      # what Xen restarts a reset with
    movl $self, %ecx
    HYPERCALL event_channel_op
    SHOW_SIGNED "go on with no reset "
    ret
    .data
    .balign 4
closed:
    .long 40
reserved:
    .long 0
absent:
    .long 64
self:
    .long DOMID_SELF
ipi:
    .long 0, 0
poll:
    .long 0, 0
    .quad 0
    .bss
    .balign PAGE_SIZE
edge:
    .skip 2 * PAGE_SIZE
"""


def test_only_ports_in_use_can_be_polled_and_unmasked(run: Run) -> None:
    lines = run(POLLS_AND_UNMASKS).lines
    assert lines == [
        "shared_info 0",
        "store 1",
        "console 2",
        "ipi 0",
        "unmapped 0",
        "closed -22",
        "reserved -22",
        "never created -22",
        "closed, then unreadable -22",
        "silent, then unreadable -14",
        "pending, then unreadable 0",
        "too many -22",
        "unmask closed 0",
        "unmask reserved 0",
        "unmask never created -22",
        "unmask ipi 0",
        "still masked 2",
        "ipi masked 0",
        "close reserved -22",
        "close closed -22",
        "send closed -22",
        "go on with no reset -16",
    ]
