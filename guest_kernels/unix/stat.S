# What files are: stat in its forms, access, and the entries of directories.

    .include "unix.inc"

.equ DEVICE, 0x100                  # st_dev of everything

.equ STAT64_dev, 0
.equ STAT64_short_ino, 12
.equ STAT64_mode, 16
.equ STAT64_nlink, 20
.equ STAT64_uid, 24
.equ STAT64_gid, 28
.equ STAT64_rdev, 32
.equ STAT64_size, 44
.equ STAT64_blksize, 52
.equ STAT64_blocks, 56
.equ STAT64_atime, 64
.equ STAT64_mtime, 72
.equ STAT64_ctime, 80
.equ STAT64_ino, 88
.equ STAT64_sizeof, 96

.equ STATX_BASIC, 0x7ff
.equ STATX_mask, 0
.equ STATX_blksize, 4
.equ STATX_nlink, 16
.equ STATX_uid, 20
.equ STATX_gid, 24
.equ STATX_mode, 28
.equ STATX_ino, 32
.equ STATX_size, 40
.equ STATX_blocks, 48
.equ STATX_atime, 64
.equ STATX_ctime, 96
.equ STATX_mtime, 112
.equ STATX_rdev_major, 128
.equ STATX_rdev_minor, 132
.equ STATX_dev_major, 136
.equ STATX_dev_minor, 140
.equ STATX_sizeof, 256

.equ STATFS_type, 0
.equ STATFS_bsize, 4
.equ STATFS_blocks, 8
.equ STATFS_namelen, 56
.equ STATFS_frsize, 60
.equ STATFS_flags, 64
.equ STATFS_sizeof, 84
.equ ST_RDONLY, 1

.equ DIRENT_ino, 0
.equ DIRENT_off, 8
.equ DIRENT_reclen, 16
.equ DIRENT_type, 18
.equ DIRENT_name, 19

    .bss
    .balign 4
record:                             # what is to be copied to user space
    .skip STATX_sizeof

    .text
# EDX = node, EBX = user buffer: fills a struct stat64. Gives 0.
fill_stat64:
    movl %edx, %esi
    movl $record, %eax
    xorl %edx, %edx
    movl $STAT64_sizeof, %ecx
    call memory_set
    movl $DEVICE, record + STAT64_dev
    movl NODE_ino(%esi), %eax
    movl %eax, record + STAT64_short_ino
    movl %eax, record + STAT64_ino
    .irp field, mode, nlink, uid, gid, rdev, size
    movl NODE_\field(%esi), %eax
    movl %eax, record + STAT64_\field
    .endr
    call blocks_of
    movl %eax, record + STAT64_blocks
    movl $4096, record + STAT64_blksize
    movl NODE_mtime(%esi), %eax
    movl %eax, record + STAT64_atime
    movl %eax, record + STAT64_mtime
    movl %eax, record + STAT64_ctime
    movl $STAT64_sizeof, %ecx

# EBX = user buffer, ECX = bytes of the record.
copy_record:
    movl %ebx, %eax
    movl %ecx, %edx
    call user_range
    movl $record, %edx
    call copy_words
    xorl %eax, %eax
    ret

# ESI = node; gives how many 512-byte blocks its data would take.
blocks_of:
    movl NODE_size(%esi), %eax
    addl $4095, %eax
    shrl $12, %eax
    shll $3, %eax
    ret

# EAX = descriptor; gives the node that tells what is behind it, or -errno.
node_of_fd:
    call fd_get
    movl %eax, %edx
    movl $-EBADF, %eax
    testl %edx, %edx
    jz 1f
    movl pipe_node, %eax
    cmpl $FILE_PIPE_READ, FILE_type(%edx)
    jae 1f
    movl FILE_object(%edx), %eax
1:  ret

# stat64(EBX = path, ECX = buffer)
FUNCTION sys_stat64
    movl %ecx, %edx
    movl %ebx, %ecx
    movl $AT_FDCWD, %ebx
    xorl %esi, %esi
    jmp sys_fstatat64

FUNCTION sys_lstat64
    movl %ecx, %edx
    movl %ebx, %ecx
    movl $AT_FDCWD, %ebx
    movl $AT_SYMLINK_NOFOLLOW, %esi

