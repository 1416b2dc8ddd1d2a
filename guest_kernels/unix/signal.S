# Signals. There is no job control: the signals that stop a process are ignored.

    .include "unix.inc"

.equ SA_SIGINFO, 4
.equ SA_RESTART, 0x10000000
.equ SA_NODEFER, 0x40000000
.equ SA_RESETHAND, 0x80000000
.equ USER_EFLAGS, 0x50DD5           # CF PF AF ZF SF TF DF OF RF AC: what a handler may change
.equ UNBLOCKABLE, 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1)
.equ IGNORED, 1<<(SIGCHLD-1) | 1<<(SIGCONT-1) | 1<<(SIGSTOP-1) | 1<<(SIGTSTP-1) | 1<<(SIGTTIN-1) | 1<<(SIGTTOU-1) | 1<<(SIGURG-1) | 1<<(SIGWINCH-1)

# What a handler finds on its stack, as Linux lays it out: return address, signal and, for SA_SIGINFO, pointers
# to siginfo and ucontext; then the context. The FPU's registers come last.
.equ SC_gs, 0
.equ SC_fs, 4
.equ SC_es, 8
.equ SC_ds, 12
.equ SC_edi, 16
.equ SC_esi, 20
.equ SC_ebp, 24
.equ SC_esp, 28
.equ SC_ebx, 32
.equ SC_edx, 36
.equ SC_ecx, 40
.equ SC_eax, 44
.equ SC_trapno, 48
.equ SC_err, 52
.equ SC_eip, 56
.equ SC_cs, 60
.equ SC_eflags, 64
.equ SC_esp_at_signal, 68
.equ SC_ss, 72
.equ SC_fpstate, 76
.equ SC_oldmask, 80
.equ SC_cr2, 84
.equ SC_sizeof, 88
.equ SIGFRAME_context, 8
.equ SIGFRAME_mask_high, SIGFRAME_context + SC_sizeof
.equ SIGFRAME_sizeof, SIGFRAME_mask_high + 4
.equ RTFRAME_info, 16
.equ RTFRAME_ucontext, RTFRAME_info + 128
.equ RTFRAME_context, RTFRAME_ucontext + 20
.equ RTFRAME_mask, RTFRAME_context + SC_sizeof
.equ RTFRAME_sizeof, RTFRAME_mask + 8
.equ FPSTATE_fxsave, 112            # the older format comes first; it is left empty
.equ FPSTATE_sizeof, FPSTATE_fxsave + 512

    .text
# EAX = signal of the current process; gives the address of its sigaction.
sigaction_of:
    movl current, %edx
    imull $SIGACTION_sizeof, %eax, %eax
    leal PROC_sigactions - SIGACTION_sizeof(%edx,%eax), %eax
    ret

# Gives 1 if the current process has a signal that is not blocked, else 0.
FUNCTION signal_pending
    movl current, %edx
    movl PROC_blocked(%edx), %eax
    notl %eax
    andl PROC_pending(%edx), %eax
    movl PROC_blocked+4(%edx), %ecx
    notl %ecx
    andl PROC_pending+4(%edx), %ecx
    orl %ecx, %eax
    jz 1f
    movl $1, %eax
1:  ret

# EAX = signal; gives 1 if the current process has a handler for it and does not block it.
FUNCTION signal_caught
    leal -1(%eax), %ecx
    call sigaction_of
    cmpl $SIG_IGN, SIGACTION_handler(%eax)
    movl $0, %eax
    jbe 1f
    movl current, %edx
    btl %ecx, PROC_blocked(%edx)
    setnc %al
1:  ret

# EAX = process, EDX = signal: it gets the signal, unless it would ignore it.
FUNCTION signal_send
    pushl %ebx
    movl %eax, %ebx
    cmpl $STATE_RUNNABLE, PROC_state(%ebx)
    jb 2f
    cmpl $STATE_ZOMBIE, PROC_state(%ebx)
    je 2f
    leal -1(%edx), %ecx
    btl %ecx, PROC_blocked(%ebx)
    jc 1f                           # may be wanted later: keep it
    imull $SIGACTION_sizeof, %ecx, %eax
    movl PROC_sigactions + SIGACTION_handler(%ebx,%eax), %eax
    cmpl $SIG_IGN, %eax
    je 2f
    ja 3f
    cmpl $32, %ecx
    jae 3f
    movl $IGNORED, %eax
    btl %ecx, %eax
    jc 2f
3:  cmpl $STATE_SLEEPING, PROC_state(%ebx)
    jne 1f
    movl $STATE_RUNNABLE, PROC_state(%ebx)
1:  btsl %ecx, PROC_pending(%ebx)
2:  popl %ebx
    ret

# EBP = frame of the current process on its way to ring 3: takes its signals until one has a handler, or ends
# the process. A system call that a signal interrupted is restarted, or fails with -EINTR.
FUNCTION signal_deliver
    movl current, %ebx
1:  movl PROC_blocked(%ebx), %eax
    notl %eax
    andl PROC_pending(%ebx), %eax
    bsfl %eax, %ecx
    jnz 2f
    movl PROC_blocked+4(%ebx), %eax
    notl %eax
    andl PROC_pending+4(%ebx), %eax
    bsfl %eax, %ecx
    jz 5f
    addl $32, %ecx
