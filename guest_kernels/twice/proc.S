# Processes: the table, who runs, fork, exec, exit, wait, pipes and sleeping. The kernel is never interrupted; a process
# runs until it sleeps or ends, or until a tick finds it in ring 3.

    .include "twice.inc"

    .bss
    .balign PAGE
stacks:                             # the kernel stack of each
    .skip NR_PROCS * PAGE
proc_table:
    .skip NR_PROCS * PROC_sizeof
proc_table_end:
    .globl current, need_resched
current:                            # the process that runs
    .skip 4
need_resched:                       # somebody else's turn before the next return to ring 3
    .skip 4
last_pid:
    .skip 4
ticks:
    .skip 4
pipes:                              # of one word each: 1 if it is full, and the word
    .skip NR_PIPES * 8

    .text
# Gives a free place in the table, with a pid and a stack. It stays free until its state is set.
proc_alloc:
    movl $proc_table, %eax
    movl $stacks + PAGE, %edx
1:  cmpl $FREE, PROC_state(%eax)
    je 2f
    addl $PAGE, %edx
    addl $PROC_sizeof, %eax
    cmpl $proc_table_end, %eax
    jb 1b
    PANIC "too many processes"
2:  movl %edx, PROC_stack_top(%eax)
    incl last_pid
    movl last_pid, %edx
    movl %edx, PROC_pid(%eax)
    movl current, %edx
    movl %edx, PROC_parent(%eax)
    ret

# The first process, as if it had called exec.
FUNCTION start_init
    call proc_alloc
    movl %eax, current
    movl $RUNNABLE, PROC_state(%eax)
    movl PROC_stack_top(%eax), %ebp
    subl $FRAME_sizeof, %ebp
    movl %ebp, %esp
    movl $FRAME_sizeof / 4, %ecx
    movl %ebp, %edi
    xorl %eax, %eax
    rep stosl
    movl $USER_CS, FRAME_cs(%ebp)
    movl $USER_DS, FRAME_ss(%ebp)
    movl $EFLAGS_IF, FRAME_eflags(%ebp)
    xorl %ebx, %ebx
    call sys_exec
    movl current, %eax
    movl PROC_space(%eax), %edx
    movl PROC_stack_top(%eax), %eax
    call machine_switch
    jmp return_to_user

# exec(EBX = number of the program): comes back only for a number that is none, with -1.
FUNCTION sys_exec
    movl $-1, %eax
    cmpl nr_programs, %ebx
    jae 2f
    call space_new
    movl %eax, %esi
    movl programs(,%ebx,8), %edx
    movl programs + 4(,%ebx,8), %ecx
    subl %edx, %ecx
    call space_fill
    movl %esi, %eax
    call space_commit
    movl %esi, %eax
    call space_load
    movl current, %ebx
    xchgl %esi, PROC_space(%ebx)
    testl %esi, %esi
    jz 1f
    movl %esi, %eax
    call space_destroy
1:  movl $PROGRAM, FRAME_eip(%ebp)
    movl $STACK_TOP, FRAME_esp(%ebp)
    xorl %eax, %eax
2:  ret

FUNCTION sys_fork
    call proc_alloc
    movl %eax, %ebx
    call space_fork
    movl %eax, PROC_space(%ebx)
    movl PROC_stack_top(%ebx), %edi
    subl $FRAME_sizeof, %edi
    movl %edi, %edx
    movl %ebp, %esi
    movl $FRAME_sizeof / 4, %ecx
    rep movsl
    movl $0, FRAME_eax(%edx)
    leal -20(%edx), %eax            # what `schedule` finds on the stack of one that was switched from
    movl %eax, PROC_esp(%ebx)
    movl %edx, 12(%eax)             # EBP
    movl $return_to_user, 16(%eax)
    movl $RUNNABLE, PROC_state(%ebx)
    movl PROC_pid(%ebx), %eax
    ret

FUNCTION sys_exit
    movl %ebx, %eax

# EAX = status of the current process, which ends.
FUNCTION process_exit
    movl current, %ebx
    cmpl $1, PROC_pid(%ebx)
    je last_exit
    movl %eax, PROC_status(%ebx)
    movl $ZOMBIE, PROC_state(%ebx)
    movl PROC_parent(%ebx), %eax
    call wake
    call schedule                   # somebody else's stack: this one is not used again

# The first process has ended, and nobody waits for it.
last_exit:
    movl %eax, %esi
    movl kernel_space, %eax
    call space_load
    movl PROC_space(%ebx), %eax
    call space_destroy
    movl %esi, %eax
    jmp init_ended

# wait: gives the status of a child that has ended, -1 if there is none.
FUNCTION sys_wait
    movl $-1, %edi
    movl $proc_table, %ebx
