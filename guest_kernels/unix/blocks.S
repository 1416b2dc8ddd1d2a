# Blocks and inodes of the ext2 file system on the disk.

    .include "unix.inc"
    .include "ext2.inc"

.equ LARGEST_BLOCK, 4096
.equ MOST_GROUPS, 4096

    .bss
    .balign 4
    .globl inode, block_size
    .balign 4096
block:                              # the block of inodes that was read last
    .skip LARGEST_BLOCK
tables:                             # tables of blocks, one of each level
    .skip INODE_LEVELS * LARGEST_BLOCK
inode:                              # the inode that was read last
    .skip INODE_sizeof
held_block:                         # which block is in `block`; 0, the boot block, stands for none
    .skip 4
held_tables:                        # which ones are in `tables`
    .skip INODE_LEVELS * 4
block_size:
    .skip 4
block_shift:                        # the same as a power of two
    .skip 4
inode_shift:                        # bytes of an inode on the disk, as a power of two
    .skip 4
nr_blocks:
    .skip 4
nr_inodes:
    .skip 4
inodes_per_group:
    .skip 4
nr_groups:
    .skip 4
groups:                             # group descriptors
    .skip 4
run_first:                          # neighbouring blocks that are to be read at once: the first one
    .skip 4
run_length:
    .skip 4
run_place:                          # where to
    .skip 4

    .text
# Reads what is to be known of the file system. Gives 0, or a string that says why there is none.
FUNCTION blocks_init
    pushl %ebx
    pushl %esi
    xorl %eax, %eax
    movl $LARGEST_BLOCK >> 9, %edx
    movl $block, %ecx
    call disk_read
    movl $no_file_system, %esi
    testl %eax, %eax
    jnz 9f
    movl $block + SUPER_place, %ebx
    cmpw $EXT2_MAGIC, SUPER_magic(%ebx)
    jne 9f
    movl $unknown_features, %esi
    movl $INODE_sizeof, %eax
    cmpl $0, SUPER_rev_level(%ebx)
    je 1f
    testl $~EXT2_FEATURE_FILETYPE, SUPER_feature_incompat(%ebx)
    jnz 9f
    movzwl SUPER_inode_size(%ebx), %eax
1:  movl $bad_super_block, %esi
    call sizes
    jc 9f
    call counts
    jc 9f
    movl $small_blocks, %esi
    movl block_size, %eax
    cmpl disk_sector_size, %eax
    jb 9f
    movl $bad_super_block, %esi
    call read_groups
    testl %eax, %eax
    jnz 9f
    xorl %esi, %esi
9:  movl %esi, %eax
    popl %esi
    popl %ebx
    ret

# EBX = superblock, EAX = bytes of an inode: CF set unless they and a block's are powers of two in order.
sizes:
    movl SUPER_log_block_size(%ebx), %ecx
    cmpl $2, %ecx
    ja 2f
    addl $10, %ecx
    movl %ecx, block_shift
    movl $1, %edx
    shll %cl, %edx
    movl %edx, block_size
    cmpl %edx, %eax
    ja 2f
    cmpl $INODE_sizeof, %eax
    jb 2f
    leal -1(%eax), %edx
    testl %edx, %eax
    jnz 2f
    bsfl %eax, %eax
    movl %eax, inode_shift
    clc
    ret
2:  stc
    ret

# EBX = superblock: CF set unless its counts can be true. All products below stay within 32 bits then.
counts:
    movl SUPER_inodes_count(%ebx), %eax
    movl %eax, nr_inodes
    movl block_shift, %ecx
    movl $8, %edx                   # the bits of a block say which of a group's inodes, and blocks, are in use
    shll %cl, %edx
    movl SUPER_inodes_per_group(%ebx), %eax
    movl %eax, inodes_per_group
    decl %eax
    cmpl %edx, %eax
    jae 2f
    movl SUPER_blocks_per_group(%ebx), %eax
    decl %eax
    cmpl %edx, %eax
    jae 2f
    subl $9, %ecx
    movl $-1, %edx
    shrl %cl, %edx                  # sectors have numbers of 32 bits
    movl SUPER_blocks_count(%ebx), %eax
    movl %eax, nr_blocks
    cmpl %edx, %eax
    ja 2f
    decl %eax
    subl SUPER_first_data_block(%ebx), %eax
    jbe 2f
    xorl %edx, %edx
    divl SUPER_blocks_per_group(%ebx)
    incl %eax
    movl %eax, nr_groups
    cmpl $MOST_GROUPS + 1, %eax
    cmc
    ret
2:  stc
    ret

# EBX = superblock: reads the group descriptors. Gives 0 or -EIO.
read_groups:
    movl nr_groups, %eax
    shll $GROUP_shift, %eax
    addl block_size, %eax
    decl %eax
    movl block_shift, %ecx
    shrl %cl, %eax
    pushl %eax                      # blocks
    shll %cl, %eax
    call boot_alloc
    movl %eax, groups
    movl %eax, %ecx
    popl %edx
    movl SUPER_first_data_block(%ebx), %eax
    incl %eax

# EAX = first block, EDX = how many, ECX = where to. Gives 0, or -EIO for blocks that are not there either.
blocks_read:
    pushl %ebx
    movl nr_blocks, %ebx
    subl %edx, %ebx
    jb 1f
    cmpl %ebx, %eax
    ja 1f
    pushl %ecx
    movl block_shift, %ecx
    subl $9, %ecx
    shll %cl, %eax
    shll %cl, %edx
    popl %ecx
    popl %ebx
    jmp disk_read