2:  btrl %ecx, PROC_pending(%ebx)
    imull $SIGACTION_sizeof, %ecx, %esi
    leal PROC_sigactions(%ebx,%esi), %esi
    movl SIGACTION_handler(%esi), %eax
    cmpl $SIG_IGN, %eax
    je 1b
    ja 4f
    cmpl $32, %ecx
    jae 3f
    movl $IGNORED, %eax
    btl %ecx, %eax
    jc 1b
3:  leal 1(%ecx), %eax              # no handler: the default is to end
    jmp process_exit
4:  call end_interrupted_call
    leal 1(%ecx), %edi
    jmp call_handler
5:  testl $PF_SUSPENDED, PROC_flags(%ebx)
    jz 6f
    andl $~PF_SUSPENDED, PROC_flags(%ebx)
    movl PROC_saved_mask(%ebx), %eax
    movl %eax, PROC_blocked(%ebx)
    movl PROC_saved_mask+4(%ebx), %eax
    movl %eax, PROC_blocked+4(%ebx)
6:  cmpl $-ERESTART_CALL, FRAME_eax(%ebp)
    je restart_call
    ret

# ESI = sigaction of the signal that interrupted.
end_interrupted_call:
    cmpl $-ERESTART_CALL, FRAME_eax(%ebp)
    jne 1f
    testl $SA_RESTART, SIGACTION_flags(%esi)
    jnz restart_call
    movl $-EINTR, FRAME_eax(%ebp)
1:  ret

restart_call:
    cmpl $-1, FRAME_orig(%ebp)
    je 1f
    movl FRAME_orig(%ebp), %eax
    movl %eax, FRAME_eax(%ebp)
    subl $2, FRAME_eip(%ebp)        # over `int $0x80` again
1:  ret

# EBX = current process, EBP = frame, EDI = signal, ESI = its sigaction: makes the process run the handler. If
# its stack cannot take the frame the process ends.
call_handler:
    orl $PF_DOOMED, PROC_flags(%ebx)
    movl FRAME_esp(%ebp), %ecx
    subl $FPSTATE_sizeof, %ecx
    andl $-16, %ecx
    movl %ecx, %edx                 # EDX = FPU state, ECX = frame
    subl $SIGFRAME_sizeof, %ecx
    testl $SA_SIGINFO, SIGACTION_flags(%esi)
    jz 1f
    subl $RTFRAME_sizeof - SIGFRAME_sizeof, %ecx
1:  andl $-16, %ecx
    subl $4, %ecx                   # so that the arguments are aligned, as after a call
    movl %ecx, %eax
    pushl %edx
    movl FRAME_esp(%ebp), %edx
    subl %ecx, %edx
    call user_range
    popl %edx
    call save_fpu
    movl SIGACTION_restorer(%esi), %eax
    movl %eax, (%ecx)
    movl %edi, 4(%ecx)
    testl $SA_SIGINFO, SIGACTION_flags(%esi)
    jnz 2f
    leal SIGFRAME_context(%ecx), %eax
    call save_context
    call current_mask
    movl %eax, SIGFRAME_context + SC_oldmask(%ecx)
    movl %edx, SIGFRAME_mask_high(%ecx)
    jmp 3f
2:  call save_rt_frame
3:  call enter_handler
    andl $~PF_DOOMED, PROC_flags(%ebx)
    ret

# The mask that sigreturn brings back, in EDX:EAX; EBX = current process.
current_mask:
    movl PROC_blocked(%ebx), %eax
    movl PROC_blocked+4(%ebx), %edx
    testl $PF_SUSPENDED, PROC_flags(%ebx)
    jz 1f
    movl PROC_saved_mask(%ebx), %eax
    movl PROC_saved_mask+4(%ebx), %edx
1:  ret

# ECX = frame of a handler with SA_SIGINFO, EDX = FPU state, EDI = signal.
save_rt_frame:
    pushl %edi
    pushl %edx
    pushl %ecx
    leal RTFRAME_info(%ecx), %edi
    movl $(RTFRAME_sizeof - RTFRAME_info) / 4, %ecx
    xorl %eax, %eax
    rep stosl
    popl %ecx
    popl %edx
    popl %edi
    movl %edi, RTFRAME_info(%ecx)
    leal RTFRAME_info(%ecx), %eax
    movl %eax, 8(%ecx)
    leal RTFRAME_ucontext(%ecx), %eax
    movl %eax, 12(%ecx)
    leal RTFRAME_context(%ecx), %eax
    call save_context
    call current_mask
    movl %eax, RTFRAME_mask(%ecx)
    movl %edx, RTFRAME_mask+4(%ecx)
    ret

# EDX = user address of the FPU state: fills it with the current process's registers.
save_fpu:
    pushl %ecx
    pushl %esi
    pushl %edi
    cmpl %ebx, fpu_owner
    jne 1f
    fxsave PROC_fpu(%ebx)
