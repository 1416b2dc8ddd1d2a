# Two virtual processors that wait for each other without sleeping.
#
# Observe: a turn goes from one to the other and back a thousand times. While one waits it keeps a processor busy
# with nothing, and on a machine with fewer processors than vcpus the other one cannot even begin. Whoever
# executes PAUSE as it waits, or yields, does not have the other one wait until a whole time slice is over.

    .include "runtime.inc"
    .include "paging.inc"
    .include "vcpus.inc"

    XEN_NOTES spin

.equ TURNS, 1000
.equ SHORT, 1000000                 # nanoseconds: a tenth of a usual time slice

    .bss
    .balign 16
    .skip PAGE_SIZE
other_stack:
how:                                # the way to wait now
    .skip 4
whose:                              # the vcpu whose turn it is
    .skip 4
lock_word:
    .skip 4
inside:                             # how many are behind the lock
    .skip 4
clashes:
    .skip 4
began:
    .skip 8

    .text
    .type main, @function
main:
    movl $1, %eax
    movl $other, %edx
    movl $other_stack, %ecx
    call start_vcpu
    cmpl $-ENOENT, %eax
    jne 1f
    PANIC "this kernel needs a domain of 2 vcpus"
1:  MUST start_vcpu
    PRINT "pause: "
    movl $wait_by_pause, %eax
    call play
    PRINT "yield: "
    movl $wait_by_yield, %eax
    call play
    PRINT "a lock, taken by exchange and pause: "
    movl $wait_for_lock, %eax
    call play
    PRINT_DEC clashes
    PRINT " clashes\n"
    ret

# EAX = a way to wait: plays the turns with it, and tells whether they were quick. The virtual time-stamp counter
# counts nanoseconds.
    .type play, @function
play:
    movl %eax, how
    rdtsc
    movl %eax, began
    movl %edx, began + 4
    movl $TURNS, %ebx
1:  movl $1, whose                  # the other one's turn
    xorl %eax, %eax
    call *how
    decl %ebx
    jnz 1b
    rdtsc
    subl began, %eax
    sbbl began + 4, %edx
    movl $TURNS, %ecx
    divl %ecx
    PRINT_DEC $TURNS
    cmpl $SHORT, %eax
    ja 2f
    PRINT " turns, each shorter than a time slice\n"
    ret
2:  PRINT " turns, each as long as a time slice\n"
    ret

# vcpu 1.
other:
    movl $1, %eax
    call wait_by_pause              # the first turn of all
1:  movl $0, whose
    movl $1, %eax
    call *how
    jmp 1b

# EAX = the own vcpu: each waits until it is its turn.
    .type wait_by_pause, @function
wait_by_pause:
    cmpl %eax, whose
    je 1f
    pause
    jmp wait_by_pause
1:  ret

    .type wait_by_yield, @function
wait_by_yield:
    cmpl %eax, whose
    je 1f
    pushl %eax
    call yield
    popl %eax
    jmp wait_by_yield
1:  ret

# The turn is looked at with the lock held only.
    .type wait_for_lock, @function
wait_for_lock:
    movl %eax, %ecx
1:  movl $1, %edx
2:  xchgl %edx, lock_word
    testl %edx, %edx
    jz 3f
    pause
    jmp 2b
3:  lock incl inside
    cmpl $1, inside
    je 4f
    incl clashes
4:  movl whose, %edx
    lock decl inside
    movl $0, lock_word
    cmpl %ecx, %edx
    je 5f
    pause
    jmp 1b
5:  ret