# fstatat64(EBX = directory, ECX = path, EDX = buffer, ESI = flags)
FUNCTION sys_fstatat64
    pushl %edx
    call node_at
    popl %ebx
    movl %eax, %edx
    cmpl $-MAX_ERRNO, %eax
    jb fill_stat64
    ret

FUNCTION sys_fstat64
    movl %ebx, %eax
    movl %ecx, %ebx
    call node_of_fd
    movl %eax, %edx
    cmpl $-MAX_ERRNO, %eax
    jb fill_stat64
    ret

# EBX = directory, ECX = user path, ESI = AT_ flags; gives the node or -errno.
node_at:
    testl $AT_EMPTY_PATH, %esi
    jz 1f
    movl %ecx, %eax
    movl $1, %edx
    call user_range
    cmpb $0, (%ecx)
    jne 1f
    movl %ebx, %eax
    cmpl $AT_FDCWD, %ebx
    jne node_of_fd
    movl current, %eax
    movl PROC_cwd(%eax), %eax
    ret
1:  movl %ebx, %eax
    movl %ecx, %edx
    xorl %ecx, %ecx
    testl $AT_SYMLINK_NOFOLLOW, %esi
    setz %cl
    jmp path_lookup

# statx(EBX = directory, ECX = path, EDX = flags, EDI = buffer)
FUNCTION sys_statx
    movl %edx, %esi
    call node_at
    cmpl $-MAX_ERRNO, %eax
    jae 9f
    movl %edi, %ebx
    movl %eax, %esi
    movl $record, %eax
    xorl %edx, %edx
    movl $STATX_sizeof, %ecx
    call memory_set
    movl $STATX_BASIC, record + STATX_mask
    movl $4096, record + STATX_blksize
    .irp field, nlink, uid, gid, ino, size
    movl NODE_\field(%esi), %eax
    movl %eax, record + STATX_\field
    .endr
    movl NODE_mode(%esi), %eax
    movw %ax, record + STATX_mode
    call blocks_of
    movl %eax, record + STATX_blocks
    movl NODE_mtime(%esi), %eax
    movl %eax, record + STATX_atime
    movl %eax, record + STATX_mtime
    movl %eax, record + STATX_ctime
    movl NODE_rdev(%esi), %eax
    movzbl %al, %edx
    movl %edx, record + STATX_rdev_minor
    shrl $8, %eax
    movl %eax, record + STATX_rdev_major
    movl $DEVICE >> 8, record + STATX_dev_major
    movl $STATX_sizeof, %ecx
    jmp copy_record
9:  ret

# statfs64(EBX = path, ECX = bytes of the buffer, EDX = buffer)
FUNCTION sys_statfs64
    movl %ecx, %esi
    movl %edx, %edi
    movl $AT_FDCWD, %eax
    movl %ebx, %edx
    movl $1, %ecx
    call path_lookup
    cmpl $-MAX_ERRNO, %eax
    jb fill_statfs
    ret

# fstatfs64(EBX = descriptor, ECX = bytes of the buffer, EDX = buffer)
FUNCTION sys_fstatfs64
    movl %ecx, %esi
    movl %edx, %edi
    movl %ebx, %eax
    call fd_get
    testl %eax, %eax
    jnz fill_statfs
    movl $-EBADF, %eax
    ret

# EDI = user buffer, ESI = its bytes: one file system, of no free space.
fill_statfs:
    movl $-EINVAL, %eax
    cmpl $STATFS_sizeof, %esi
    jne 1f
    movl $record, %eax
    xorl %edx, %edx
    movl $STATFS_sizeof, %ecx
    call memory_set
    movl fs_magic, %eax
    movl %eax, record + STATFS_type
    movl $4096, record + STATFS_bsize
    movl $4096, record + STATFS_frsize
    movl nr_frames, %eax
    movl %eax, record + STATFS_blocks
    movl $255, record + STATFS_namelen
    movl $ST_RDONLY, record + STATFS_flags
    movl %edi, %ebx
    movl $STATFS_sizeof, %ecx
    jmp copy_record
1:  ret

# access(EBX = path, ECX = mode)
FUNCTION sys_access
    movl %ecx, %edx
    movl %ebx, %ecx
    movl $AT_FDCWD, %ebx

