# Open files and the descriptors that lead to them.

    .include "unix.inc"

.equ F_DUPFD, 0
.equ F_GETFD, 1
.equ F_SETFD, 2
.equ F_GETFL, 3
.equ F_SETFL, 4
.equ F_DUPFD_CLOEXEC, 1030

    .bss
    .balign 4
files:
    .skip NR_FILES * FILE_sizeof
files_end:

    .text
# EAX = type, EDX = node or pipe, ECX = flags; gives a new open file with one reference, or 0.
FUNCTION file_new
    pushl %ebx
    movl $files, %ebx
1:  cmpl $0, FILE_refs(%ebx)
    je 2f
    addl $FILE_sizeof, %ebx
    cmpl $files_end, %ebx
    jb 1b
    xorl %eax, %eax
    popl %ebx
    ret
2:  movl $1, FILE_refs(%ebx)
    movl %eax, FILE_type(%ebx)
    movl %edx, FILE_object(%ebx)
    movl %ecx, FILE_flags(%ebx)
    movl $0, FILE_pos(%ebx)
    movl %ebx, %eax
    popl %ebx
    ret

# EAX = open file: drops a reference.
FUNCTION file_put
    decl FILE_refs(%eax)
    jnz 1f
    cmpl $FILE_PIPE_READ, FILE_type(%eax)
    jae pipe_put
1:  ret

# EAX = descriptor; gives its open file, or 0.
FUNCTION fd_get
    cmpl $NR_FDS, %eax
    jae 1f
    movl current, %edx
    movl PROC_fds(%edx,%eax,4), %eax
    ret
1:  xorl %eax, %eax
    ret

# EAX = open file, EDX = least descriptor, ECX = O_CLOEXEC or 0: gives the file the first free descriptor from
# there on, or -EMFILE.
FUNCTION fd_install
    pushl %ebx
    movl current, %ebx
1:  cmpl $NR_FDS, %edx
    jae 3f
    cmpl $0, PROC_fds(%ebx,%edx,4)
    je 2f
    incl %edx
    jmp 1b
2:  movl %eax, PROC_fds(%ebx,%edx,4)
    movl %edx, %eax
    call set_cloexec
    popl %ebx
    ret
3:  movl $-EMFILE, %eax
    popl %ebx
    ret

# EBX = current process, EAX = descriptor, ECX = 0: it stays open at execve, else not. Keeps EAX.
set_cloexec:
    btrl %eax, PROC_cloexec(%ebx)
    testl %ecx, %ecx
    jz 1f
    btsl %eax, PROC_cloexec(%ebx)
1:  ret

# EAX = descriptor: closes it. Gives 0 or -EBADF.
FUNCTION fd_close
    cmpl $NR_FDS, %eax
    jae 1f
    movl current, %edx
    leal PROC_fds(%edx,%eax,4), %edx
    movl (%edx), %eax
    testl %eax, %eax
    jz 1f
    movl $0, (%edx)
    call file_put
    xorl %eax, %eax
    ret
1:  movl $-EBADF, %eax
    ret

FUNCTION sys_close
    movl %ebx, %eax
    jmp fd_close

# EAX = descriptor; gives the node of the regular file behind it, or -errno.
FUNCTION file_node
    call fd_get
    movl %eax, %edx
    movl $-EBADF, %eax
    testl %edx, %edx
    jz 1f
    movl $-ENODEV, %eax
    cmpl $FILE_NODE, FILE_type(%edx)
    jne 1f
    movl FILE_object(%edx), %edx
    movl NODE_mode(%edx), %ecx
    andl $S_IFMT, %ecx
    cmpl $S_IFREG, %ecx
    jne 1f
    movl %edx, %eax
1:  ret

# open(EBX = path, ECX = flags)
FUNCTION sys_open
    movl %ecx, %edx
    movl %ebx, %ecx
    movl $AT_FDCWD, %ebx

# openat(EBX = directory, ECX = path, EDX = flags)
FUNCTION sys_openat
    movl %edx, %esi
    movl %ebx, %eax
    movl %ecx, %edx
    xorl %ecx, %ecx
    testl $O_NOFOLLOW, %esi
    setz %cl
    call path_lookup
    cmpl $-ENOENT, %eax
    je 7f
    cmpl $-MAX_ERRNO, %eax
    jae 9f
    movl %eax, %edi
    movl $-EEXIST, %eax
    movl %esi, %ecx
    andl $O_CREAT | O_EXCL, %ecx
    cmpl $O_CREAT | O_EXCL, %ecx
    je 9f
    call may_open
    testl %eax, %eax
    jnz 9f
    movl %edi, %eax
    call node_load
    testl %eax, %eax
    jnz 9f
    call node_type
    movl %edi, %edx
    movl %esi, %ecx
    andl $~(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | O_NOFOLLOW), %ecx
    call file_new
    movl %eax, %edi
    movl $-ENFILE, %eax
    testl %edi, %edi
    jz 9f
    movl %esi, %ecx
    andl $O_CLOEXEC, %ecx

