# The file system on the disk: ext2, read-only. The tree of nodes is made of its directories at the start; what a file
# holds is read when it is first used, and stays in memory. The disk comes from whoever starts the domain and may hold
# anything: every number is checked before it is believed.

    .include "unix.inc"
    .include "ext2.inc"

.equ DIRECTORY_MAX, 1 << 20         # bytes

    .bss
    .balign 4
text_page:                          # place for more targets of links: next, end
    .skip 8
damage_said:
    .skip 4

    .text
# Builds the tree. Gives 0, or a string that says why there is none. Damage costs the file that has it, and a line.
FUNCTION ext2_init
    pushl %ebx
    call blocks_init
    testl %eax, %eax
    jnz 9f
    call node_new
    movl %eax, %ebx
    movl %ebx, root_node
    movl %ebx, NODE_parent(%ebx)
    movl $EXT2_ROOT_INO, %eax
    movl %eax, NODE_ino(%ebx)
    call inode_read
    testl %eax, %eax
    movl $no_root, %eax
    jnz 9f
    movzwl inode + INODE_mode, %edx
    andl $S_IFMT, %edx
    cmpl $S_IFDIR, %edx
    jne 9f
    movl %ebx, %eax
    call node_fill
1:  movl NODE_mode(%ebx), %eax      # each directory before what is in it
    andl $S_IFMT, %eax
    cmpl $S_IFDIR, %eax
    jne 2f
    movl %ebx, %eax
    call add_directory
2:  movl NODE_child(%ebx), %eax
    testl %eax, %eax
    jnz 4f
3:  cmpl root_node, %ebx
    je 5f
    movl NODE_next(%ebx), %eax
    testl %eax, %eax
    jnz 4f
    movl NODE_parent(%ebx), %ebx
    jmp 3b
4:  movl %eax, %ebx
    jmp 1b
5:  call add_builtins
    movl $EXT2_MAGIC, fs_magic
    xorl %eax, %eax
9:  popl %ebx
    ret

# EAX = directory without entries: adds those that the disk has. Their names stay where they were read.
add_directory:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl NODE_ino(%ebx), %eax
    call inode_read
    testl %eax, %eax
    jnz 8f
    movl inode + INODE_size, %eax
    cmpl $DIRECTORY_MAX, %eax
    ja 8f
    call boot_alloc
    movl %eax, %esi
    movl inode + INODE_size, %edx
    leal (%esi,%edx), %edi          # end
    call inode_data
    testl %eax, %eax
    jnz 8f
1:  movl %edi, %ecx
    subl %esi, %ecx
    jz 9f
    subl $ENTRY_name, %ecx
    jb 8f
    movzwl ENTRY_rec_len(%esi), %edx
    subl $ENTRY_name, %edx
    jb 8f
    cmpl %ecx, %edx
    ja 8f
    movzbl ENTRY_name_len(%esi), %ecx
    cmpl %edx, %ecx
    ja 8f
    call add_entry
    movzwl ENTRY_rec_len(%esi), %edx
    addl %edx, %esi
    jmp 1b
8:  movl NODE_ino(%ebx), %eax
    call say_damage
9:  popl %edi
    popl %esi
    popl %ebx
    ret

# EBX = directory, ESI = one of its entries: adds a node for it.
add_entry:
    pushl %edi
    movl ENTRY_inode(%esi), %eax
    testl %eax, %eax
    jz 9f
    call name_fits
    jc 8f
    jz 9f
    movl ENTRY_inode(%esi), %eax
    call inode_read
    testl %eax, %eax
    jnz 8f
    call inode_fits
    jc 8f
    movl %ebx, %eax
    leal ENTRY_name(%esi), %edx
    movzbl ENTRY_name_len(%esi), %ecx
    call child_add
    movl %eax, %edi
    movl ENTRY_inode(%esi), %edx
    movl %edx, NODE_ino(%edi)
    call node_fill
    movl NODE_mode(%edi), %eax
    andl $S_IFMT, %eax
    cmpl $S_IFLNK, %eax
    jne 9f
    movl %edi, %eax
    call read_link
    testl %eax, %eax
    jz 9f
8:  movl ENTRY_inode(%esi), %eax
    call say_damage
9:  popl %edi
    ret

# EBX = directory, ESI = entry: ZF set for "." and "..", CF set for a name that no path can have.
name_fits:
    pushl %ebx
    movzbl ENTRY_name_len(%esi), %ecx
    leal ENTRY_name(%esi), %edx
    cmpl $1, %ecx
    jb 8f
    ja 1f
    cmpb $'.', (%edx)
    je 9f
1:  cmpl $2, %ecx
    jne 2f
    cmpw $0x2e2e, (%edx)
    je 9f
2:  movb (%edx), %al
    testb %al, %al
    jz 8f
    cmpb $'/', %al
    je 8f
    incl %edx
    loop 2b
    movzbl ENTRY_name_len(%esi), %ecx
3:  incl %ecx                       # all of its path, with the slashes
    addl NODE_name_len(%ebx), %ecx
    movl NODE_parent(%ebx), %ebx
    cmpl root_node, %ebx
    jne 3b
    cmpl $PATH_MAX - 1, %ecx
    ja 8f
    orl $1, %ecx                    # neither flag
