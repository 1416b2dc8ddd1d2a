# Small system calls: who a process is, what it may use, what system this is, random numbers.

    .include "unix.inc"

.equ UTSNAME_FIELD, 65
.equ PR_SET_NAME, 15
.equ PR_GET_NAME, 16
.equ RLIMIT_STACK, 3
.equ RLIMIT_NPROC, 6
.equ RLIMIT_NOFILE, 7
.equ FUTEX_WAIT, 0
.equ FUTEX_WAKE, 1
.equ FUTEX_COMMAND, 0x7f
.equ MAX_RANDOM, 1 << 20            # bytes of one call
.equ SYSINFO_uptime, 0
.equ SYSINFO_totalram, 16
.equ SYSINFO_freeram, 20
.equ SYSINFO_procs, 40
.equ SYSINFO_unit, 52
.equ SYSINFO_sizeof, 64

.macro UTS_FIELD text
1:  .ascii "\text"
    .skip UTSNAME_FIELD - (. - 1b)
.endm
    .section .rodata
uts:                                # struct utsname
    UTS_FIELD "Linux"
    UTS_FIELD "unix"
    UTS_FIELD "5.4.0-paravane"
    UTS_FIELD "#1 guest kernel unix"
    UTS_FIELD "i686"
    UTS_FIELD "(none)"
uts_end:

    .bss
    .balign 4
random_state:
    .skip 4
sysinfo:
    .skip SYSINFO_sizeof

    .text
FUNCTION sys_getpid
    movl current, %eax
    movl PROC_pid(%eax), %eax
    ret

FUNCTION sys_getppid
    movl current, %eax
    movl PROC_parent(%eax), %eax
    testl %eax, %eax                # init has none
    jz 1f
    movl PROC_pid(%eax), %eax
1:  ret

FUNCTION sys_getpgrp
    xorl %ebx, %ebx

# getpgid(EBX = pid or 0)
FUNCTION sys_getpgid
    call process_named
    testl %eax, %eax
    jz 1f
    movl PROC_pgid(%eax), %eax
    ret
1:  movl $-ESRCH, %eax
    ret

FUNCTION sys_getsid
    call process_named
    testl %eax, %eax
    jz 1f
    movl PROC_sid(%eax), %eax
    ret
1:  movl $-ESRCH, %eax
    ret

process_named:                      # EBX = pid, 0 for the current one; gives the process or 0
    movl current, %eax
    testl %ebx, %ebx
    jz 1f
    movl %ebx, %eax
    jmp proc_find
1:  ret

# setpgid(EBX = pid or 0, ECX = group or 0)
FUNCTION sys_setpgid
    movl %ecx, %esi
    call process_named
    movl %eax, %edx
    movl $-ESRCH, %eax
    testl %edx, %edx
    jz 2f
    movl $-EINVAL, %eax
    testl %esi, %esi
    js 2f
    jnz 1f
    movl PROC_pid(%edx), %esi
1:  movl %esi, PROC_pgid(%edx)
    xorl %eax, %eax
2:  ret

FUNCTION sys_setsid
    movl current, %edx
    movl PROC_pid(%edx), %eax
    cmpl PROC_pgid(%edx), %eax
    je 1f
    movl %eax, PROC_pgid(%edx)
    movl %eax, PROC_sid(%edx)
    ret
1:  movl $-EPERM, %eax              # it leads a group already
    ret

FUNCTION sys_umask
    movl current, %edx
    movl PROC_umask(%edx), %eax
    andl $0777, %ebx
    movl %ebx, PROC_umask(%edx)
    ret

FUNCTION sys_uname
    movl %ebx, %eax
    movl $uts_end - uts, %edx
    call user_range
    movl %edx, %ecx
    movl $uts, %edx
    call memory_copy
    xorl %eax, %eax
    ret

# prctl(EBX = option, ECX = argument): the name of the process.
FUNCTION sys_prctl
    movl current, %esi
    addl $PROC_comm, %esi
    movl %ecx, %eax
    movl $16, %edx
    cmpl $PR_GET_NAME, %ebx
    je 1f
    cmpl $PR_SET_NAME, %ebx
    je 2f
    movl $-EINVAL, %eax
    ret
1:  call user_range
    movl %esi, %edx
    movl $16, %ecx
    call memory_copy
    xorl %eax, %eax
    ret
2:  call user_range
    movl %ecx, %edx
    movl %esi, %eax
    call copy_comm
    xorl %eax, %eax
    ret

