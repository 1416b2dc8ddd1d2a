# Four virtual processors over one memory: they count, interrupt each other, and see each other's changes.
#
# Observe: locked additions of all four lose nothing; an event goes round the ring from one to the next; a page
# that vcpu 0 has remapped is still the old one to vcpu 1, which remembers the translation, until somebody
# flushes it there; but a page that has become a page table is out of reach of everybody at once, without being
# asked; and code that one of them changes is new to all.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "vcpus.inc"
    .include "crew.inc"

    XEN_NOTES smp

.equ ADDITIONS, 100000
.equ LAPS, 100
.equ FIRST_PAGE, 'A'

    .bss
    .balign PAGE_SIZE
window:                             # shows page_a or page_b
    .skip PAGE_SIZE
page_a:
    .skip PAGE_SIZE
page_b:
    .skip PAGE_SIZE
victim:                             # becomes a page table
    .skip PAGE_SIZE
sum:
    .skip 4
seen:
    .skip 4                         # what vcpu 1 found
taken:
    .skip CREW * 4                  # events by vcpu
ports:
    .skip CREW * 4
vcpu_mask:
    .skip 4

    .text
    .type main, @function
main:
    call events_init
    call crew_start
    PRINT_DEC $CREW
    PRINT " processors\n"
    call count_together
    call run_the_ring
    call remap_a_page
    call make_a_table
    call change_code
    call rest
    ret

# Every vcpu adds to one word.
    .type count_together, @function
count_together:
    movl $add, %eax
    call crew_all
    PRINT_DEC $CREW * ADDITIONS
    PRINT " locked additions make "
    PRINT_DEC sum
    PRINT "\n"
    ret

    .type add, @function
add:
    movl $ADDITIONS, %ecx
1:  lock incl sum
    decl %ecx
    jnz 1b
    ret

# Each vcpu sends an event to the next one, and sleeps.
    .type run_the_ring, @function
run_the_ring:
    movl $CREW - 1, %ebx
1:  movl %ebx, %eax
    call bind_ipi
    movl %eax, ports(,%ebx,4)
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    decl %ebx
    jns 1b
    movl $on_event, crew_upcall
    movl ports + 4, %eax
    call send_event                 # to vcpu 1, which sleeps later, if at all
    MUST send
    movl $sleep_through_ring, %eax
    call crew_all
    PRINT "an event went round the ring: "
    xorl %ebx, %ebx
2:  PRINT_DEC taken(,%ebx,4)
    PRINT " "
    incl %ebx
    cmpl $CREW, %ebx
    jne 2b
    PRINT "times taken\n"
    ret

# EAX = the own vcpu: until its events have come.
    .type sleep_through_ring, @function
sleep_through_ring:
    pushl %ebx
    movl %eax, %ebx
1:  call block
    cmpl $LAPS, taken(,%ebx,4)
    jb 1b
    popl %ebx
    ret

# EAX = the own vcpu, in its upcall. The last one to take the last lap sends no more.
    .type on_event, @function
on_event:
    movl ports(,%eax,4), %edx
    lock btrl %edx, shared_info + SHARED_INFO_evtchn_pending
    jnc 1f
    incl taken(,%eax,4)
    testl %eax, %eax
    jnz 2f
    cmpl $LAPS, taken
    je 1f
2:  incl %eax
    andl $CREW - 1, %eax
    movl ports(,%eax,4), %eax
    jmp send_event
1:  ret

# SHOWN "how": what vcpu 1 sees in the window.
.macro SHOWN how:req
    PRINT "\how: vcpu 1 sees "
    movl $look, %edx
    movl $1, %eax
    call crew_one
    movl seen, %eax
    call print_char
    PRINT "\n"
.endm

    .type remap_a_page, @function
