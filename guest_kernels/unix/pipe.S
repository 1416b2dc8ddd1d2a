# Pipes: 64 KiB each, in pages that are taken when they are needed.

    .include "unix.inc"

.equ PIPE_SIZE, 64 << 10
.equ PIPE_ATOMIC, 4096              # a write of up to this many bytes is not torn

.equ PIPE_readers, 0                # open files, not descriptors: 0 or 1
.equ PIPE_writers, 4
.equ PIPE_head, 8                   # bytes read so far, modulo 2^32
.equ PIPE_tail, 12                  # bytes written so far
.equ PIPE_pages, 16
.equ PIPE_sizeof, PIPE_pages + PIPE_SIZE / 4096 * 4

    .bss
    .balign 4
pipes:
    .skip NR_PIPES * PIPE_sizeof
pipes_end:

    .text
# pipe2(EBX = two descriptors, ECX = flags)
FUNCTION sys_pipe
    xorl %ecx, %ecx
FUNCTION sys_pipe2
    movl %ecx, %esi
    movl %ebx, %eax
    movl $8, %edx
    call user_range
    movl (%ebx), %eax               # a bad pointer fails here, before anything is taken
    movl %eax, (%ebx)
    movl $-EINVAL, %eax
    testl $~(O_CLOEXEC | O_NONBLOCK), %esi
    jnz 9f
    movl $pipes, %edi
1:  movl PIPE_readers(%edi), %eax
    orl PIPE_writers(%edi), %eax
    jz 2f
    addl $PIPE_sizeof, %edi
    cmpl $pipes_end, %edi
    jb 1b
    movl $-ENFILE, %eax
    ret
2:  movl $0, PIPE_head(%edi)
    movl $0, PIPE_tail(%edi)
    movl $FILE_PIPE_READ, %eax
    xorl %ecx, %ecx
    call pipe_end
    testl %eax, %eax
    js 9f
    pushl %eax
    incl PIPE_readers(%edi)
    movl $FILE_PIPE_WRITE, %eax
    movl $O_WRONLY, %ecx
    call pipe_end
    popl %edx
    testl %eax, %eax
    js 3f
    incl PIPE_writers(%edi)
    movl %edx, (%ebx)
    movl %eax, 4(%ebx)
    xorl %eax, %eax
9:  ret
3:  pushl %eax
    movl %edx, %eax
    call fd_close
    popl %eax
    ret

# EAX = type, ECX = access, EDI = pipe, ESI = flags: a new open file with a descriptor, or -errno.
pipe_end:
    movl %edi, %edx
    pushl %esi
    andl $O_NONBLOCK, %esi
    orl %esi, %ecx
    popl %esi
    call file_new
    testl %eax, %eax
    jz 2f
    pushl %eax
    xorl %edx, %edx
    movl %esi, %ecx
    andl $O_CLOEXEC, %ecx
    call fd_install
    popl %edx
    testl %eax, %eax
    jns 1f
    movl $0, FILE_refs(%edx)        # not file_put: the pipe does not count it yet
1:  ret
2:  movl $-ENFILE, %eax
    ret

# EAX = open file whose last reference is gone: whoever waits for its other end learns it.
FUNCTION pipe_put
    movl FILE_object(%eax), %edx
    cmpl $FILE_PIPE_READ, FILE_type(%eax)
    je 1f
    decl PIPE_writers(%edx)
    jmp 2f
1:  decl PIPE_readers(%edx)
2:  movl PIPE_readers(%edx), %eax
    orl PIPE_writers(%edx), %eax
    jnz 5f
    pushl %ebx
    pushl %esi
    leal PIPE_pages(%edx), %ebx
    movl $PIPE_SIZE / 4096, %esi
3:  movl (%ebx), %eax
    movl $0, (%ebx)
    testl %eax, %eax
    jz 4f
    call frame_put
4:  addl $4, %ebx
    decl %esi
    jnz 3b
    popl %esi
    popl %ebx
    ret
5:  movl %edx, %eax
    jmp wake

# EAX = open file, EBX = buffer, EDI = bytes.
FUNCTION pipe_read
    movl FILE_object(%eax), %esi
    pushl FILE_flags(%eax)
    testl %edi, %edi
    jz 8f
1:  movl PIPE_tail(%esi), %eax
    subl PIPE_head(%esi), %eax
    jnz 2f
    cmpl $0, PIPE_writers(%esi)
    je 8f                           # end of file
    movl $-EAGAIN, %eax
    testl $O_NONBLOCK, (%esp)
    jnz 9f
    movl %esi, %eax
    call sleep
    testl %eax, %eax
    jz 1b
    movl $-ERESTART_CALL, %eax
    jmp 9f