9:  popl %ebx
    ret
8:  popl %ebx
    stc
    ret

# ESI = entry, `inode` what it names: CF set for what cannot be a node.
inode_fits:
    cmpw $0, inode + INODE_links_count
    je 8f
    movl inode + INODE_size, %ecx
    movzwl inode + INODE_mode, %eax
    andl $S_IFMT, %eax
    cmpl $S_IFDIR, %eax
    je 1f
    cmpl $S_IFLNK, %eax
    je 3f
    cmpl $S_IFREG, %eax
    clc
    jne 9f
    testl %ecx, %ecx                # files end before 2 GiB
    js 8f
    cmpl $0, inode + INODE_size_high
    jne 8f
    ret
1:  movl ENTRY_inode(%esi), %ecx    # one directory in two places: a loop, if it is above itself
    movl all_nodes, %edx
2:  cmpl NODE_ino(%edx), %ecx
    je 8f
    movl NODE_all(%edx), %edx
    testl %edx, %edx
    jnz 2b
    ret
3:  decl %ecx
    cmpl $PATH_MAX - 1, %ecx
    cmc
9:  ret
8:  stc
    ret

# EAX = node: takes over what `inode` says.
node_fill:
    .irp field, mode, uid, gid
    movzwl inode + INODE_\field, %edx
    movl %edx, NODE_\field(%eax)
    .endr
    movzwl inode + INODE_links_count, %edx
    movl %edx, NODE_nlink(%eax)
    .irp field, size, mtime
    movl inode + INODE_\field, %edx
    movl %edx, NODE_\field(%eax)
    .endr
    movl NODE_mode(%eax), %edx
    andl $S_IFMT & ~0x4000, %edx    # the same for both kinds of devices
    cmpl $S_IFCHR, %edx
    jne 1f
    movzwl inode + INODE_block, %edx
    movl %edx, NODE_rdev(%eax)
1:  ret

# EAX = symbolic link, `inode` its own: reads its target. Gives 0 or -EIO.
read_link:
    pushl %ebx
    movl %eax, %ebx
    movl NODE_size(%ebx), %eax
    cmpl $INODE_TEXT, %eax
    jae 1f
    call text_alloc
    movl %eax, NODE_data(%ebx)
    movl $inode + INODE_block, %edx
    movl NODE_size(%ebx), %ecx
    call memory_copy
    xorl %eax, %eax
    popl %ebx
    ret
1:  movl $PATH_MAX, %eax
    call boot_alloc
    movl %eax, NODE_data(%ebx)
    movl NODE_size(%ebx), %edx
    popl %ebx
    jmp inode_data

# EAX = bytes, up to a page; gives where they can stay.
text_alloc:
    pushl %ebx
    movl %eax, %ebx
    movl text_page, %eax
    addl %ebx, %eax
    cmpl text_page+4, %eax
    jbe 1f
    movl $4096, %eax
    call boot_alloc
    movl %eax, text_page
    addl $4096, %eax
    movl %eax, text_page+4
1:  movl text_page, %eax
    addl %ebx, text_page
    popl %ebx
    ret

# EAX = number of an inode. Only the first one is told.
say_damage:
    cmpl $0, damage_said
    jne 1f
    movl $1, damage_said
    pushl %eax
    PRINT "unix: the file system is damaged at inode "
    popl %eax
    call print_dec
    PRINT "\n"
1:  ret

# EAX = node: sees to it that what a regular file holds is in memory. Gives 0, -ENOMEM or -EIO.
FUNCTION node_load
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    movl NODE_mode(%ebx), %eax
    andl $S_IFMT, %eax
    cmpl $S_IFREG, %eax
    jne 8f
    cmpl $0, NODE_data(%ebx)
    jne 8f
    cmpl $0, NODE_size(%ebx)
    je 8f
    movl all_nodes, %esi            # it may have been read by another name
1:  movl NODE_ino(%esi), %eax
    cmpl NODE_ino(%ebx), %eax
    jne 2f
    movl NODE_data(%esi), %eax
    testl %eax, %eax
    jnz 7f
2:  movl NODE_all(%esi), %esi
    testl %esi, %esi
    jnz 1b
    movl NODE_size(%ebx), %eax
    addl $4095, %eax
    shrl $12, %eax
    call frames_alloc
    movl %eax, %esi
    movl $-ENOMEM, %eax
    testl %esi, %esi
    jz 9f
    movl NODE_ino(%ebx), %eax
    call inode_read
    testl %eax, %eax
    jnz 5f
    movl %esi, %eax
    movl NODE_size(%ebx), %edx
    call inode_data
    testl %eax, %eax
    jnz 5f
    movl %esi, %eax
7:  movl %eax, NODE_data(%ebx)
8:  xorl %eax, %eax
9:  popl %esi
    popl %ebx
    ret
5:  movl NODE_size(%ebx), %ebx
    addl %esi, %ebx                 # end
6:  movl %esi, %eax
    call frame_put
    addl $4096, %esi
    cmpl %ebx, %esi
    jb 6b
    movl $-EIO, %eax
    jmp 9b
    .section .rodata
no_root:
    .asciz "the file system on the disk has no root directory"