1:  movl %edx, %edi
    movl $FPSTATE_fxsave / 4, %ecx
    xorl %eax, %eax
    rep stosl
    leal PROC_fpu(%ebx), %esi
    movl $512 / 4, %ecx
    rep movsl
    popl %edi
    popl %esi
    popl %ecx
    ret

# EAX = user address of a sigcontext, EDX = FPU state, EBP = frame.
save_context:
    pushl %ecx
    movl %edx, SC_fpstate(%eax)
    .irp register, edi, esi, ebp, ebx, edx, ecx, eax, eip, eflags, esp
    movl FRAME_\register(%ebp), %ecx
    movl %ecx, SC_\register(%eax)
    .endr
    movl %ecx, SC_esp_at_signal(%eax)
    movl %gs, %ecx
    movzwl %cx, %ecx
    movl %ecx, SC_gs(%eax)
    movl %fs, %ecx
    movzwl %cx, %ecx
    movl %ecx, SC_fs(%eax)
    movl $FLAT_USER_DS, SC_ds(%eax)
    movl $FLAT_USER_DS, SC_es(%eax)
    movl $FLAT_USER_CS, SC_cs(%eax)
    movl $FLAT_USER_SS, SC_ss(%eax)
    movl FRAME_vector(%ebp), %ecx
    movl %ecx, SC_trapno(%eax)
    movl PROC_error(%ebx), %ecx
    movl %ecx, SC_err(%eax)
    movl shared_info + VCPU_INFO_arch_cr2, %ecx
    movl %ecx, SC_cr2(%eax)
    popl %ecx
    ret

# ECX = the handler's stack, EDI = signal, ESI = sigaction: the frame now leads to the handler, with the
# action's signals blocked.
enter_handler:
    movl %ecx, FRAME_esp(%ebp)
    movl SIGACTION_handler(%esi), %eax
    movl %eax, FRAME_eip(%ebp)
    movl %edi, FRAME_eax(%ebp)
    leal RTFRAME_info(%ecx), %eax
    movl %eax, FRAME_edx(%ebp)
    leal RTFRAME_ucontext(%ecx), %eax
    movl %eax, FRAME_ecx(%ebp)
    andl $~(X86_EFLAGS_TF | X86_EFLAGS_DF), FRAME_eflags(%ebp)
    movl $-1, FRAME_orig(%ebp)
    andl $~PF_SUSPENDED, PROC_flags(%ebx)
    movl SIGACTION_mask(%esi), %eax
    andl $~UNBLOCKABLE, %eax
    orl %eax, PROC_blocked(%ebx)
    movl SIGACTION_mask+4(%esi), %eax
    orl %eax, PROC_blocked+4(%ebx)
    movl SIGACTION_flags(%esi), %eax
    testl $SA_NODEFER, %eax
    jnz 1f
    leal -1(%edi), %ecx
    btsl %ecx, PROC_blocked(%ebx)
1:  testl $SA_RESETHAND, %eax
    jz 2f
    movl $SIG_DFL, SIGACTION_handler(%esi)
2:  ret

# The handler is done: EBP = frame, whose stack pointer is after the return address and, for the older form,
# the signal.
FUNCTION sys_sigreturn
    movl FRAME_esp(%ebp), %eax
    subl $8, %eax
    movl $SIGFRAME_sizeof, %edx
    call user_range
    movl SIGFRAME_context + SC_oldmask(%eax), %ecx
    movl SIGFRAME_mask_high(%eax), %edx
    addl $SIGFRAME_context, %eax
    jmp leave_handler

FUNCTION sys_rt_sigreturn
    movl FRAME_esp(%ebp), %eax
    subl $4, %eax
    movl $RTFRAME_sizeof, %edx
    call user_range
    movl RTFRAME_mask(%eax), %ecx
    movl RTFRAME_mask+4(%eax), %edx
    addl $RTFRAME_context, %eax

# EAX = sigcontext, EDX:ECX = mask. The process may have written anything there: nothing of it can give it
# another ring, or make a register load fault.
leave_handler:
    movl current, %ebx
    andl $~UNBLOCKABLE, %ecx
    movl %ecx, PROC_blocked(%ebx)
    movl %edx, PROC_blocked+4(%ebx)
    .irp register, edi, esi, ebp, ebx, edx, ecx, eax, eip, esp
    movl SC_\register(%eax), %ecx
    movl %ecx, FRAME_\register(%ebp)
    .endr
    movl SC_eflags(%eax), %ecx
    andl $USER_EFLAGS, %ecx
    andl $~USER_EFLAGS, FRAME_eflags(%ebp)
    orl %ecx, FRAME_eflags(%ebp)
    movl $-1, FRAME_orig(%ebp)
    movl SC_fpstate(%eax), %eax
    testl %eax, %eax
    jz return_to_user
    movl $FPSTATE_sizeof, %edx
    call user_range
    leal FPSTATE_fxsave(%eax), %esi
    leal PROC_fpu(%ebx), %edi
    movl $512 / 4, %ecx
    rep movsl
    andl $0xffbf, PROC_fpu + 24(%ebx) # MXCSR's other bits would fault
    cmpl %ebx, fpu_owner
    jne return_to_user
    call fpu_forget
    jmp return_to_user
