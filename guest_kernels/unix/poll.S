# poll and its relatives.

    .include "unix.inc"

.equ POLLIN, 1
.equ POLLOUT, 4
.equ POLLERR, 8
.equ POLLHUP, 0x10
.equ POLLNVAL, 0x20
.equ POLLFD_fd, 0
.equ POLLFD_events, 4
.equ POLLFD_revents, 6
.equ POLLFD_sizeof, 8

    .text
# EAX = open file; gives what poll says of it.
file_ready:
    movl FILE_type(%eax), %edx
    cmpl $FILE_PIPE_READ, %edx
    jae pipe_ready
    cmpl $FILE_TTY, %edx
    je tty_ready
    movl $POLLIN | POLLOUT, %eax
    ret

# ESI = struct pollfd, ECX = how many: sets their revents; gives how many have some.
check_files:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %ecx, %edi
    xorl %ebx, %ebx
1:  decl %edi
    js 4f
    xorl %ecx, %ecx
    movl POLLFD_fd(%esi), %eax
    testl %eax, %eax
    js 3f                           # a negative one is passed over
    call fd_get
    movl $POLLNVAL, %ecx
    testl %eax, %eax
    jz 2f
    call file_ready
    movzwl POLLFD_events(%esi), %ecx
    orl $POLLERR | POLLHUP, %ecx
    andl %eax, %ecx
2:  testl %ecx, %ecx
    jz 3f
    incl %ebx
3:  movw %cx, POLLFD_revents(%esi)
    addl $POLLFD_sizeof, %esi
    jmp 1b
4:  movl %ebx, %eax
    popl %edi
    popl %esi
    popl %ebx
    ret

# poll(EBX = struct pollfd, ECX = how many, EDX = milliseconds, negative: for ever)
FUNCTION sys_poll
    testl %edx, %edx
    js wait_forever
    movl $1000000, %eax
    mull %edx
    jmp wait_until

# ppoll(EBX = struct pollfd, ECX = how many, EDX = struct timespec or 0); the signal mask stays as it is.
FUNCTION sys_ppoll
    movl $8, %esi
    jmp ppoll
FUNCTION sys_ppoll64
    movl $16, %esi
ppoll:
    testl %edx, %edx
    jz wait_forever
    movl %edx, %eax
    movl %esi, %edx
    call user_range
    shrl %esi
    movl (%eax,%esi), %ecx
    movl (%eax), %eax
    movl $1000000000, %edx
    cmpl %edx, %ecx
    jae bad_time
    testl %eax, %eax
    js bad_time
    mull %edx
    addl %ecx, %eax
    adcl $0, %edx

wait_until:                         # EDX:EAX = nanoseconds
    movl $1, %edi
    movl %eax, %esi
    orl %edx, %esi
    jz 1f
    call set_deadline
    jmp poll_files
1:  movl $2, %edi                   # do not wait
    jmp poll_files
wait_forever:
    xorl %edi, %edi
poll_files:
    movl FRAME_ecx(%ebp), %ecx
    movl $-EINVAL, %eax
    cmpl $NR_FILES, %ecx
    ja 9f
    movl %ebx, %esi
    movl %ebx, %eax
    leal (,%ecx,POLLFD_sizeof), %edx
    call user_range
1:  call tty_poll
    movl FRAME_ecx(%ebp), %ecx
    call check_files
    testl %eax, %eax
    jnz 9f
    cmpl $1, %edi
    ja 9f
    jb 2f
    call time_left
    orl %edx, %eax
    jz 9f
2:  call sleep_poll
    testl %eax, %eax
    jz 1b
    movl $-EINTR, %eax
9:  pushl %eax
    call clear_deadline
    popl %eax
    ret
bad_time:
    movl $-EINVAL, %eax
    ret