# faccessat(EBX = directory, ECX = path, EDX = mode). Everybody is root: what some may execute, all may; nothing
# but devices can be written.
FUNCTION sys_faccessat
    movl %edx, %esi
    movl %ebx, %eax
    movl %ecx, %edx
    movl $1, %ecx
    call path_lookup
    cmpl $-MAX_ERRNO, %eax
    jae 9f
    movl NODE_mode(%eax), %ecx
    movl %ecx, %edx
    andl $S_IFMT, %edx
    testl $2, %esi
    jz 1f
    movl $-EROFS, %eax
    cmpl $S_IFCHR, %edx
    jne 9f
1:  testl $1, %esi
    jz 2f
    cmpl $S_IFDIR, %edx
    je 2f
    movl $-EACCES, %eax
    testl $0111, %ecx
    jz 9f
2:  xorl %eax, %eax
9:  ret

# getdents64(EBX = descriptor, ECX = buffer, EDX = bytes). The position counts entries: ".", "..", then the
# directory's own.
FUNCTION sys_getdents64
    movl %ecx, %esi
    movl %edx, %edi
    movl %ebx, %eax
    call fd_get
    movl %eax, %ebx
    movl $-EBADF, %eax
    testl %ebx, %ebx
    jz 9f
    movl $-ENOTDIR, %eax
    cmpl $FILE_NODE, FILE_type(%ebx)
    jne 9f
    movl FILE_object(%ebx), %edx
    movl NODE_mode(%edx), %ecx
    andl $S_IFMT, %ecx
    cmpl $S_IFDIR, %ecx
    jne 9f
    pushl %esi                      # (%esp): start of the buffer
    movl %esi, %eax
    movl %edi, %edx
    call user_range
    addl %esi, %edi                 # end of the buffer
1:  call entry_at
    testl %eax, %eax
    jz 2f
    call put_entry
    jc 3f
    incl FILE_pos(%ebx)
    jmp 1b
3:  movl $-EINVAL, %eax             # not even one fits
    cmpl (%esp), %esi
    je 4f
2:  movl %esi, %eax
    subl (%esp), %eax
4:  popl %edx
9:  ret

# EBX = open directory; gives in EAX the node at its position, 0 at the end, in EDX and ECX its name and length.
entry_at:
    movl FILE_object(%ebx), %eax
    movl FILE_pos(%ebx), %ecx
    movl $dots, %edx
    cmpl $2, %ecx
    jae 1f
    incl %ecx
    cmpl $2, %ecx
    jne 3f
    movl NODE_parent(%eax), %eax
    ret
1:  movl NODE_child(%eax), %eax
    subl $2, %ecx
2:  testl %eax, %eax
    jz 3f
    jecxz 4f
    movl NODE_next(%eax), %eax
    decl %ecx
    jmp 2b
4:  movl NODE_name(%eax), %edx
    movl NODE_name_len(%eax), %ecx
3:  ret
    .section .rodata
dots:
    .ascii ".."
    .text

# EAX = node, EDX = name, ECX = its length, ESI = where to put it, EDI = end of the buffer, EBX = open
# directory: moves ESI. CF set if there is no room.
put_entry:
    pushl %ebp
    leal DIRENT_name + 8(%esi,%ecx), %ebp
    subl %esi, %ebp
    andl $-8, %ebp                  # record length
    pushl %edi
    subl %esi, %edi
    cmpl %ebp, %edi
    popl %edi
    jb 1f
    pushl %eax
    movl NODE_ino(%eax), %eax
    movl %eax, DIRENT_ino(%esi)
    movl $0, DIRENT_ino+4(%esi)
    movl FILE_pos(%ebx), %eax
    incl %eax
    movl %eax, DIRENT_off(%esi)
    movl $0, DIRENT_off+4(%esi)
    movw %bp, DIRENT_reclen(%esi)
    popl %eax
    movl NODE_mode(%eax), %eax
    shrl $12, %eax                  # DT_ numbers are those of the mode
    movb %al, DIRENT_type(%esi)
    leal DIRENT_name(%esi), %eax
    movb $0, (%eax,%ecx)
    call memory_copy
    addl %ebp, %esi
    clc
1:  popl %ebp
    ret
