# Four vcpus that do random things to shared state, each in the way that is right on any schedule: what comes of it
# does not depend on when who was interrupted. With the symbol RACE one of them is wrong.
#
# SEED, ROUNDS: which things, and how many.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "vcpus.inc"

    XEN_NOTES interleave

.equ CREW, 4
.equ THINGS, 8

    .bss
    .balign PAGE_SIZE
stacks:
    .skip CREW * PAGE_SIZE
window:
    .skip PAGE_SIZE
pages:
    .skip 2 * PAGE_SIZE
added:      .skip 4                 # by locked additions
counted:    .skip 4                 # by plain ones, the lock held
expected_added:   .skip 4 * CREW    # how often each has done so
expected_counted: .skip 4 * CREW
lock_word:  .skip 4
shown:      .skip 4                 # which page the window is to show
changed:    .skip 4                 # what `answer` is to say
wrong_page: .skip 4
wrong_code: .skip 4
next_ticket: .skip 4
served:     .skip 4
ports:      .skip 4 * CREW
mail:       .skip 4 * CREW
polls:      .skip 16 * CREW
finished:   .skip 4

    .pushsection .answer, "axw", @progbits
answer:
    movl $0, %eax
    ret
    .popsection

    .text
main:
    call events_init
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall_of_crew, %ecx
    movl %ebx, %edx
    movl $hopeless, %esi
    HYPERCALL set_callbacks
    movl $FLAT_KERNEL_CS, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_cs
    movl $upcall_of_crew, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_eip
    movb $'A', pages
    movb $'B', pages + PAGE_SIZE
    xorl %eax, %eax
    call show
    movl $CREW - 1, %ebx
1:  movl %ebx, %eax
    call bind_ipi
    movl %eax, ports(,%ebx,4)
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    decl %ebx
    jns 1b
    movl $CREW - 1, %ebx
2:  movl %ebx, %eax
    movl $work, %edx
    movl %ebx, %ecx
    incl %ecx
    shll $12, %ecx
    addl $stacks, %ecx
    call start_vcpu
    MUST start_vcpu
    decl %ebx
    jnz 2b
    movl $stacks + PAGE_SIZE, %esp
    xorl %eax, %eax
    jmp work

hopeless:
    PANIC "a return to the kernel failed"

# EAX = the own vcpu. EBX: that; EBP: the state of the choice; EDI: rounds left.
work:
    movl %eax, %ebx
    imull $VCPU_INFO_sizeof, %eax
    movb $0, UPCALL_MASK(%eax)
    imull $0x9E3779B1, %ebx, %ebp
    addl $SEED, %ebp
    movl $ROUNDS, %edi
1:  imull $1103515245, %ebp
    addl $12345, %ebp
    movl %ebp, %eax
    shrl $16, %eax
    andl $THINGS - 1, %eax
    call *things(,%eax,4)
    decl %edi
    jnz 1b
    lock incl finished
2:  pause
    cmpl $CREW, finished
    jne 2b
    testl %ebx, %ebx
    jz report
3:  call block
    jmp 3b

# All of them have finished: what each has done, against what is there.
report:
    xorl %esi, %esi                 # letters that have not arrived
    movl $100, %edi                 # the others may have to be interrupted first
4:  call yield
    decl %edi
    jnz 4b
    movl $CREW - 1, %ecx
1:  addl mail(,%ecx,4), %esi
    movl expected_added(,%ecx,4), %eax
    subl %eax, added
    movl expected_counted(,%ecx,4), %eax
    subl %eax, counted
    decl %ecx
    jns 1b
    movl added, %eax
    call tell
    movl counted, %eax
    call tell
    movl wrong_page, %eax
    call tell
    movl wrong_code, %eax
    call tell
    movl %esi, %eax
    call tell
    movl next_ticket, %eax
    subl served, %eax
    call tell
    jmp exit

tell:
    call print_hex32
    PRINT " "
    ret

    .pushsection .rodata
things: .long add, count, page, code, letter, ticket, sleep, yield
    .popsection

add:
    lock incl added
    incl expected_added(,%ebx,4)
    ret

# The lock.
acquire:
    movl $1, %eax
1:  xchgl %eax, lock_word
    testl %eax, %eax
    jz 2f
    pause
    jmp 1b
2:  ret

release:
    movl $0, lock_word
    ret

count:
.ifndef RACE
    call acquire
.endif
    movl counted, %eax
    incl %eax
    movl %eax, counted
    incl expected_counted(,%ebx,4)
.ifndef RACE
    call release
.endif
    ret

# EAX = 0 or 1: has the window show that page, everywhere.
show:
    pushl %ebx
    movl %eax, shown
    shll $12, %eax
    addl $pages, %eax
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    movl %eax, %ecx
    movl $window, %ebx
    movl $UVMF_INVLPG | UVMF_ALL, %esi
    HYPERCALL update_va_mapping
    MUST update_va_mapping
    popl %ebx
    ret

# Whether the window shows what it should; then, half of the time, another page.
page:
    call acquire
    movzbl window, %eax
    subl $'A', %eax
    cmpl shown, %eax
    je 1f
    incl wrong_page
1:  btl $20, %ebp
    jnc 2f
    xorl $1, %eax
    call show
2:  jmp release

# The same with code.
code:
    call acquire
    pushl %ebx
    cpuid
    popl %ebx
    call answer
    cmpl changed, %eax
    je 1f
    incl wrong_code
1:  btl $20, %ebp
    jnc 2f
    incl changed
    movl changed, %eax
    movl %eax, answer + 1
2:  jmp release

# An event for another vcpu, that it has mail.
letter:
    movl %ebp, %edx
    shrl $24, %edx
    andl $CREW - 1, %edx
    movl $1, mail(,%edx,4)
    movl ports(,%edx,4), %eax
    call send_event
    MUST send
    ret

# Waits for its turn by yielding.
ticket:
    movl $1, %esi
    lock xaddl %esi, next_ticket
1:  cmpl %esi, served
    je 2f
    call yield
    jmp 1b
2:  lock incl served
    ret

# Some tens of microseconds, unless an event comes.
sleep:
    rdtsc
    addl $30000, %eax
    adcl $0, %edx
    movl %ebx, %ecx
    shll $4, %ecx
    addl $polls, %ecx
    movl $0, SCHED_POLL_ports(%ecx)
    movl $0, SCHED_POLL_nr_ports(%ecx)
    movl %eax, SCHED_POLL_timeout(%ecx)
    movl %edx, SCHED_POLL_timeout + 4(%ecx)
    pushl %ebx
    movl $SCHEDOP_poll, %ebx
    HYPERCALL sched_op
    popl %ebx
    MUST poll
    ret

upcall_of_crew:
    pushal
    cld
    leal -stacks(%esp), %ebx
    shrl $12, %ebx
    movl %ebx, %edx
    imull $VCPU_INFO_sizeof, %edx
    movb $0, UPCALL_PENDING(%edx)
    xorl %eax, %eax
    xchgl %eax, PENDING_SEL(%edx)
    movl ports(,%ebx,4), %eax
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    jnc 1f
    movl $0, mail(,%ebx,4)
1:  popal
    jmp hypercall_page + __HYPERVISOR_iret * 32