# EBX = resource; gives its limit in EAX.
resource_limit:
    movl $STACK_LIMIT, %eax
    cmpl $RLIMIT_STACK, %ebx
    je 1f
    movl $NR_FDS, %eax
    cmpl $RLIMIT_NOFILE, %ebx
    je 1f
    movl $NR_PROCS, %eax
    cmpl $RLIMIT_NPROC, %ebx
    je 1f
    movl $-1, %eax
1:  ret

# getrlimit(EBX = resource, ECX = struct rlimit)
FUNCTION sys_getrlimit
    movl %ecx, %eax
    movl $8, %edx
    call user_range
    call resource_limit
    movl %eax, (%ecx)
    movl %eax, 4(%ecx)
    xorl %eax, %eax
    ret

# prlimit64(EBX = pid, ECX = resource, EDX = new or 0, ESI = old or 0): limits are what they are.
FUNCTION sys_prlimit64
    movl $-EPERM, %eax
    testl %edx, %edx
    jnz 2f
    testl %esi, %esi
    jz 1f
    movl %ecx, %ebx
    movl %esi, %eax
    movl $16, %edx
    call user_range
    call resource_limit
    cltd                            # no limit is all ones
    movl %eax, (%esi)
    movl %edx, 4(%esi)
    movl %eax, 8(%esi)
    movl %edx, 12(%esi)
1:  xorl %eax, %eax
2:  ret

# sched_getaffinity(EBX = pid, ECX = bytes, EDX = mask): there is one processor.
FUNCTION sys_sched_getaffinity
    movl $-EINVAL, %eax
    cmpl $4, %ecx
    jb 1f
    movl %edx, %eax
    movl $4, %edx
    call user_range
    movl $1, (%eax)
    movl $4, %eax
1:  ret

# futex(EBX = word, ECX = operation, EDX = value): without threads nobody else changes the word, so a wait for
# that lasts until a signal.
FUNCTION sys_futex
    movl %ebx, %eax
    movl %edx, %edi
    movl $4, %edx
    call user_range
    andl $FUTEX_COMMAND, %ecx
    xorl %eax, %eax
    cmpl $FUTEX_WAKE, %ecx
    je 1f
    movl $-ENOSYS, %eax
    cmpl $FUTEX_WAIT, %ecx
    jne 1f
    movl $-EAGAIN, %eax
    cmpl %edi, (%ebx)
    je sys_pause
1:  ret

FUNCTION sys_sysinfo
    movl %ebx, %eax
    movl $SYSINFO_sizeof, %edx
    call user_range
    call system_time
    movl $1000000000, %ecx
    divl %ecx
    movl %eax, sysinfo + SYSINFO_uptime
    movl nr_frames, %eax
    shll $12, %eax
    movl %eax, sysinfo + SYSINFO_totalram
    movl free_count, %eax
    shll $12, %eax
    movl %eax, sysinfo + SYSINFO_freeram
    movl $1, sysinfo + SYSINFO_unit
    xorl %ecx, %ecx
    movl $proc_table, %edx
1:  cmpl $STATE_FREE, PROC_state(%edx)
    je 2f
    incl %ecx
2:  addl $PROC_sizeof, %edx
    cmpl $proc_table_end, %edx
    jb 1b
    movl %ecx, sysinfo + SYSINFO_procs
    movl %ebx, %eax
    movl $sysinfo, %edx
    movl $SYSINFO_sizeof, %ecx
    call memory_copy
    xorl %eax, %eax
    ret

# getrandom(EBX = buffer, ECX = bytes)
FUNCTION sys_getrandom
    cmpl $MAX_RANDOM, %ecx
    jbe 1f
    movl $MAX_RANDOM, %ecx
1:  movl %ebx, %eax
    movl %ecx, %edx
    call user_range

# EAX = buffer, EDX = bytes: fills it with numbers that differ from run to run only as far as the clock does.
# They are no secret; nothing in here is. Gives the bytes filled. (xorshift, G. Marsaglia 2003)
FUNCTION random_bytes
    pushl %edi
    pushl %edx
    movl %eax, %edi
1:  decl %edx
    js 2f
    movl random_state, %eax
    movl %eax, %ecx
    shll $13, %ecx
    xorl %ecx, %eax
    movl %eax, %ecx
    shrl $17, %ecx
    xorl %ecx, %eax
    movl %eax, %ecx
    shll $5, %ecx
    xorl %ecx, %eax
    movl %eax, random_state
    stosb
    jmp 1b
2:  popl %eax
    popl %edi
    ret

FUNCTION random_seed
    call system_time
    addl shared_info + SHARED_INFO_wc_sec, %eax
    orl $1, %eax                    # never 0
    movl %eax, random_state
    ret
