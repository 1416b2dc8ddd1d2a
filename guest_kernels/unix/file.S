# Reading and writing.

    .include "unix.inc"

.equ SEEK_CUR, 1
.equ SEEK_END, 2
.equ IOV_MAX, 1024
.equ MAX_TRANSFER, 0x7ffff000       # bytes of one read or write, as in Linux

    .text
# EAX = descriptor, EDX = access mode that is not enough; gives in EAX the open file, else goes back to the
# system call's caller with -EBADF.
.macro OPEN_FOR mode
    movl %ebx, %eax
    call fd_get
    testl %eax, %eax
    jz 8f
    movl FILE_flags(%eax), %edx
    andl $O_ACCMODE, %edx
    cmpl $\mode, %edx
    je 8f
.endm

# read(EBX = descriptor, ECX = buffer, EDX = bytes)
FUNCTION sys_read
    movl %ecx, %esi
    movl %edx, %edi
    OPEN_FOR O_WRONLY
    movl %eax, %ebx

# EBX = open file, ESI = user buffer, EDI = bytes: gives the bytes read, or -errno.
read_open:
    cmpl $MAX_TRANSFER, %edi
    jbe 1f
    movl $MAX_TRANSFER, %edi
1:  movl %esi, %eax
    movl %edi, %edx
    call user_range
    movl FILE_type(%ebx), %edx
    movl %ebx, %eax
    movl %esi, %ebx                 # EAX = file, EBX = buffer, EDI = bytes; all but EBP may be used
    jmp *readers(,%edx,4)
8:  movl $-EBADF, %eax
    ret

FUNCTION sys_write
    movl %ecx, %esi
    movl %edx, %edi
    OPEN_FOR 0
    movl %eax, %ebx

write_open:
    cmpl $MAX_TRANSFER, %edi
    jbe 1f
    movl $MAX_TRANSFER, %edi
1:  movl %esi, %eax
    movl %edi, %edx
    call user_range
    movl FILE_type(%ebx), %edx
    movl %ebx, %eax
    movl %esi, %ebx
    jmp *writers(,%edx,4)
8:  movl $-EBADF, %eax
    ret

    .section .rodata
    .balign 4
readers:                            # by FILE_type
    .long node_read, tty_read, pipe_read, refuse
writers:
    .long node_write, tty_write, refuse, pipe_write
    .text
refuse:
    movl $-EBADF, %eax
    ret

# readv(EBX = descriptor, ECX = struct iovec, EDX = how many)
FUNCTION sys_readv
    pushl $read_open
    OPEN_FOR O_WRONLY
    jmp vector
FUNCTION sys_writev
    pushl $write_open
    OPEN_FOR 0

# EAX = open file; piece after piece, until one is not done whole.
vector:
    movl FRAME_ecx(%ebp), %esi
    movl FRAME_edx(%ebp), %edi
    pushl %eax                      # 12(%esp): open file; 16(%esp): read_open or write_open
    pushl $0                        # 8(%esp): bytes so far
    pushl %edi                      # 4(%esp): pieces left
    pushl %esi                      # (%esp): next piece
    movl $-EINVAL, %eax
    cmpl $IOV_MAX, %edi
    ja 3f
    movl %esi, %eax
    leal (,%edi,8), %edx
    call user_range
1:  decl 4(%esp)
    js 2f
    movl (%esp), %eax
    addl $8, (%esp)
    movl (%eax), %esi
    movl 4(%eax), %edi
    testl %edi, %edi
    jz 1b
    pushl %edi
    movl 16(%esp), %ebx
    call *20(%esp)
    popl %edi
    testl %eax, %eax
    js 4f
    addl %eax, 8(%esp)
    cmpl %edi, %eax
    je 1b
2:  movl 8(%esp), %eax
3:  addl $20, %esp
    ret
4:  cmpl $0, 8(%esp)
    jne 2b
    jmp 3b
8:  popl %eax
    movl $-EBADF, %eax
    ret

# Nodes: EAX = open file, EBX = buffer, EDI = bytes.
node_read:
    movl %eax, %esi
    movl FILE_object(%eax), %edx
    movl NODE_mode(%edx), %ecx
    andl $S_IFMT, %ecx
    cmpl $S_IFCHR, %ecx
    je device_read
    movl $-EISDIR, %eax
    cmpl $S_IFREG, %ecx
    jne 2f
    movl FILE_pos(%esi), %eax
    call node_copy
    addl %eax, FILE_pos(%esi)
2:  ret

# EDX = regular file, EAX = offset, EBX = user buffer, EDI = bytes: gives the bytes copied.
node_copy:
    movl NODE_size(%edx), %ecx
    subl %eax, %ecx
    ja 1f
    xorl %ecx, %ecx
1:  cmpl %edi, %ecx
    jbe 2f
    movl %edi, %ecx
2:  addl NODE_data(%edx), %eax
    movl %eax, %edx
    movl %ebx, %eax
    pushl %ecx
    call copy_words
    popl %eax
    ret

# EAX = destination, EDX = source, ECX = bytes: four at a time.
FUNCTION copy_words
    pushl %esi
    pushl %edi
    movl %eax, %edi
    movl %edx, %esi
    movl %ecx, %eax
    shrl $2, %ecx
    rep movsl
    movl %eax, %ecx
    andl $3, %ecx
    rep movsb
    popl %edi
    popl %esi
    ret

# EDX = character device.
device_read:
    movl NODE_rdev(%edx), %edx
    xorl %eax, %eax
    cmpl $0x103, %edx
    je 9f
    cmpl $0x105, %edx
    je 1f
    movl $-ENXIO, %eax
    andl $~1, %edx
    cmpl $0x108, %edx
    jne 9f
    movl %ebx, %eax
    movl %edi, %edx
    jmp random_bytes
1:  movl %ebx, %eax
    xorl %edx, %edx
    movl %edi, %ecx
    call memory_set
    movl %edi, %eax
9:  ret

# Only devices can be open for writing; they take everything.
node_write:
    movl %edi, %eax
    ret

# pread64(EBX = descriptor, ECX = buffer, EDX = bytes, EDI:ESI = offset)
FUNCTION sys_pread64
    movl %edx, %edi
    movl %ebx, %eax
    call file_node
    cmpl $-MAX_ERRNO, %eax
    jae 9f
    pushl %eax
    movl FRAME_ecx(%ebp), %ebx
    movl %ebx, %eax
    movl %edi, %edx
    call user_range
    popl %edx
    movl $-EINVAL, %eax
    movl FRAME_edi(%ebp), %ecx
    testl %ecx, %ecx
    js 9f
    movl %esi, %eax
    jz node_copy
    xorl %eax, %eax                 # beyond 4 GiB there is nothing
9:  ret

# sendfile(EBX = to, ECX = from, EDX = offset or 0, ESI = bytes): only from a file, with its own position.
FUNCTION sys_sendfile
    movl %ecx, %edi
    movl %ecx, %eax
    call file_node
    cmpl $-MAX_ERRNO, %eax
    jae 7f
    movl $-EINVAL, %eax
    cmpl $0, FRAME_edx(%ebp)
    jne 9f
    OPEN_FOR 0
    movl %eax, %ebx
    movl %edi, %eax
    call fd_get
    pushl %eax
    movl FILE_object(%eax), %edx
    movl NODE_size(%edx), %edi
    movl FILE_pos(%eax), %ecx
    subl %ecx, %edi
    ja 1f
    xorl %edi, %edi
1:  cmpl %esi, %edi
    jbe 2f
    movl %esi, %edi
2:  addl NODE_data(%edx), %ecx
    movl FILE_type(%ebx), %edx
    movl %ebx, %eax
    movl %ecx, %ebx
    call *writers(,%edx,4)
    popl %edx
    testl %eax, %eax
    js 9f
    addl %eax, FILE_pos(%edx)
    ret
7:  cmpl $-EBADF, %eax
    je 9f
    movl $-EINVAL, %eax
9:  ret
8:  movl $-EBADF, %eax
    ret

# lseek(EBX = descriptor, ECX = offset, EDX = whence)
FUNCTION sys_lseek
    movl %edx, %edi
    movl %ebx, %eax
    call fd_get
    movl %eax, %edx
    movl $-EBADF, %eax
    testl %edx, %edx
    jz 9f
    movl $-ESPIPE, %eax
    cmpl $FILE_NODE, FILE_type(%edx)
    jne 9f
    movl FRAME_ecx(%ebp), %ecx
    testl %edi, %edi
    jz 1f
    cmpl $SEEK_CUR, %edi
    je 2f
    movl $-EINVAL, %eax
    cmpl $SEEK_END, %edi
    jne 9f
    movl FILE_object(%edx), %eax
    addl NODE_size(%eax), %ecx
    jmp 1f
2:  addl FILE_pos(%edx), %ecx
1:  movl $-EINVAL, %eax
    testl %ecx, %ecx
    js 9f
    movl %ecx, FILE_pos(%edx)
    movl %ecx, %eax
9:  ret

# _llseek(EBX = descriptor, EDX = offset, ECX its upper half, ESI = 64-bit result, EDI = whence). Files end
# before 2 GiB.
FUNCTION sys_llseek
    movl %esi, %eax
    movl $8, %edx
    call user_range
    movl FRAME_edx(%ebp), %edx
    movl %edx, %eax
    sarl $31, %eax
    cmpl %ecx, %eax
    movl $-EINVAL, %eax
    jne 1f
    pushl FRAME_ecx(%ebp)
    movl %edx, FRAME_ecx(%ebp)      # lseek looks there
    movl %edi, %edx
    call sys_lseek
    popl FRAME_ecx(%ebp)
    testl %eax, %eax
    js 1f
    movl %eax, (%esi)
    movl $0, 4(%esi)
    xorl %eax, %eax
1:  ret