# EDI = open file, ECX = O_CLOEXEC or 0: gives it a descriptor, or drops it.
install_new:
    movl %edi, %eax
    xorl %edx, %edx
    call fd_install
    testl %eax, %eax
    jns 9f
    pushl %eax
    movl %edi, %eax
    call file_put
    popl %eax
9:  ret
7:  testl $O_CREAT, %esi            # nothing can be created
    jz 9b
    cmpl $0, only_last_missing
    je 9b
    movl $-EROFS, %eax
    ret

# EDI = node, ESI = flags of open; gives 0, or -errno if the node cannot be opened so.
may_open:
    movl NODE_mode(%edi), %ecx
    andl $S_IFMT, %ecx
    movl $-ELOOP, %eax
    cmpl $S_IFLNK, %ecx
    je 9f
    movl $-ENXIO, %eax
    cmpl $S_IFIFO, %ecx
    je 9f
    cmpl $S_IFCHR, %ecx
    je 1f
    movl $-EROFS, %eax
    cmpl $S_IFDIR, %ecx
    jne 2f
    movl $-EISDIR, %eax
2:  testl $O_ACCMODE | O_TRUNC, %esi
    jnz 9f
    cmpl $S_IFDIR, %ecx
    je 3f
1:  movl $-ENOTDIR, %eax
    testl $O_DIRECTORY, %esi
    jnz 9f
3:  xorl %eax, %eax
9:  ret

# EDI = node; gives the type of an open file that leads to it.
node_type:
    movl $FILE_NODE, %eax
    movl NODE_mode(%edi), %ecx
    andl $S_IFMT, %ecx
    cmpl $S_IFCHR, %ecx
    jne 1f
    movl NODE_rdev(%edi), %ecx
    andl $~1, %ecx
    cmpl $0x500, %ecx               # /dev/tty, /dev/console
    jne 1f
    movl $FILE_TTY, %eax
1:  ret

FUNCTION sys_dup
    xorl %edx, %edx
    xorl %ecx, %ecx

# EBX = descriptor, EDX = least new one, ECX = O_CLOEXEC or 0
duplicate:
    movl %ebx, %eax
    movl %edx, %esi
    call fd_get
    movl %esi, %edx
    testl %eax, %eax
    jz 1f
    movl %eax, %esi
    call fd_install
    testl %eax, %eax
    js 2f
    incl FILE_refs(%esi)
2:  ret
1:  movl $-EBADF, %eax
    ret

# dup2(EBX = descriptor, ECX = new one)
FUNCTION sys_dup2
    cmpl %ebx, %ecx
    jne 1f
    movl %ebx, %eax
    call fd_get
    testl %eax, %eax
    movl %ebx, %eax
    jnz 2f
    movl $-EBADF, %eax
2:  ret
1:  xorl %edx, %edx

# dup3(EBX = descriptor, ECX = new one, EDX = flags)
FUNCTION sys_dup3
    movl $-EINVAL, %eax
    cmpl %ebx, %ecx
    je 9f
    movl $-EBADF, %eax
    cmpl $NR_FDS, %ecx
    jae 9f
    movl %ecx, %esi
    movl %edx, %edi
    movl %ebx, %eax
    call fd_get
    movl %eax, %ebx
    movl $-EBADF, %eax
    testl %ebx, %ebx
    jz 9f
    incl FILE_refs(%ebx)
    movl %esi, %eax
    call fd_close
    movl %ebx, %eax
    movl %esi, %edx
    movl %edi, %ecx
    andl $O_CLOEXEC, %ecx
    call fd_install
9:  ret

# fcntl64(EBX = descriptor, ECX = command, EDX = argument)
FUNCTION sys_fcntl
    movl %ecx, %edi
    movl %edx, %esi
    movl %ebx, %eax
    call fd_get
    movl %eax, %edx
    movl $-EBADF, %eax
    testl %edx, %edx
    jz 9f
    movl current, %eax
    cmpl $F_GETFD, %edi
    je 1f
    cmpl $F_SETFD, %edi
    je 2f
    cmpl $F_GETFL, %edi
    je 3f
    cmpl $F_SETFL, %edi
    je 4f
    xorl %ecx, %ecx
    cmpl $F_DUPFD, %edi
    je 5f
    incl %ecx
    cmpl $F_DUPFD_CLOEXEC, %edi
    je 5f
    movl $-EINVAL, %eax
9:  ret
1:  xorl %ecx, %ecx
    btl %ebx, PROC_cloexec(%eax)
    setc %cl
    movl %ecx, %eax
    ret
2:  movl %esi, %ecx
    andl $1, %ecx
    xchgl %eax, %ebx
    call set_cloexec
    xorl %eax, %eax
    ret
3:  movl FILE_flags(%edx), %eax
    ret
4:  andl $O_NONBLOCK | O_APPEND, %esi
    andl $~(O_NONBLOCK | O_APPEND), FILE_flags(%edx)
    orl %esi, FILE_flags(%edx)
    xorl %eax, %eax
    ret
5:  movl $-EINVAL, %eax
    cmpl $NR_FDS, %esi
    jae 9b
    movl %esi, %edx
    jmp duplicate
