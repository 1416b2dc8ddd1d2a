# From paths to nodes and back.

    .include "unix.inc"

.equ MAX_LINKS, 40                  # symbolic links followed for one path, as in Linux

    .bss
    .globl path_buffer, only_last_missing
path_buffer:                        # a path from user space
    .skip PATH_MAX
link_buffers:                       # what a symbolic link makes of the rest of a path; two in turn
    .skip 4 * PATH_MAX
whole_path:
    .skip PATH_MAX + 4
    .balign 4
whole_path_end:
follow_last:
    .skip 4
links:
    .skip 4
only_last_missing:                  # after -ENOENT: the directory is there, so a file could be created in it
    .skip 4

    .text
# EAX = user address of a string; gives path_buffer with its copy, or -ENAMETOOLONG.
FUNCTION path_copy
    pushl %esi
    pushl %edi
    movl %eax, %esi
    movl $path_buffer, %edi
    movl $PATH_MAX, %ecx
1:  cmpl $USER_END, %esi
    jae syscall_fault
    lodsb
    stosb
    testb %al, %al
    loopnz 1b
    movl $-ENAMETOOLONG, %eax
    jnz 2f
    movl $path_buffer, %eax
2:  popl %edi
    popl %esi
    ret

# EAX = directory descriptor or AT_FDCWD, EDX = user address of a path, ECX = 1 to follow a link at its end;
# gives the node or -errno.
FUNCTION path_lookup
    pushl %ebx
    pushl %ecx
    movl %eax, %ebx
    movl %edx, %eax
    call path_copy
    cmpl $-MAX_ERRNO, %eax
    jae 9f
    movl current, %edx
    movl PROC_cwd(%edx), %edx
    cmpl $AT_FDCWD, %ebx
    je 1f
    cmpb $'/', path_buffer
    je 1f
    movl %ebx, %eax
    call fd_get
    movl %eax, %edx
    movl $-EBADF, %eax
    testl %edx, %edx
    jz 9f
    movl $-ENOTDIR, %eax
    cmpl $FILE_NODE, FILE_type(%edx)
    jne 9f
    movl FILE_object(%edx), %edx
1:  movl $path_buffer, %eax
    popl %ecx
    popl %ebx
    jmp path_resolve
9:  popl %ecx
    popl %ebx
    ret

# EAX = path, EDX = directory where a relative one starts, ECX = 1 to follow a link at its end; gives the node
# or -errno.
FUNCTION path_resolve
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %esi
    movl %edx, %ebx
    movl %ecx, follow_last
    movl $0, links
    movl $0, only_last_missing
    movl $-ENOENT, %eax
    cmpb $0, (%esi)
    je 9f
    cmpb $'/', (%esi)
    jne next_component
    movl root_node, %ebx
next_component:
    cmpb $'/', (%esi)
    jne 2f
1:  incl %esi
    cmpb $'/', (%esi)
    je 1b
    movl $-ENOTDIR, %eax
    call is_directory
    jne 9f
2:  movl %ebx, %eax
    cmpb $0, (%esi)
    je 9f
    movl $-ENOTDIR, %eax
    call is_directory
    jne 9f
    movl %esi, %edx
    call component_end
    movl %esi, %ecx
    subl %edx, %ecx
    cmpl $2, %ecx
    ja 4f
    cmpb $'.', (%edx)
    jne 4f
    cmpl $1, %ecx
    je next_component
    cmpb $'.', 1(%edx)
    jne 4f
    movl NODE_parent(%ebx), %ebx    # the root is its own parent
    jmp next_component
4:  movl %ebx, %eax
    call child_named
    movl %eax, %edi
    testl %edi, %edi
    jz 7f
    movl NODE_mode(%edi), %eax
    andl $S_IFMT, %eax
    cmpl $S_IFLNK, %eax
    je 5f
3:  movl %edi, %ebx
    jmp next_component
5:  movl follow_last, %eax
    cmpb $0, (%esi)
    jne 6f
    testl %eax, %eax
    jz 3b
6:  call follow_link
    testl %eax, %eax
    jz next_component
    jmp 9f
7:  movl $-ENOENT, %eax
    cmpb $0, (%esi)
    sete only_last_missing
9:  popl %edi
    popl %esi
    popl %ebx
    ret

# EBX = node: ZF set if it is a directory. Keeps EAX.
is_directory:
    movl NODE_mode(%ebx), %ecx
    andl $S_IFMT, %ecx
    cmpl $S_IFDIR, %ecx
    ret

# Moves ESI to the end of the component it points to.
component_end:
1:  incl %esi
    cmpb $'/', (%esi)
    je 2f
    cmpb $0, (%esi)
    jne 1b
2:  ret

# EDI = symbolic link, EBX = its directory, ESI = rest of the path: changes EBX and ESI to what the link means.
# Gives 0 or -errno.
follow_link:
    movl $-ELOOP, %eax
    incl links
    cmpl $MAX_LINKS, links
    ja 9f
    cmpl $0, NODE_data(%edi)
    jne 1f
    movl current, %eax              # /proc/self/exe: whatever runs
    movl PROC_exe(%eax), %ebx
    xorl %eax, %eax
    ret
