# Processes: the table, fork, exit and wait.

    .include "unix.inc"

    .bss
    .balign 4096
stacks:                             # the kernel stack of each
    .skip NR_PROCS * KERNEL_STACK
    .balign 16
    .globl proc_table, proc_table_end
proc_table:
    .skip NR_PROCS * PROC_sizeof
proc_table_end:
last_pid:
    .skip 4

.equ CLONE_VM, 0x100
.equ CLONE_VFORK, 0x4000
.equ CLONE_THREAD, 0x10000
.equ CLONE_SETTLS, 0x80000
.equ CLONE_PARENT_SETTID, 0x100000
.equ CLONE_CHILD_SETTID, 0x1000000
.equ WNOHANG, 1
.equ RUSAGE_sizeof, 72

    .text
# Gives a free place in the table with pid and stack, or 0. It stays free until its state is set.
FUNCTION proc_alloc
    movl $proc_table, %eax
    movl $stacks + KERNEL_STACK, %edx
1:  cmpl $STATE_FREE, PROC_state(%eax)
    je 2f
    addl $KERNEL_STACK, %edx
    addl $PROC_sizeof, %eax
    cmpl $proc_table_end, %eax
    jb 1b
    xorl %eax, %eax
    ret
2:  movl %edx, PROC_stack_top(%eax)
    incl last_pid
    andl $0x3fffffff, last_pid
    jz 2b                           # 0 is no pid
    movl last_pid, %edx
    movl %edx, PROC_pid(%eax)
    ret

# EAX = pid; gives the process, or 0.
FUNCTION proc_find
    movl $proc_table, %edx
1:  cmpl $STATE_FREE, PROC_state(%edx)
    je 2f
    cmpl %eax, PROC_pid(%edx)
    je 3f
2:  addl $PROC_sizeof, %edx
    cmpl $proc_table_end, %edx
    jb 1b
    xorl %edx, %edx
3:  movl %edx, %eax
    ret

FUNCTION sys_fork
    movl $SIGCHLD, %ebx
    xorl %ecx, %ecx
    jmp sys_clone

# A child of vfork has a copy of the memory, not the memory itself; the parent waits as POSIX has it.
FUNCTION sys_vfork
    movl $SIGCHLD | CLONE_VFORK, %ebx
    xorl %ecx, %ecx

# clone(EBX = flags, ECX = stack or 0, EDX = parent's pid word, ESI = TLS, EDI = child's pid word). Threads are
# not supported.
FUNCTION sys_clone
    movl $-ENOSYS, %eax
    testl $CLONE_THREAD | CLONE_SETTLS, %ebx
    jnz 9f
    movl %ebx, %esi
    andl $CLONE_VM | CLONE_VFORK, %esi
    cmpl $CLONE_VM, %esi
    je 9f
    pushl %ecx
    testl $CLONE_PARENT_SETTID, %ebx
    jz 1f
    movl %edx, %eax
    movl $4, %edx
    call user_range
    movl FRAME_edx(%ebp), %eax
    movl $0, (%eax)                 # a bad pointer fails here, before there is a child
1:  call proc_alloc
    movl %eax, %esi
    movl $-EAGAIN, %eax
    testl %esi, %esi
    jz 8f
    call space_fork
    movl %eax, %edx
    movl $-ENOMEM, %eax
    testl %edx, %edx
    jz 8f
    call copy_process
    popl %ecx
    testl %ecx, %ecx
    jz 2f
    movl PROC_stack_top(%esi), %eax
    movl %ecx, FRAME_esp - FRAME_sizeof(%eax)
2:  movl PROC_pid(%esi), %eax
    testl $CLONE_PARENT_SETTID, %ebx
    jz 3f
    movl FRAME_edx(%ebp), %edx
    movl %eax, (%edx)
3:  testl $CLONE_CHILD_SETTID, %ebx
    jz 4f
    movl %edi, PROC_settid(%esi)
4:  testl $CLONE_VFORK, %ebx
    jz 9f
    pushl %eax
    movl current, %edx
    movl %edx, PROC_vforker(%esi)
5:  movl %esi, %eax
    call block
    cmpl $0, PROC_vforker(%esi)
    jne 5b
    popl %eax
9:  ret
8:  popl %ecx
    ret

# ESI = free place, EDX = its level 3 table, EBP = frame: makes it a copy of the current process, about to
# return 0 from the same system call.
copy_process:
    pushl %ebx
    pushl %edi
    movl current, %ebx
    cmpl %ebx, fpu_owner
    jne 1f
    fxsave PROC_fpu(%ebx)
1:  pushl %edx
    pushl PROC_pid(%esi)
    pushl PROC_stack_top(%esi)
    movl %esi, %eax
    movl %ebx, %edx
    movl $PROC_sizeof, %ecx
    call memory_copy
    popl PROC_stack_top(%esi)
    popl PROC_pid(%esi)
    popl PROC_l3(%esi)
    movl %ebx, PROC_parent(%esi)
    xorl %eax, %eax
    movl %eax, PROC_pending(%esi)
    movl %eax, PROC_pending+4(%esi)
    movl %eax, PROC_deadline(%esi)
    movl %eax, PROC_deadline+4(%esi)
    movl %eax, PROC_vforker(%esi)
    movl %eax, PROC_settid(%esi)
    movl %eax, PROC_flags(%esi)
    movl %gs, %eax
    movw %ax, PROC_gs(%esi)
    movl %fs, %eax
    movw %ax, PROC_fs(%esi)
    movl $NR_FDS, %ecx
2:  movl PROC_fds-4(%esi,%ecx,4), %eax
    testl %eax, %eax
    jz 3f
    incl FILE_refs(%eax)
3:  loop 2b
    movl PROC_stack_top(%esi), %edi
    subl $FRAME_sizeof, %edi
    movl %edi, %eax
    movl %ebp, %edx
    movl $FRAME_sizeof, %ecx
    call memory_copy
    movl $0, FRAME_eax(%edi)
    movl $fork_return, -4(%edi)     # what schedule pops: EDI, ESI, EBX, EBP, return address
    movl %edi, -8(%edi)
    subl $20, %edi
    movl %edi, PROC_esp(%esi)
    movl $STATE_RUNNABLE, PROC_state(%esi)
    incl live_processes
    call start_slice
    popl %edi
    popl %ebx
    ret

# A new process runs for the first time: in its own address space it can be told its pid.
fork_return:
    movl current, %ebx
    movl PROC_settid(%ebx), %eax
    testl %eax, %eax
    jz 1f
    movl $4, %edx
    call user_range
    movl PROC_pid(%ebx), %ecx
    movl %ecx, (%eax)
1:  xorl %eax, %eax
    jmp syscall_return

# exit(EBX = code), exit_group: processes have one thread.
FUNCTION sys_exit
    movzbl %bl, %eax
    shll $8, %eax

# EAX = status as wait4 gives it: ends the current process. Does not return.
FUNCTION process_exit
    movl current, %ebx
    movl %eax, PROC_status(%ebx)
    movl $NR_FDS - 1, %esi
1:  movl %esi, %eax
    call fd_close
    decl %esi
    jns 1b
    cmpl %ebx, fpu_owner
    jne 2f
    movl $0, fpu_owner
2:  call space_leave
    movl PROC_l3(%ebx), %eax
    movl $0, PROC_l3(%ebx)
    movl $1, %edx
    call space_destroy
    cmpl $1, PROC_pid(%ebx)
    jne 3f
    movl PROC_status(%ebx), %eax
    jmp init_ended
3:  call release_vforker
    call orphan_children
    movl $STATE_ZOMBIE, PROC_state(%ebx)
    decl live_processes
    movl PROC_parent(%ebx), %esi
    cmpl $SIG_IGN, PROC_sigactions + SIGACTION_sizeof * (SIGCHLD - 1)(%esi)
    jne 4f
    movl $STATE_FREE, PROC_state(%ebx) # a parent that ignores SIGCHLD does not want to know
4:  movl %esi, %eax
    movl $SIGCHLD, %edx
    call signal_send
    movl %esi, %eax
    call wake
    jmp schedule

# The current process no longer needs what vfork lent it: the parent may go on.
FUNCTION release_vforker
    movl current, %eax
    movl $0, PROC_vforker(%eax)
    jmp wake

# The children of the current process go to init.
orphan_children:
    movl $proc_table, %edx
    movl current, %ecx
1:  cmpl %ecx, PROC_parent(%edx)
    jne 2f
    movl $proc_table, PROC_parent(%edx) # init has the first place
2:  addl $PROC_sizeof, %edx
    cmpl $proc_table_end, %edx
    jb 1b
    movl $proc_table, %eax
    jmp wake

# EBX = pid as wait4 takes it, EDX = process; ZF set if it is one of those.
wait_match:
    cmpl $-1, %ebx
    je 2f
    testl %ebx, %ebx
    jz 1f
    js 3f
    cmpl %ebx, PROC_pid(%edx)
    ret
1:  movl current, %eax
    movl PROC_pgid(%eax), %eax
    cmpl %eax, PROC_pgid(%edx)
    ret
3:  movl %ebx, %eax
    negl %eax
    cmpl %eax, PROC_pgid(%edx)
2:  ret

FUNCTION sys_waitpid
    xorl %esi, %esi

# wait4(EBX = pid, ECX = status or 0, EDX = options, ESI = resource usage or 0)
FUNCTION sys_wait4
    movl current, %edi
1:  xorl %ecx, %ecx                 # children that match
    movl $proc_table, %edx
2:  cmpl $STATE_FREE, PROC_state(%edx)
    je 3f
    cmpl %edi, PROC_parent(%edx)
    jne 3f
    call wait_match
    jne 3f
    incl %ecx
    cmpl $STATE_ZOMBIE, PROC_state(%edx)
    je 5f
3:  addl $PROC_sizeof, %edx
    cmpl $proc_table_end, %edx
    jb 2b
    movl $-ECHILD, %eax
    jecxz 4f
    xorl %eax, %eax
    testl $WNOHANG, FRAME_edx(%ebp)
    jnz 4f
    movl %edi, %eax
    call sleep
    testl %eax, %eax
    jz 1b
    movl $-ERESTART_CALL, %eax
4:  ret
5:  movl %edx, %ebx                 # the results first: a bad pointer must not lose the child
    movl FRAME_ecx(%ebp), %eax
    testl %eax, %eax
    jz 6f
    movl $4, %edx
    call user_range
    movl PROC_status(%ebx), %ecx
    movl %ecx, (%eax)
6:  movl %esi, %eax
    testl %eax, %eax
    jz 7f
    movl $RUSAGE_sizeof, %edx
    call user_range
    xorl %edx, %edx
    movl $RUSAGE_sizeof, %ecx
    call memory_set
7:  movl $STATE_FREE, PROC_state(%ebx)
    movl PROC_pid(%ebx), %eax
    ret