2:  cmpl %edi, %eax
    jae 3f
    movl %eax, %edi
3:  xorl %edx, %edx                 # done
4:  pushl %edx
    movl PIPE_head(%esi), %eax
    leal (%eax,%edx), %eax
    call pipe_place
    addl (%esp), %ebx
    movl %eax, %edx
    movl %ebx, %eax
    subl (%esp), %ebx
    pushl %ecx
    call copy_words
    popl %ecx
    popl %edx
    addl %ecx, %edx
    cmpl %edi, %edx
    jb 4b
    addl %edx, PIPE_head(%esi)      # only now: a bad buffer loses nothing
    pushl %edx
    movl %esi, %eax
    call wake
    popl %eax
    jmp 9f
8:  xorl %eax, %eax
9:  popl %edx
    ret

# EAX = position, EDX = bytes done, EDI = bytes wanted, ESI = pipe; gives in EAX where the bytes are (0: in a page
# that is not there yet) and in ECX how many lie together and are still wanted.
pipe_place:
    pushl %ebx
    movl %eax, %ebx
    movl %edi, %ecx
    subl %edx, %ecx
    movl %ebx, %edx
    andl $4095, %edx
    movl $4096, %eax
    subl %edx, %eax
    cmpl %eax, %ecx
    jbe 1f
    movl %eax, %ecx
1:  shrl $12, %ebx
    andl $PIPE_SIZE / 4096 - 1, %ebx
    movl PIPE_pages(%esi,%ebx,4), %eax
    testl %eax, %eax
    jnz 2f
    pushl %ecx
    pushl %edx
    call frame_alloc
    popl %edx
    popl %ecx
    movl %eax, PIPE_pages(%esi,%ebx,4)
    testl %eax, %eax
    jz 3f
2:  addl %edx, %eax
3:  popl %ebx
    ret

# EAX = open file, EBX = buffer, EDI = bytes.
FUNCTION pipe_write
    movl FILE_object(%eax), %esi
    pushl FILE_flags(%eax)          # 4(%esp)
    pushl $0                        # (%esp): bytes done
1:  movl (%esp), %edx
    cmpl %edi, %edx
    jae 7f
    cmpl $0, PIPE_readers(%esi)
    je 5f
    movl PIPE_head(%esi), %ecx
    subl PIPE_tail(%esi), %ecx
    addl $PIPE_SIZE, %ecx           # room
    movl %edi, %eax
    subl %edx, %eax
    cmpl $PIPE_ATOMIC, %edi
    jbe 2f
    movl $1, %eax
2:  cmpl %eax, %ecx
    jb 3f
    pushl %edi
    subl %edx, %edi                 # as much as there is room for, out of one page
    cmpl %ecx, %edi
    jbe 4f
    movl %ecx, %edi
4:  xorl %edx, %edx
    movl PIPE_tail(%esi), %eax
    call pipe_place
    popl %edi
    testl %eax, %eax
    jz 6f
    movl (%esp), %edx
    addl %ebx, %edx
    pushl %ecx
    call copy_words
    popl %ecx
    addl %ecx, PIPE_tail(%esi)
    addl %ecx, (%esp)
    movl %esi, %eax
    call wake
    jmp 1b
3:  movl $-EAGAIN, %eax
    testl $O_NONBLOCK, 4(%esp)
    jnz 8f
    movl %esi, %eax
    call sleep
    testl %eax, %eax
    jz 1b
    movl $-ERESTART_CALL, %eax
    jmp 8f
5:  movl current, %eax
    movl $SIGPIPE, %edx
    call signal_send
    movl $-EPIPE, %eax
    jmp 8f
6:  movl $-ENOMEM, %eax
8:  cmpl $0, (%esp)                 # what has been written counts
    je 9f
7:  movl (%esp), %eax
9:  addl $8, %esp
    ret

# EAX = open file of a pipe; gives what poll says of it.
FUNCTION pipe_ready
    movl FILE_object(%eax), %edx
    movl PIPE_tail(%edx), %ecx
    subl PIPE_head(%edx), %ecx
    cmpl $FILE_PIPE_READ, FILE_type(%eax)
    jne 2f
    xorl %eax, %eax
    testl %ecx, %ecx
    setnz %al                       # POLLIN
    cmpl $0, PIPE_writers(%edx)
    jne 1f
    orl $0x10, %eax                 # POLLHUP
1:  ret
2:  xorl %eax, %eax
    cmpl $PIPE_SIZE - PIPE_ATOMIC, %ecx
    ja 3f
    orl $4, %eax                    # POLLOUT
3:  cmpl $0, PIPE_readers(%edx)
    jne 4f
    orl $8, %eax                    # POLLERR
4:  ret
