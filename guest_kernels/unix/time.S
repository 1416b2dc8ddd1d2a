# Time: the clock that Xen keeps for the virtual processor, and the wall clock.

    .include "unix.inc"

.equ BILLION, 1000000000
.equ CLOCK_REALTIME, 0
.equ CLOCK_REALTIME_COARSE, 5
.equ NR_CLOCKS, 12
.equ TIMER_ABSTIME, 1

    .text
# Gives in EDX:EAX the nanoseconds since the domain started (Xen public/xen.h, struct vcpu_time_info): the time
# of Xen's last note plus what the time-stamp counter has counted since. An odd or changed version means that
# Xen wrote meanwhile.
FUNCTION system_time
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $shared_info, %ebx
1:  movl VCPU_INFO_time_version(%ebx), %esi
    testl $1, %esi
    jnz 1b
    rdtsc
    subl VCPU_INFO_time_tsc_timestamp(%ebx), %eax
    sbbl VCPU_INFO_time_tsc_timestamp+4(%ebx), %edx
    movsbl VCPU_INFO_time_tsc_shift(%ebx), %ecx
    testl %ecx, %ecx
    js 2f
    shldl %cl, %eax, %edx
    shll %cl, %eax
    jmp 3f
2:  negl %ecx
    shrdl %cl, %edx, %eax
    shrl %cl, %edx
3:  movl %edx, %ecx                 # (EDX:EAX * mul) >> 32
    mull VCPU_INFO_time_tsc_to_system_mul(%ebx)
    movl %edx, %edi
    movl %ecx, %eax
    mull VCPU_INFO_time_tsc_to_system_mul(%ebx)
    addl %edi, %eax
    adcl $0, %edx
    addl VCPU_INFO_time_system_time(%ebx), %eax
    adcl VCPU_INFO_time_system_time+4(%ebx), %edx
    cmpl VCPU_INFO_time_version(%ebx), %esi
    jne 1b
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = clock; gives its seconds in EAX and nanoseconds in EDX. The wall clock is what it was when the domain
# started plus the time since.
clock_read:
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    call system_time
    movl $BILLION, %ecx
    divl %ecx
    cmpl $CLOCK_REALTIME, %ebx
    je 1f
    cmpl $CLOCK_REALTIME_COARSE, %ebx
    jne 2f
1:  movl $shared_info, %ebx
3:  movl SHARED_INFO_wc_version(%ebx), %esi
    testl $1, %esi
    jnz 3b
    movl SHARED_INFO_wc_sec(%ebx), %ecx
    pushl SHARED_INFO_wc_nsec(%ebx)
    cmpl SHARED_INFO_wc_version(%ebx), %esi
    popl %esi
    jne 3b
    addl %ecx, %eax
    addl %esi, %edx
    cmpl $BILLION, %edx
    jb 2f
    subl $BILLION, %edx
    incl %eax
2:  popl %esi
    popl %ebx
    ret

# EBX = clock id; goes back to the system call's caller with -EINVAL if there is no such clock.
.macro CHECK_CLOCK
    movl $-EINVAL, %eax
    cmpl $NR_CLOCKS, %ebx
    jae 9f
.endm

# clock_gettime(EBX = clock, ECX = struct timespec)
FUNCTION sys_clock_gettime
    CHECK_CLOCK
    movl %ecx, %eax
    movl $8, %edx
    call user_range
    movl %ecx, %esi
    movl %ebx, %eax
    call clock_read
    movl %eax, (%esi)
    movl %edx, 4(%esi)
    xorl %eax, %eax
9:  ret

# The same with 64-bit seconds.
FUNCTION sys_clock_gettime64
    CHECK_CLOCK
    movl %ecx, %eax
    movl $16, %edx
    call user_range
    movl %ecx, %esi
    movl %ebx, %eax
    call clock_read
    movl %eax, (%esi)
    movl $0, 4(%esi)
    movl %edx, 8(%esi)
    movl $0, 12(%esi)
    xorl %eax, %eax
9:  ret

# clock_getres(EBX = clock, ECX = struct timespec or 0): a nanosecond
FUNCTION sys_clock_getres
    CHECK_CLOCK
    xorl %eax, %eax
    jecxz 9f
    movl %ecx, %eax
    movl $8, %edx
    call user_range
    movl $0, (%ecx)
    movl $1, 4(%ecx)
    xorl %eax, %eax
9:  ret

FUNCTION sys_clock_getres64
    CHECK_CLOCK
    xorl %eax, %eax
    jecxz 9f
    movl %ecx, %eax
    movl $16, %edx
    call user_range
    xorl %eax, %eax
    movl %eax, (%ecx)
    movl %eax, 4(%ecx)
    movl $1, 8(%ecx)
    movl %eax, 12(%ecx)
9:  ret

# time(EBX = word or 0)
FUNCTION sys_time
    xorl %eax, %eax
    call clock_read
    testl %ebx, %ebx
    jz 1f
    movl %eax, %esi
    movl %ebx, %eax
    movl $4, %edx
    call user_range
    movl %esi, (%ebx)
    movl %esi, %eax
1:  ret

# gettimeofday(EBX = struct timeval or 0, ECX = time zone or 0)
FUNCTION sys_gettimeofday
    testl %ebx, %ebx
    jz 1f
    movl %ebx, %eax
    movl $8, %edx
    call user_range
    xorl %eax, %eax
    call clock_read
    movl %eax, (%ebx)
    movl %edx, %eax
    xorl %edx, %edx
    movl $1000, %ecx
    divl %ecx
    movl %eax, 4(%ebx)
1:  movl FRAME_ecx(%ebp), %eax
    testl %eax, %eax
    jz 2f
    movl $8, %edx
    call user_range
    movl $0, (%eax)
    movl $0, 4(%eax)
2:  xorl %eax, %eax
    ret

# times(EBX = struct tms or 0): nobody's use of the processor is counted. Gives hundredths of a second.
FUNCTION sys_times
    testl %ebx, %ebx
    jz 1f
    movl %ebx, %eax
    movl $16, %edx
    call user_range
    movl %ebx, %eax
    xorl %edx, %edx
    movl $16, %ecx
    call memory_set
1:  call system_time
    movl $10000000, %ecx
    divl %ecx                       # wraps after 497 days, as it does in Linux
    ret

# EAX = seconds, EDX = nanoseconds; gives them in EDX:EAX as nanoseconds.
to_nanoseconds:
    pushl %edx
    movl $BILLION, %ecx
    mull %ecx
    popl %ecx
    addl %ecx, %eax
    adcl $0, %edx
    ret

# EDX:EAX = nanoseconds from now: the current process's deadline.
FUNCTION set_deadline
    pushl %eax
    pushl %edx
    call system_time
    popl %ecx
    addl (%esp), %eax
    adcl %ecx, %edx
    popl %ecx
    movl current, %ecx
    movl %eax, PROC_deadline(%ecx)
    movl %edx, PROC_deadline+4(%ecx)
    ret

# Gives in EDX:EAX the nanoseconds until the current process's deadline, 0 once it has passed.
FUNCTION time_left
    pushl %ebx
    call system_time
    movl %eax, %ecx
    movl %edx, %ebx
    movl current, %eax
    movl PROC_deadline+4(%eax), %edx
    movl PROC_deadline(%eax), %eax
    subl %ecx, %eax
    sbbl %ebx, %edx
    jns 1f
    xorl %eax, %eax
    xorl %edx, %edx
1:  popl %ebx
    ret

FUNCTION clear_deadline
    movl current, %eax
    movl $0, PROC_deadline(%eax)
    movl $0, PROC_deadline+4(%eax)
    ret

# Sleeps until the deadline. Gives 1 if a signal ended it sooner.
FUNCTION sleep_deadline
1:  call time_left
    orl %edx, %eax
    jz 2f
    movl current, %eax              # nobody wakes this channel
    call sleep
    testl %eax, %eax
    jz 1b
2:  ret

# nanosleep(EBX = struct timespec, ECX = what is left or 0)
FUNCTION sys_nanosleep
    movl %ecx, %edi
    xorl %esi, %esi
    movl %ebx, %ecx
    movl $8, %edx
    jmp nanosleep

# clock_nanosleep(EBX = clock, ECX = flags, EDX = struct timespec, ESI = what is left or 0)
FUNCTION sys_clock_nanosleep
    CHECK_CLOCK
    movl %esi, %edi
    movl %ecx, %esi
    movl %edx, %ecx
    movl $8, %edx
    jmp nanosleep
9:  ret

FUNCTION sys_clock_nanosleep64
    CHECK_CLOCK
    movl %esi, %edi
    movl %ecx, %esi
    movl %edx, %ecx
    movl $16, %edx
    jmp nanosleep
9:  ret

# ECX = struct timespec, EDX = its size (8 or 16), ESI = flags, EDI = what is left or 0, EBX = clock if
# TIMER_ABSTIME is among the flags.
nanosleep:
    pushl %edx                      # (%esp): size
    movl %ecx, %eax
    call user_range
    movl (%ecx), %eax
    shrl %edx
    movl (%ecx,%edx), %edx          # nanoseconds follow the seconds, whose size is half
    movl $-EINVAL, %ecx
    cmpl $BILLION, %edx
    jae 5f
    testl %eax, %eax
    js 5f
    testl $TIMER_ABSTIME, %esi
    jz 1f
    pushl %eax
    pushl %edx
    movl %ebx, %eax
    call clock_read
    popl %ecx
    subl %edx, %ecx                 # EAX:EDX = wanted - now
    movl %ecx, %edx
    popl %ecx
    jns 4f
    addl $BILLION, %edx
    decl %ecx
4:  subl %eax, %ecx
    movl %ecx, %eax
    movl $0, %ecx
    js 5f                           # that time has passed
1:  call to_nanoseconds
    call set_deadline
    call sleep_deadline
    testl %eax, %eax
    jnz 2f
    call clear_deadline
    xorl %ecx, %ecx
5:  movl %ecx, %eax
    popl %edx
    ret
2:  call time_left
    pushl %eax
    pushl %edx
    call clear_deadline
    popl %edx
    popl %eax
    movl $-EINTR, %ecx
    testl %edi, %edi
    jz 5b
    testl $TIMER_ABSTIME, %esi
    jnz 5b
    movl $BILLION, %ecx
    divl %ecx
    movl %eax, %ecx
    movl %edi, %eax
    pushl %edx
    movl 4(%esp), %edx
    call user_range
    movl $0, -4(%eax,%edx)          # upper half of 64-bit nanoseconds
    shrl %edx
    movl $0, -4(%eax,%edx)
    movl %ecx, (%eax)
    popl (%eax,%edx)
    movl $-EINTR, %ecx
    jmp 5b