1:  cmpl $FREE, PROC_state(%ebx)
    je 2f
    movl current, %eax
    cmpl %eax, PROC_parent(%ebx)
    jne 2f
    cmpl $ZOMBIE, PROC_state(%ebx)
    je 3f
    xorl %edi, %edi
2:  addl $PROC_sizeof, %ebx
    cmpl $proc_table_end, %ebx
    jb 1b
    movl %edi, %eax
    testl %edi, %edi
    jnz 4f
    movl current, %eax
    call block
    jmp sys_wait
3:  movl PROC_space(%ebx), %eax
    call space_destroy
    movl $FREE, PROC_state(%ebx)
    movl $0, PROC_space(%ebx)
    movl PROC_status(%ebx), %eax
4:  ret

# kill(EBX = pid of a child of the caller's): it ends with status -1. Gives 0, or -1 if there is none.
FUNCTION sys_kill
    movl $proc_table, %edx
    movl current, %ecx
1:  cmpl %ebx, PROC_pid(%edx)
    jne 2f
    cmpl %ecx, PROC_parent(%edx)
    je 3f
2:  addl $PROC_sizeof, %edx
    cmpl $proc_table_end, %edx
    jb 1b
    movl $-1, %eax
    ret
3:  movl $-1, PROC_status(%edx)
    movl $ZOMBIE, PROC_state(%edx)
    xorl %eax, %eax
    ret

FUNCTION sys_getpid
    movl current, %eax
    movl PROC_pid(%eax), %eax
    ret

# put(EBX = pipe, ECX = word): waits until there is room.
FUNCTION sys_put
    call pipe_of
1:  cmpl $0, (%ebx)
    je 2f
    movl %ebx, %eax
    call block
    jmp 1b
2:  movl $1, (%ebx)
    movl FRAME_ecx(%ebp), %eax
    movl %eax, 4(%ebx)
    movl %ebx, %eax
    call wake
    xorl %eax, %eax
    ret

# get(EBX = pipe): waits until there is a word, and gives it.
FUNCTION sys_get
    call pipe_of
1:  cmpl $0, (%ebx)
    jne 2f
    movl %ebx, %eax
    call block
    jmp 1b
2:  movl $0, (%ebx)
    movl %ebx, %eax
    call wake
    movl 4(%ebx), %eax
    ret

# EBX = number of a pipe; becomes its address.
pipe_of:
    andl $NR_PIPES - 1, %ebx
    leal pipes(,%ebx,8), %ebx
    ret

# timer(EBX = 1 or 0)
FUNCTION sys_timer
    testl %ebx, %ebx
    jz 1f
    call timer_start
    xorl %eax, %eax
    ret
1:  call timer_stop
    xorl %eax, %eax
    ret

# sleep(EBX = ticks)
FUNCTION sys_sleep
    addl ticks, %ebx
1:  cmpl %ebx, ticks
    jns 2f
    movl $ticks, %eax
    call block
    jmp 1b
2:  xorl %eax, %eax
    ret

# The timer's: a turn is over.
FUNCTION tick
    incl ticks
    movl $1, need_resched
    movl $ticks, %eax

# EAX = channel: wakes all who sleep on it.
FUNCTION wake
    movl $proc_table, %edx
1:  cmpl $SLEEPING, PROC_state(%edx)
    jne 2f
    cmpl %eax, PROC_channel(%edx)
    jne 2f
    movl $RUNNABLE, PROC_state(%edx)
2:  addl $PROC_sizeof, %edx
    cmpl $proc_table_end, %edx
    jb 1b
    ret

# EAX = channel: sleeps until it is woken. Callers check in a loop what they wait for.
FUNCTION block
    movl current, %edx
    movl %eax, PROC_channel(%edx)
    movl $SLEEPING, PROC_state(%edx)

# Gives the processor to the next that is runnable; comes back when it is this one's turn again.
FUNCTION schedule
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $0, need_resched
    movl current, %ebx
    movl %esp, PROC_esp(%ebx)
1:  movl %ebx, %esi
    movl $NR_PROCS, %ecx
2:  addl $PROC_sizeof, %esi         # the next of the table, itself last
    cmpl $proc_table_end, %esi
    jb 3f
    movl $proc_table, %esi
3:  cmpl $RUNNABLE, PROC_state(%esi)
    je 4f
    decl %ecx
    jnz 2b
    call machine_idle
    jmp 1b
4:  cmpl %ebx, %esi
    je 5f
    movl %esi, current
    movl PROC_space(%esi), %edx
    movl PROC_stack_top(%esi), %eax
    call machine_switch
5:  movl PROC_esp(%esi), %esp
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret
