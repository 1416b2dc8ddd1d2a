# The system calls about signals; how they are delivered is in signal.S.

    .include "unix.inc"

.equ SIG_BLOCK, 0
.equ SIG_UNBLOCK, 1
.equ SIG_SETMASK, 2
.equ UNBLOCKABLE, 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1)

    .text
# EAX = process group, 0 for everybody but init and the current process; EDX = signal or 0. Gives how many got it.
FUNCTION signal_group
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %eax, %esi
    movl %edx, %edi
    xorl %ebp, %ebp
    movl $proc_table, %ebx
1:  cmpl $STATE_FREE, PROC_state(%ebx)
    je 4f
    testl %esi, %esi
    jz 2f
    cmpl %esi, PROC_pgid(%ebx)
    jne 4f
    jmp 3f
2:  cmpl $proc_table, %ebx
    je 4f
    cmpl current, %ebx
    je 4f
3:  incl %ebp
    testl %edi, %edi
    jz 4f
    movl %ebx, %eax
    movl %edi, %edx
    call signal_send
4:  addl $PROC_sizeof, %ebx
    cmpl $proc_table_end, %ebx
    jb 1b
    movl %ebp, %eax
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

# tgkill(EBX = process, ECX = thread, EDX = signal), tkill(EBX = thread, ECX = signal)
FUNCTION sys_tgkill
    movl %ecx, %ebx
    movl %edx, %ecx
FUNCTION sys_tkill
    testl %ebx, %ebx
    jg sys_kill
    movl $-EINVAL, %eax
    ret

# kill(EBX = pid, 0: own group, -1: everybody, else -group; ECX = signal or 0)
FUNCTION sys_kill
    movl $-EINVAL, %eax
    cmpl $NR_SIGNALS, %ecx
    ja 9f
    testl %ebx, %ebx
    jle 2f
    movl %ecx, %esi
    movl %ebx, %eax
    call proc_find
    testl %eax, %eax
    jz 8f
    movl %esi, %edx
    testl %edx, %edx
    jz 1f
    call signal_send
1:  xorl %eax, %eax
9:  ret
2:  movl %ecx, %edx
    movl %ebx, %eax
    negl %eax
    cmpl $1, %eax
    jne 3f
    xorl %eax, %eax
    jmp 4f
3:  testl %eax, %eax
    jnz 4f
    movl current, %eax
    movl PROC_pgid(%eax), %eax
4:  call signal_group
    testl %eax, %eax
    jnz 1b
8:  movl $-ESRCH, %eax
    ret

# rt_sigaction(EBX = signal, ECX = new action or 0, EDX = old one or 0, ESI = bytes of a mask)
FUNCTION sys_rt_sigaction
    movl $-EINVAL, %eax
    cmpl $8, %esi
    jne 9f
    leal -1(%ebx), %esi
    cmpl $NR_SIGNALS, %esi
    jae 9f
    imull $SIGACTION_sizeof, %esi, %esi
    addl current, %esi
    addl $PROC_sigactions, %esi
    movl %edx, %edi
    testl %ecx, %ecx
    jz 1f
    cmpl $SIGKILL, %ebx
    je 9f
    cmpl $SIGSTOP, %ebx
    je 9f
    movl %ecx, %eax
    movl $SIGACTION_sizeof, %edx
    call user_range
    movl (%ecx), %eax               # both pointers are tried before anything changes
1:  testl %edi, %edi
    jz 2f
    movl %edi, %eax
    movl $SIGACTION_sizeof, %edx
    call user_range
    movl (%edi), %eax
    movl %eax, (%edi)
2:  subl $SIGACTION_sizeof, %esp    # the new one first: old and new may be the same memory
    movl %ecx, %ebx
    testl %ecx, %ecx
    jz 3f
    movl %esp, %eax
    movl %ecx, %edx
    movl $SIGACTION_sizeof, %ecx
    call memory_copy
3:  testl %edi, %edi
    jz 4f
    movl %edi, %eax
    movl %esi, %edx
    movl $SIGACTION_sizeof, %ecx
    call memory_copy
4:  testl %ebx, %ebx
    jz 5f
    movl %esi, %eax
    movl %esp, %edx
    movl $SIGACTION_sizeof, %ecx
    call memory_copy
5:  addl $SIGACTION_sizeof, %esp
    xorl %eax, %eax
9:  ret

# EAX and EDX = mask: the current process blocks these signals and no others.
set_mask:
    movl current, %ecx
    andl $~UNBLOCKABLE, %eax
    movl %eax, PROC_blocked(%ecx)
    movl %edx, PROC_blocked+4(%ecx)
    ret

# rt_sigprocmask(EBX = how, ECX = set or 0, EDX = old set or 0, ESI = bytes of a set)
FUNCTION sys_rt_sigprocmask
    movl $-EINVAL, %eax
    cmpl $8, %esi
    jne 9f
    movl %edx, %edi
    movl current, %edx
    pushl PROC_blocked(%edx)
    pushl PROC_blocked+4(%edx)
    jecxz 4f
    movl %ecx, %eax
    movl $8, %edx
    call user_range
    movl (%eax), %eax
    movl 4(%ecx), %edx
    cmpl $SIG_SETMASK, %ebx
    je 3f
    cmpl $SIG_BLOCK, %ebx
    je 1f
    cmpl $SIG_UNBLOCK, %ebx
    je 2f
    addl $8, %esp
    movl $-EINVAL, %eax
9:  ret
1:  orl 4(%esp), %eax
    orl (%esp), %edx
    jmp 3f
2:  notl %eax
    notl %edx
    andl 4(%esp), %eax
    andl (%esp), %edx
3:  call set_mask
4:  popl %ecx
    popl %ebx
    testl %edi, %edi
    jz 5f
    movl %edi, %eax
    movl $8, %edx
    call user_range
    movl %ebx, (%edi)
    movl %ecx, 4(%edi)
5:  xorl %eax, %eax
    ret

# rt_sigpending(EBX = set)
FUNCTION sys_rt_sigpending
    movl %ebx, %eax
    movl $8, %edx
    call user_range
    movl current, %ecx
    movl PROC_pending(%ecx), %eax
    andl PROC_blocked(%ecx), %eax
    movl %eax, (%ebx)
    movl PROC_pending+4(%ecx), %eax
    andl PROC_blocked+4(%ecx), %eax
    movl %eax, 4(%ebx)
    xorl %eax, %eax
    ret

# rt_sigsuspend(EBX = set, ECX = its bytes): the old mask comes back when the handler returns.
FUNCTION sys_rt_sigsuspend
    movl $-EINVAL, %eax
    cmpl $8, %ecx
    jne 1f
    movl %ebx, %eax
    movl $8, %edx
    call user_range
    movl (%ebx), %eax
    movl 4(%ebx), %edx
    movl current, %ecx
    movl PROC_blocked(%ecx), %ebx
    movl %ebx, PROC_saved_mask(%ecx)
    movl PROC_blocked+4(%ecx), %ebx
    movl %ebx, PROC_saved_mask+4(%ecx)
    orl $PF_SUSPENDED, PROC_flags(%ecx)
    call set_mask

FUNCTION sys_pause
    movl $sys_pause, %eax           # nobody wakes this channel
    call sleep
    testl %eax, %eax
    jz sys_pause
    movl $-EINTR, %eax
1:  ret
