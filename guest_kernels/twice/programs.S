# The programs of ring 3, as they are copied into their address spaces: both stand at PROGRAM, and use no address of
# their own. What the texts say is what has been checked before; anything else ends a program with status 1.

    .include "twice.inc"

.equ CALLS, 2000
.equ PAGES, 512
.equ CHILDREN, 16
.equ COPIED, 64                     # pages that each child writes
.equ RUNS, 8
.equ WORDS, 500
.equ ROUNDS, 4
.equ MAPPED, 256
.equ TICKS, 5

.macro SYS name:req
    movl $SYS_\name, %eax
    int $0x80
.endm

.macro SAY text:vararg
    call .Lsaid\@
.Ltext\@:
    .ascii \text
.Lsaid\@:
    popl %ebx
    movl $.Lsaid\@ - .Ltext\@, %ecx
    SYS write
.endm

.macro PHASE name:req
    movl $PHASE_\name, %ebx
    SYS phase
.endm

# Goes to `failed` unless EAX is that.
.macro EXPECT value:req
    cmpl \value, %eax
    jne failed
.endm

    .section .rodata
    .globl programs, nr_programs
    .balign 4
programs:                           # first byte, and the one after the last
    .long init, init_end
    .long worker, worker_end
nr_programs:
    .long (nr_programs - programs) / 8

# The first process: one kind of work after the other.
init:
    call system_calls
    call page_faults
    call forks
    call execs
    call switches
    call table_updates
    call timer
    xorl %ebx, %ebx
    SYS exit

failed:
    SAY "that was wrong\n"
    movl $1, %ebx
    SYS exit

system_calls:
    PHASE system_calls
    movl $CALLS, %esi
1:  SYS getpid
    EXPECT $1
    decl %esi
    jnz 1b
    PHASE other
    SAY "system calls: 2000, each with the right answer\n"
    ret

page_faults:
    PHASE page_faults
    movl $HEAP, %esi
1:  movl (%esi), %eax
    EXPECT $0
    movl %esi, (%esi)
    addl $PAGE, %esi
    cmpl $HEAP + PAGES * PAGE, %esi
    jne 1b
    PHASE other
    call check_heap
    SAY "page faults: 512 pages came as they were touched\n"
    ret

# Each page of the heap has its own address in it.
check_heap:
    movl $HEAP, %esi
1:  movl (%esi), %eax
    EXPECT %esi
    addl $PAGE, %esi
    cmpl $HEAP + PAGES * PAGE, %esi
    jne 1b
    ret

forks:
    PHASE fork
    movl $CHILDREN, %edi
1:  SYS fork
    testl %eax, %eax
    jz 2f
    SYS wait
    EXPECT %edi
    decl %edi
    jnz 1b
    PHASE other
    call check_heap
    SAY "fork: 16 children wrote 64 pages each, and none of them here\n"
    movl $HEAP, %ebx
    movl $PAGES, %ecx
    SYS unmap
    ret
2:  movl $HEAP, %esi                # a child: EDI is its status
3:  movl (%esi), %eax
    EXPECT %esi
    movl %edi, (%esi)
    addl $PAGE, %esi
    cmpl $HEAP + COPIED * PAGE, %esi
    jne 3b
    movl %edi, %ebx
    SYS exit

execs:
    PHASE exec
    movl $RUNS, %edi
1:  SYS fork
    testl %eax, %eax
    jz 2f
    SYS wait
    EXPECT $WORK
    decl %edi
    jnz 1b
    PHASE other
    SAY "exec: 8 runs of another program\n"
    ret
2:  movl $1, %ebx
    SYS exec
    jmp failed

switches:
    SYS fork
    testl %eax, %eax
    jz 2f
    PHASE context_switches
    movl $WORDS, %esi
1:  xorl %ebx, %ebx
    movl %esi, %ecx
    SYS put
    movl $1, %ebx
    SYS get
    notl %eax
    EXPECT %esi
    decl %esi
    jnz 1b
    PHASE other
    SYS wait
    EXPECT $0
    SAY "context switches: 500 words through a pipe, and as many answers\n"
    ret
2:  movl $WORDS, %esi               # the child answers
3:  xorl %ebx, %ebx
    SYS get
    EXPECT %esi
    notl %eax
    movl %eax, %ecx
    movl $1, %ebx
    SYS put
    decl %esi
    jnz 3b
    xorl %ebx, %ebx
    SYS exit

# WINDOW_CALL name, ...: a system call for all pages of the window.
.macro WINDOW_CALL name:req, writable=0
    movl $WINDOW, %ebx
    movl $MAPPED, %ecx
    movl $\writable, %edx
    SYS \name
.endm

table_updates:
    PHASE table_updates
    movl $ROUNDS, %esi
1:  WINDOW_CALL map
    movl %esi, WINDOW + (MAPPED - 1) * PAGE
    WINDOW_CALL protect, 0
    WINDOW_CALL protect, 1
    movl WINDOW + (MAPPED - 1) * PAGE, %eax
    EXPECT %esi
    movl %esi, WINDOW
    WINDOW_CALL unmap
    decl %esi
    jnz 1b
    PHASE other
    WINDOW_CALL map
    WINDOW_CALL protect, 0
    SYS fork
    testl %eax, %eax
    jz 2f
    SYS wait
    EXPECT $128 + VECTOR_PAGE_FAULT
    WINDOW_CALL unmap
    SAY "table updates: 4096, and nobody writes to a page that is read-only\n"
    ret
2:  movl %eax, WINDOW
    jmp failed

timer:
    call ticks                      # with nothing else to do
    SYS fork
    testl %eax, %eax
    jz 2f
    movl %eax, %esi
    call ticks                      # and with somebody who never gives up
    movl %esi, %ebx
    SYS kill
    EXPECT $0
    SYS wait
    EXPECT $-1
    SAY "timer: slept 5 ticks, and 5 more while another computed\n"
    ret
2:  jmp 2b

# Sleeps for TICKS. There are no more of them than that, unless the machine is slow.
ticks:
    PHASE timer
    movl $1, %ebx
    SYS timer
    movl $TICKS, %ebx
    SYS sleep
    xorl %ebx, %ebx
    SYS timer
    PHASE other
    ret
init_end:

# The other program: some work in memory that comes as it is touched.
.equ WORK, 4 * 1000

worker:
    xorl %ebx, %ebx
    movl $4, %edi
    movl $HEAP, %esi
1:  movl $1000, %ecx
2:  incl (%esi)
    loop 2b
    addl (%esi), %ebx
    addl $PAGE, %esi
    decl %edi
    jnz 1b
    SYS exit
worker_end:
