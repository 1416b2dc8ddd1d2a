# The tree of nodes, and the archive in the ramdisk (cpio, format newc) as one, read-only. The archive comes from
# whoever starts the domain and may be damaged: every length is checked before it is believed.

    .include "unix.inc"
    .include "elf.inc"

.equ RAMFS_MAGIC, 0x858458F6

.equ CPIO_HEADER, 110               # six bytes of magic, then 13 numbers of eight hexadecimal digits
.equ CPIO_ino, 6
.equ CPIO_mode, 14
.equ CPIO_uid, 22
.equ CPIO_gid, 30
.equ CPIO_nlink, 38
.equ CPIO_mtime, 46
.equ CPIO_filesize, 54
.equ CPIO_rdevmajor, 78
.equ CPIO_rdevminor, 86
.equ CPIO_namesize, 94

    .bss
    .balign 4
    .globl root_node, console_node, pipe_node, all_nodes
root_node:
    .skip 4
console_node:                       # what standard input, output and error are
    .skip 4
pipe_node:                          # what fstat says of pipes
    .skip 4
all_nodes:
    .skip 4
node_page:                          # room for more nodes: next, end
    .skip 8
next_ino:
    .skip 4

    .data
    .globl fs_magic
fs_magic:                           # what statfs calls the file system
    .long RAMFS_MAGIC

    .section .rodata
trailer:
    .asciz "TRAILER!!!"
# Nodes that need no archive: name, type and permissions, device number.
builtin_nodes:
    .irp name, null, zero, random, urandom, tty, console
    .long 1f, 2f - 1f - 1
    .pushsection .rodata.names, "a"
1:  .asciz "dev/\name"
2:
    .popsection
    .endr
    .long 0
builtin_devices:
    .long 0x103, 0x105, 0x108, 0x109, 0x500, 0x501
    .text

# Gives a new node, all zero but for its inode number, in the list of all nodes.
FUNCTION node_new
    pushl %ebx
    movl node_page, %ebx
    cmpl node_page+4, %ebx
    jb 1f
    movl $4096, %eax
    call boot_alloc
    movl %eax, %ebx
    addl $4096 / NODE_sizeof * NODE_sizeof, %eax
    movl %eax, node_page+4
1:  leal NODE_sizeof(%ebx), %eax
    movl %eax, node_page
    incl next_ino
    movl next_ino, %eax
    movl %eax, NODE_ino(%ebx)
    movl all_nodes, %eax
    movl %eax, NODE_all(%ebx)
    movl %ebx, all_nodes
    movl %ebx, %eax
    popl %ebx
    ret

# EAX = directory, EDX = name, ECX = its length; gives the entry of this name, or 0.
FUNCTION child_named
    pushl %ebx
    pushl %esi
    pushl %edi
    movl NODE_child(%eax), %ebx
1:  testl %ebx, %ebx
    jz 3f
    cmpl %ecx, NODE_name_len(%ebx)
    jne 2f
    movl %edx, %esi
    movl NODE_name(%ebx), %edi
    pushl %ecx
    cmpl %ecx, %ecx                 # equal, should the length be 0
    repe cmpsb
    popl %ecx
    je 3f
2:  movl NODE_next(%ebx), %ebx
    jmp 1b
3:  movl %ebx, %eax
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = directory, EDX = name, ECX = its length; gives a new directory of this name, last in its parent.
FUNCTION child_add
    pushl %ebx
    pushl %ecx
    pushl %edx
    movl %eax, %ebx
    call node_new
    popl NODE_name(%eax)
    popl NODE_name_len(%eax)
    movl %ebx, NODE_parent(%eax)
    movl $S_IFDIR | 0755, NODE_mode(%eax)
    movl $2, NODE_nlink(%eax)
    leal NODE_child - NODE_next(%ebx), %edx
1:  movl NODE_next(%edx), %ecx
    jecxz 2f
    movl %ecx, %edx
    jmp 1b
2:  movl %eax, NODE_next(%edx)
    popl %ebx
    ret

# EAX = path, EDX = its length; gives the node of this path, made with all directories above it if need be, or
# 0 for a path that leads through a file or upwards.
path_make:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %esi
    leal (%eax,%edx), %edi
    movl root_node, %ebx
1:  cmpl %edi, %esi                 # next component
    jae 5f
    movl %esi, %edx
2:  cmpb $'/', (%esi)
    je 3f
    incl %esi
    cmpl %edi, %esi
    jb 2b
3:  movl %esi, %ecx
    subl %edx, %ecx
    incl %esi
    testl %ecx, %ecx
    jz 1b
    cmpl $2, %ecx
    ja 4f
    cmpb $'.', (%edx)
    jne 4f
    cmpl $1, %ecx
    je 1b
    cmpb $'.', 1(%edx)
    je 6f
4:  movl NODE_mode(%ebx), %eax
    andl $S_IFMT, %eax
    cmpl $S_IFDIR, %eax
    jne 6f
    movl %ebx, %eax
    pushl %ecx
    pushl %edx
    call child_named
    popl %edx
    popl %ecx
    testl %eax, %eax
    jnz 7f
    movl %ebx, %eax
    call child_add
7:  movl %eax, %ebx
    jmp 1b
5:  movl %ebx, %eax
8:  popl %edi
    popl %esi
    popl %ebx
    ret
6:  xorl %eax, %eax
    jmp 8b

# EAX = address of eight hexadecimal digits; gives their value.
parse_hex:
    pushl %esi
    movl %eax, %esi
    movl $8, %ecx
    xorl %edx, %edx
1:  lodsb
    subb $'0', %al
    cmpb $10, %al
    jb 2f
    orb $0x20, %al                  # A..F are 0x11.., a..f 0x31.. by now
    subb $0x27, %al
    andb $15, %al
2:  shll $4, %edx
    movzbl %al, %eax
    orl %eax, %edx
    loop 1b
    movl %edx, %eax
    popl %esi
    ret

# EAX = archive, EDX = bytes: builds the tree. A damaged archive gives what comes before the damage, and a line. Gives
# 0.
FUNCTION archive_init
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %eax, %esi
    leal (%eax,%edx), %edi
    call node_new
    movl %eax, root_node
    movl %eax, NODE_parent(%eax)
    movl $S_IFDIR | 0755, NODE_mode(%eax)
    movl $2, NODE_nlink(%eax)
    pushl %esi                      # (%esp): start of the archive
1:  movl %edi, %ecx
    subl %esi, %ecx
    jb 8f
    subl $CPIO_HEADER, %ecx
    jb 8f
    cmpl $0x37303730, (%esi)        # "070701", "070702" with checksums
    jne 8f
    cmpb $'0', 4(%esi)
    jne 8f
    leal CPIO_namesize(%esi), %eax
    pushl %ecx
    call parse_hex
    popl %ecx
    decl %eax
    cmpl $PATH_MAX - 1, %eax        # its zero byte counts, so 0 is wrong too
    jae 8f
    movl %eax, %ebx                 # length of the name
    cmpl %ecx, %eax
    jae 8f
    cmpb $0, CPIO_HEADER(%esi,%ebx)
    jne 8f
    leal CPIO_HEADER+4(%esi,%ebx), %ebp
    andl $-4, %ebp                  # the data
    leal CPIO_filesize(%esi), %eax
    call parse_hex
    movl %edi, %ecx
    subl %ebp, %ecx
    jb 8f
    cmpl %ecx, %eax
    ja 8f
    cmpl $10, %ebx
    jne 2f
    pushl %esi
    pushl %edi
    addl $CPIO_HEADER, %esi
    movl $trailer, %edi
    movl $11, %ecx
    repe cmpsb
    popl %edi
    popl %esi
    je 9f
2:  pushl %eax
    call add_entry
    popl %eax
    leal 3(%ebp,%eax), %esi
    andl $-4, %esi
    jmp 1b
8:  PRINT "unix: the archive is damaged at byte "
    movl %esi, %eax
    subl (%esp), %eax
    call print_dec
    PRINT "\n"
9:  popl %esi
    call add_builtins
    xorl %eax, %eax
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

# ESI = header, EBX = length of the name, EBP = data, EAX = bytes of data.
add_entry:
    pushl %edi
    pushl %eax
    leal CPIO_HEADER(%esi), %eax
    movl %ebx, %edx
    call path_make
    popl %ecx
    movl %eax, %edi
    testl %eax, %eax
    jz 9f
    movl %ecx, NODE_size(%edi)
    movl %ebp, NODE_data(%edi)
    .irp field, mode, uid, gid, nlink, mtime, ino
    leal CPIO_\field(%esi), %eax
    call parse_hex
    movl %eax, NODE_\field(%edi)
    .endr
    leal CPIO_rdevmajor(%esi), %eax
    call parse_hex
    shll $8, %eax
    pushl %eax
    leal CPIO_rdevminor(%esi), %eax
    call parse_hex
    popl %edx
    orl %edx, %eax
    movl %eax, NODE_rdev(%edi)
    movl NODE_mode(%edi), %eax
    andl $S_IFMT, %eax
    cmpl $S_IFREG, %eax
    jne 9f
    movl %edi, %eax
    call align_program
    cmpl $1, NODE_nlink(%edi)
    jbe 9f
    call share_data
9:  popl %edi
    ret

# EAX = regular file: a program is moved to a page boundary, so that its pages can be mapped as they are.
align_program:
    pushl %ebx
    movl %eax, %ebx
    cmpl $4096, NODE_size(%ebx)
    jb 1f
    movl NODE_data(%ebx), %edx
    cmpl $ELF_MAGIC, (%edx)
    jne 1f
    testl $4095, %edx
    jz 1f
    movl NODE_size(%ebx), %eax
    call boot_alloc
    pushl %esi
    pushl %edi
    movl NODE_data(%ebx), %esi
    movl %eax, %edi
    movl %eax, NODE_data(%ebx)
    movl NODE_size(%ebx), %ecx
    movl %ecx, %eax
    shrl $2, %ecx
    rep movsl
    movl %eax, %ecx
    andl $3, %ecx
    rep movsb
    popl %edi
    popl %esi
1:  popl %ebx
    ret

# EDI = file with several names: cpio stores the data with the last of them only.
share_data:
    movl all_nodes, %ecx
    movl NODE_size(%edi), %eax
    testl %eax, %eax
    jz 3f
1:  movl NODE_ino(%edi), %edx
    cmpl %edx, NODE_ino(%ecx)
    jne 2f
    movl NODE_nlink(%edi), %edx
    cmpl %edx, NODE_nlink(%ecx)
    jne 2f
    cmpl $0, NODE_size(%ecx)
    jne 2f
    movl %eax, NODE_size(%ecx)
    movl NODE_data(%edi), %edx
    movl %edx, NODE_data(%ecx)
2:  movl NODE_all(%ecx), %ecx
    testl %ecx, %ecx
    jnz 1b
3:  ret

# The devices and /proc/self/exe, whatever the archive has in their place.
FUNCTION add_builtins
    pushl %ebx
    call node_new                   # should the archive have a file called dev
    movl $S_IFCHR | 0620, NODE_mode(%eax)
    movl %eax, console_node
    xorl %ebx, %ebx
1:  movl builtin_nodes(,%ebx,8), %eax
    testl %eax, %eax
    jz 3f
    movl builtin_nodes+4(,%ebx,8), %edx
    call path_make
    testl %eax, %eax
    jz 2f
    movl $S_IFCHR | 0666, NODE_mode(%eax)
    movl $1, NODE_nlink(%eax)
    movl builtin_devices(,%ebx,4), %edx
    movl %edx, NODE_rdev(%eax)
    movl %eax, console_node         # the last one stays
2:  incl %ebx
    jmp 1b
3:  movl $self_exe, %eax
    movl $self_exe_end - self_exe, %edx
    call path_make
    testl %eax, %eax
    jz 4f
    movl $S_IFLNK | 0777, NODE_mode(%eax)
    movl $0, NODE_data(%eax)        # see path.S
    movl $0, NODE_size(%eax)
4:  call node_new
    movl $S_IFIFO | 0600, NODE_mode(%eax)
    movl $1, NODE_nlink(%eax)
    movl %eax, pipe_node
    popl %ebx
    ret
    .section .rodata
self_exe:
    .ascii "proc/self/exe"
self_exe_end:
