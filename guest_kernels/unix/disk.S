# The disk, if the domain has one: sectors of it, read to any place in memory. The kernel waits for them, and so do all
# processes: it sleeps until the backend has answered.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "ports.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "blkfront.inc"
    .include "unix.inc"

.equ REQUEST_SECTORS, BLKIF_MAX_SEGMENTS_PER_REQUEST * SECTORS_PER_PAGE
.equ MOST_SECTORS, DISK_PAGES * SECTORS_PER_PAGE

    .bss
    .balign 4
    .globl disk_sector_size
disk_sector_size:                   # bytes
    .skip 4

    .text
# Connects to xvda. Gives 0 when there is none.
FUNCTION disk_init
    call store_init
    movl $xvda, %eax
    call device_open
    testl %eax, %eax
    jz 1f
    call grants_init
    call blkfront_connect
    movl $sector_size_word, %eax
    call back_number
    movl %eax, disk_sector_size
    movl $1, %eax
1:  ret

# EAX = first sector, EDX = how many, ECX = where to. Gives 0 or -EIO.
FUNCTION disk_read
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    movl %edx, %esi
    movl %ecx, %edi
1:  xorl %eax, %eax
    movl $MOST_SECTORS, %ecx
    cmpl %ecx, %esi
    cmovbl %esi, %ecx
    testl %ecx, %ecx
    jz 2f
    pushl %ecx
    call request_sectors
    call finish
    popl %ecx
    testl %eax, %eax
    movl $-EIO, %eax
    jnz 2f
    addl %ecx, %ebx
    subl %ecx, %esi
    shll $BLKIF_SECTOR_SHIFT, %ecx
    movl %edi, %eax
    addl %ecx, %edi
    movl $disk_pages, %edx
    call copy_words
    jmp 1b
2:  popl %edi
    popl %esi
    popl %ebx
    ret

# EBX = first sector, ECX = how many, which fit into the frontend's pages: requests to fill those.
request_sectors:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %ecx, %esi
    xorl %edi, %edi                 # page
1:  movl $REQUEST_SECTORS, %ecx
    cmpl %ecx, %esi
    cmovbl %esi, %ecx
    movl %ebx, %edx
    addl %ecx, %ebx
    subl %ecx, %esi
    shll $16, %ecx
    orl %edi, %ecx
    movl $BLKIF_OP_READ, %eax
    call transfer
    addl $BLKIF_MAX_SEGMENTS_PER_REQUEST, %edi
    testl %esi, %esi
    jnz 1b
    popl %edi
    popl %esi
    popl %ebx
    ret
    .section .rodata
xvda:
    .asciz "device/vbd/51712"
sector_size_word:
    .asciz "sector-size"