1:  movl $-EIO, %eax
    popl %ebx
    ret

# EAX = number of an inode: `inode` becomes what the disk has of it. Gives 0 or -EIO.
FUNCTION inode_read
    pushl %ebx
    decl %eax
    cmpl nr_inodes, %eax
    jae 8f
    xorl %edx, %edx
    divl inodes_per_group
    cmpl nr_groups, %eax
    jae 8f
    shll $GROUP_shift, %eax
    addl groups, %eax
    movl GROUP_inode_table(%eax), %eax
    movl inode_shift, %ecx
    shll %cl, %edx
    movl %edx, %ebx                 # its place in the group's table
    movl block_shift, %ecx
    shrl %cl, %edx
    addl %edx, %eax
    cmpl held_block, %eax
    je 1f
    movl $0, held_block
    pushl %eax
    movl $1, %edx
    movl $block, %ecx
    call blocks_read
    popl %edx
    testl %eax, %eax
    jnz 8f
    movl %edx, held_block
1:  movl block_size, %edx
    decl %edx
    andl %ebx, %edx
    addl $block, %edx
    movl $inode, %eax
    movl $INODE_sizeof, %ecx
    call copy_words
    xorl %eax, %eax
    popl %ebx
    ret
8:  movl $-EIO, %eax
    popl %ebx
    ret

# EAX = where to, EDX = bytes: what the file of `inode` holds, in whole blocks. Gives 0 or -EIO.
FUNCTION inode_data
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %edi                 # where the next block belongs
    addl block_size, %edx
    decl %edx
    movl block_shift, %ecx
    shrl %cl, %edx
    movl %edx, %esi                 # blocks
    xorl %ebx, %ebx                 # block of the file
    movl %ebx, run_length
1:  cmpl %esi, %ebx
    jae read_run_and_leave
    movl %ebx, %eax
    call block_of
    jc 8f
    testl %eax, %eax
    jz 3f
    movl run_first, %edx
    addl run_length, %edx
    cmpl $0, run_length
    je 2f
    cmpl %edx, %eax
    je 4f
2:  pushl %eax
    call read_run
    popl %edx
    testl %eax, %eax
    jnz 8f
    movl %edx, run_first
    movl %edi, run_place
4:  incl run_length
    jmp 5f
3:  call read_run                   # a hole: it reads as zeros
    testl %eax, %eax
    jnz 8f
    movl %edi, %eax
    xorl %edx, %edx
    movl block_size, %ecx
    call memory_set
5:  incl %ebx
    addl block_size, %edi
    jmp 1b
8:  movl $-EIO, %eax
    jmp leave_data
read_run_and_leave:
    call read_run
leave_data:
    popl %edi
    popl %esi
    popl %ebx
    ret

# Reads the blocks that have been gathered, if any. Gives 0 or -EIO.
read_run:
    movl run_length, %edx
    movl $0, run_length
    movl run_first, %eax
    movl run_place, %ecx
    testl %edx, %edx
    jnz blocks_read
    xorl %eax, %eax
    ret

# EAX = block of the file of `inode`: gives which block of the disk that is, 0 for a hole. CF set when it cannot be
# found out.
block_of:
    cmpl $INODE_DIRECT, %eax
    jae 1f
    movl inode + INODE_block(,%eax,4), %eax
    clc
    ret
1:  pushl %esi
    pushl %edi
    subl $INODE_DIRECT, %eax
    movl $1, %esi                   # levels of tables above it
2:  call level_shift
    movl $1, %edx
    shll %cl, %edx
    cmpl %edx, %eax
    jb 3f
    subl %edx, %eax
    incl %esi
    cmpl $INODE_LEVELS, %esi
    jbe 2b
    stc
    jmp 9f
3:  movl %eax, %edi                 # which one below that table
    movl inode + INODE_block + 4 * (INODE_DIRECT - 1)(,%esi,4), %eax
4:  testl %eax, %eax                # clears CF
    jz 9f
    call table
    jc 9f
    decl %esi
    call level_shift
    movl %edi, %edx
    shrl %cl, %edx
    movl block_size, %ecx
    shrl $2, %ecx
    decl %ecx
    andl %ecx, %edx
    movl (%eax,%edx,4), %eax
    testl %esi, %esi
    jnz 4b
9:  popl %edi
    popl %esi
    ret

# ESI = levels of tables; gives in CL how many blocks they lead to, as a power of two. Keeps all else.
level_shift:
    movl block_shift, %ecx
    subl $2, %ecx
    imull %esi, %ecx
    ret

# EAX = block with a table, ESI = its level; gives its address. CF set when it cannot be read.
table:
    movl %esi, %ecx
    shll $12, %ecx
    addl $tables - LARGEST_BLOCK, %ecx
    cmpl held_tables - 4(,%esi,4), %eax
    je 1f
    movl $0, held_tables - 4(,%esi,4)
    pushl %ecx
    pushl %eax
    movl $1, %edx
    call blocks_read
    popl %edx
    popl %ecx
    testl %eax, %eax
    stc
    jnz 2f
    movl %edx, held_tables - 4(,%esi,4)
1:  movl %ecx, %eax
    clc
2:  ret
    .section .rodata
no_file_system:
    .asciz "the disk has no ext2 file system (mke2fs -t ext2 -d FOLDER)"
unknown_features:
    .asciz "the file system on the disk is more than ext2"
bad_super_block:
    .asciz "the file system on the disk is damaged"
small_blocks:
    .asciz "the blocks of the file system are smaller than the sectors of the disk"