remap_a_page:
    movb $FIRST_PAGE, page_a
    movb $FIRST_PAGE + 1, page_b
    movl $1 << 1, vcpu_mask         # vcpu 1
    movl $page_a, %eax
    movl $UVMF_TLB_FLUSH | UVMF_ALL, %esi
    call show_in_window
    SHOWN "the first page"
    movl $page_b, %eax
    movl $UVMF_INVLPG | UVMF_LOCAL, %esi
    call show_in_window
    PRINT "remapped, flushed on vcpu 0: vcpu 0 sees "
    movzbl window, %eax
    call print_char
    PRINT "\n"
    SHOWN "remapped, flushed on vcpu 0"
    MMUEXT INVLPG_MULTI, $window, $vcpu_mask
    MUST INVLPG_MULTI
    SHOWN "INVLPG_MULTI"
    movl $page_a, %eax
    movl $UVMF_NONE, %esi
    call show_in_window
    MMUEXT TLB_FLUSH_LOCAL
    MUST TLB_FLUSH_LOCAL
    SHOWN "remapped, TLB_FLUSH_LOCAL on vcpu 0"
    MMUEXT TLB_FLUSH_MULTI, $0, $vcpu_mask
    MUST TLB_FLUSH_MULTI
    SHOWN "TLB_FLUSH_MULTI"
    movl $page_b, %eax
    movl $UVMF_NONE, %esi
    call show_in_window
    MMUEXT TLB_FLUSH_ALL
    MUST TLB_FLUSH_ALL
    SHOWN "remapped, TLB_FLUSH_ALL"
    movl $page_a, %eax
    movl $UVMF_NONE, %esi
    call show_in_window
    MMUEXT INVLPG_ALL, $window
    MUST INVLPG_ALL
    SHOWN "remapped, INVLPG_ALL"
    movl $page_b, %eax
    movl $vcpu_mask + UVMF_INVLPG, %esi
    call show_in_window
    SHOWN "remapped, UVMF_INVLPG with a mask"
    movl $page_a, %eax
    movl $UVMF_INVLPG | UVMF_ALL, %esi
    call show_in_window
    SHOWN "remapped, UVMF_INVLPG and UVMF_ALL"
    ret

# EAX = page, ESI = flags of update_va_mapping.
    .type show_in_window, @function
show_in_window:
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    movl %eax, %ecx
    movl $window, %ebx
    HYPERCALL update_va_mapping
    MUST update_va_mapping
    ret

    .type look, @function
look:
    movzbl window, %eax
    movl %eax, seen
    ret

# vcpu 1 may write to a page and remembers so; then the page becomes a page table.
    .type make_a_table, @function
make_a_table:
    movl $1, %eax
    movl $store, %edx
    call crew_one
    PRINT "faults of vcpu 1 as it stores to a page of data: "
    PRINT_DEC crew_faults
    PRINT "\n"
    movl $0, victim
    movl $victim, %eax
    movl $UVMF_INVLPG | UVMF_LOCAL, %esi
    call make_read_only
    MUST make_read_only
    movl $victim, %eax
    call va_to_mfn
    MMUEXT PIN_L1_TABLE, %eax
    MUST PIN_L1_TABLE
    movl $1, %eax
    movl $store, %edx
    call crew_one
    PRINT "faults of vcpu 1 as it stores to a page table: "
    PRINT_DEC crew_faults
    PRINT ", the entry is "
    PRINT_HEX victim
    PRINT "\n"
    ret

    .type store, @function
store:
    movl $crew_skip, crew_fixup     # the handler of #PF goes there
    movl $0x12345067, victim
crew_skip:
    ret

# vcpu 1 has executed a function that vcpu 0 then changes.
    .type change_code, @function
change_code:
    movl $1, %eax
    movl $ask, %edx
    call crew_one
    PRINT "a function as vcpu 1 runs it: "
    PRINT_DEC seen
    movl $2, answer + 1
    movl $1, %eax
    movl $ask, %edx
    call crew_one
    PRINT ", changed by vcpu 0: "
    PRINT_DEC seen
    movl $3, answer + 1
    movl $1, %eax
    movl $ask, %edx
    call crew_one
    PRINT ", and again: "
    PRINT_DEC seen
    PRINT "\n"
    ret

    .type ask, @function
ask:
    cpuid                           # after another processor's changes one has to serialise
    call answer
    movl %eax, seen
    ret

    .pushsection .answer, "axw", @progbits
    .type answer, @function
answer:
    movl $1, %eax
    ret
    .popsection

# vcpu 3 goes down and is brought up again.
    .type rest, @function
rest:
    movl $3, %eax
    movl $go_down, %edx
    call crew_send
1:  pause
    movl $VCPUOP_is_up, %eax
    movl $3, %edx
    xorl %ecx, %ecx
    call vcpu_op
    testl %eax, %eax
    jnz 1b
    PRINT "vcpu 3 went down, "
    movl $VCPUOP_up, %eax
    movl $3, %edx
    xorl %ecx, %ecx
    call vcpu_op
    MUST up
    movl $3, %eax
    call crew_wait
    PRINT "came up, and went on where it was\n"
    ret

    .type go_down, @function
go_down:
    movl %eax, %edx
    movl $VCPUOP_down, %eax
    xorl %ecx, %ecx
    jmp vcpu_op