1:  movl $-ENAMETOOLONG, %eax
    movl NODE_size(%edi), %ecx
    cmpl $PATH_MAX, %ecx
    jae 9f
    movl $-ENOENT, %eax
    jecxz 9f
    movl links, %eax
    andl $1, %eax
    shll $13, %eax
    addl $link_buffers, %eax        # not where the rest of the path is now
    pushl %eax
    movl NODE_data(%edi), %edx
    call memory_copy
    popl %eax
    movl %eax, %edx
    addl NODE_size(%edi), %edx
2:  movb (%esi), %cl
    movb %cl, (%edx)
    testb %cl, %cl
    jz 3f
    incl %esi
    incl %edx
    leal 2 * PATH_MAX(%eax), %ecx
    cmpl %ecx, %edx
    jb 2b
    movl $-ENAMETOOLONG, %eax
    ret
3:  movl %eax, %esi
    cmpb $'/', (%esi)
    jne 4f
    movl root_node, %ebx
4:  xorl %eax, %eax
9:  ret

# EAX = node; gives in EAX its path, closed by a zero, and in EDX its length. No path is longer than PATH_MAX:
# archive_init and ext2_init see to that.
FUNCTION path_of_node
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl $whole_path_end - 1, %edi
    movb $0, (%edi)
    cmpl root_node, %ebx
    jne 1f
    decl %edi
    movb $'/', (%edi)
    jmp 2f
1:  movl NODE_name_len(%ebx), %ecx
    subl %ecx, %edi
    movl %edi, %eax
    movl NODE_name(%ebx), %edx
    call memory_copy
    decl %edi
    movb $'/', (%edi)
    movl NODE_parent(%ebx), %ebx
    cmpl root_node, %ebx
    jne 1b
2:  movl %edi, %eax
    movl $whole_path_end - 1, %edx
    subl %edi, %edx
    popl %edi
    popl %esi
    popl %ebx
    ret

# getcwd(EBX = buffer, ECX = bytes): gives the length with the zero byte.
FUNCTION sys_getcwd
    movl %ecx, %esi
    movl current, %eax
    movl PROC_cwd(%eax), %eax
    call path_of_node
    incl %edx
    movl %edx, %edi
    movl %eax, %ecx
    movl $-ERANGE, %eax
    cmpl %edi, %esi
    jb 1f
    movl %ebx, %eax
    call user_range
    movl %ecx, %edx
    movl %edi, %ecx
    call memory_copy
    movl %edi, %eax
1:  ret

FUNCTION sys_chdir
    movl $AT_FDCWD, %eax
    movl %ebx, %edx
    movl $1, %ecx
    call path_lookup
    cmpl $-MAX_ERRNO, %eax
    jae 1f

enter_directory:                    # EAX = node
    movl %eax, %ebx
    movl $-ENOTDIR, %eax
    call is_directory
    jne 1f
    movl current, %eax
    movl %ebx, PROC_cwd(%eax)
    xorl %eax, %eax
1:  ret

FUNCTION sys_fchdir
    movl %ebx, %eax
    call fd_get
    testl %eax, %eax
    jz 1f
    cmpl $FILE_NODE, FILE_type(%eax)
    movl FILE_object(%eax), %eax
    je enter_directory
    movl $-ENOTDIR, %eax
    ret
1:  movl $-EBADF, %eax
    ret

# readlink(EBX = path, ECX = buffer, EDX = bytes)
FUNCTION sys_readlink
    movl %edx, %esi
    movl %ecx, %edx
    movl %ebx, %ecx
    movl $AT_FDCWD, %ebx

# readlinkat(EBX = directory, ECX = path, EDX = buffer, ESI = bytes)
FUNCTION sys_readlinkat
    movl %edx, %edi
    movl %ebx, %eax
    movl %ecx, %edx
    xorl %ecx, %ecx
    call path_lookup
    cmpl $-MAX_ERRNO, %eax
    jae 9f
    movl %eax, %ebx
    movl NODE_mode(%ebx), %eax
    andl $S_IFMT, %eax
    cmpl $S_IFLNK, %eax
    movl $-EINVAL, %eax
    jne 9f
    testl %esi, %esi
    jle 9f
    movl NODE_size(%ebx), %edx
    movl NODE_data(%ebx), %eax
    testl %eax, %eax
    jnz 1f
    movl current, %eax
    movl PROC_exe(%eax), %eax
    call path_of_node
1:  cmpl %edx, %esi
    jb 2f
    movl %edx, %esi
2:  movl %eax, %ebx
    movl %edi, %eax
    movl %esi, %edx
    call user_range
    movl %ebx, %edx
    movl %esi, %ecx
    call memory_copy
    movl %esi, %eax
9:  ret
