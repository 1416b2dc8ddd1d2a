# A disk: what is written is what is read, by every kind of request, and once more after the disk was given back.
#
# Observe: the pages stay the kernel's own, it only lets the backend use them; one event wakes it, out of a poll of its
# port, for as many answers as there are by then. Each word on the disk is its own number, so that a sector in the wrong
# place is seen.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "systime.inc"
    .include "ports.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "blkfront.inc"

    XEN_NOTES block

.equ SEGMENTS, 4                    # pages in one request
.equ ROUNDS, 16                     # how often all pages are written, each time after the last ones
.equ ROUND_SECTORS, DISK_PAGES * SECTORS_PER_PAGE
.equ WORDS_PER_SECTOR, BLKIF_SECTOR_SIZE / 4

    .bss
    .balign 4
began:                              # system time
    .skip 8
sectors:                            # of the disk
    .skip 4

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    call store_init
    call grants_init
    movl $xvda, %eax
    call device_open
    testl %eax, %eax
    jnz 1f
    PRINT "this domain has no xvda\n"
    ret
1:  call blkfront_connect
    call describe
    call write_all
    call read_all
    call read_at_once
    call discard_some
    call write_beyond
    call blkfront_close
    call blkfront_connect
    call read_at_once
    jmp blkfront_close

    .type describe, @function
describe:
    movl $dev_word, %eax
    call back_read
    testl %eax, %eax
    jz 1f
    call print_string
1:  movl $sectors_word, %eax
    call back_number
    movl %eax, sectors
    PRINT ": "
    PRINT_DEC sectors
    PRINT " sectors of "
    movl $sector_size_word, %eax
    call back_number
    call print_dec
    PRINT " bytes\n"
    ret

# All pages, ROUNDS times, a flush after that.
    .type write_all, @function
write_all:
    pushl %ebx
    call start_clock
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    call fill_pages
    movl $BLKIF_OP_WRITE, %eax
    movl %ebx, %edx
    call transfer_pages
    addl $ROUND_SECTORS, %ebx
    cmpl $ROUNDS * ROUND_SECTORS, %ebx
    jb 1b
    movl $BLKIF_OP_FLUSH_DISKCACHE, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call command
    call finish
    call check
    PRINT "written"
    popl %ebx
    jmp print_rate

    .type read_all, @function
read_all:
    pushl %ebx
    call start_clock
    xorl %ebx, %ebx
1:  call clear_pages
    movl $BLKIF_OP_READ, %eax
    movl %ebx, %edx
    call transfer_pages
    movl %ebx, %eax
    call compare_pages
    addl $ROUND_SECTORS, %ebx
    cmpl $ROUNDS * ROUND_SECTORS, %ebx
    jb 1b
    PRINT "read and right"
    popl %ebx
    jmp print_rate

# All pages by one indirect request, if the backend takes it.
    .type read_at_once, @function
read_at_once:
    movl $indirect_word, %eax
    call back_number
    cmpl $DISK_PAGES, %eax
    jb 1f
    call clear_pages
    movl $BLKIF_OP_READ, %eax
    movl $3 * ROUND_SECTORS, %edx
    call transfer_indirect
    call finish
    call check
    movl $3 * ROUND_SECTORS, %eax
    call compare_pages
    PRINT "read by one request and right\n"
1:  ret

    .type discard_some, @function
discard_some:
    movl $BLKIF_OP_DISCARD, %eax
    xorl %edx, %edx
    movl $ROUND_SECTORS, %ecx
    call command
    call finish
    call check
    xorl %eax, %eax
    call fill_pages
    movl $BLKIF_OP_READ, %eax
    xorl %edx, %edx
    call transfer_pages
    movl $disk_pages, %eax
    xorl %edx, %edx
    pushl %edi
    movl %eax, %edi
    xorl %eax, %eax
    movl $DISK_PAGES * PAGE_SIZE / 4, %ecx
    repe scasl
    popl %edi
    je 1f
    PANIC "discarded sectors are not zero"
1:  PRINT "discarded, and zero\n"
    ret

# The last page of the request lies beyond the disk: nothing of it is written.
    .type write_beyond, @function
write_beyond:
    movl sectors, %eax
    call fill_pages
    movl $BLKIF_OP_WRITE, %eax
    movl sectors, %edx
    subl $(SEGMENTS - 1) * SECTORS_PER_PAGE, %edx
    movl $(SEGMENTS * SECTORS_PER_PAGE) << 16, %ecx
    call transfer
    call finish
    cmpl $1, %eax
    je 1f
    PANIC "a write beyond the disk was taken"
1:  PRINT "refused beyond the end\n"
    ret

# EAX = BLKIF_OP_, EDX = sector: all pages, SEGMENTS to a request.
    .type transfer_pages, @function
transfer_pages:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %esi
    movl %edx, %edi
    xorl %ebx, %ebx
1:  movl %esi, %eax
    movl %edi, %edx
    leal (SEGMENTS * SECTORS_PER_PAGE) << 16(%ebx), %ecx
    call transfer
    addl $SEGMENTS * SECTORS_PER_PAGE, %edi
    addl $SEGMENTS, %ebx
    cmpl $DISK_PAGES, %ebx
    jb 1b
    call finish
    call check
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = failures.
    .type check, @function
check:
    testl %eax, %eax
    jz 1f
    PANIC "the disk has failed"
1:  ret

# EAX = sector: each word of the pages becomes its number on the disk.
    .type fill_pages, @function
fill_pages:
    pushl %edi
    movl $disk_pages, %edi
    imull $WORDS_PER_SECTOR, %eax
    movl $DISK_PAGES * PAGE_SIZE / 4, %ecx
1:  stosl
    incl %eax
    loop 1b
    popl %edi
    ret

    .type clear_pages, @function
clear_pages:
    pushl %edi
    movl $disk_pages, %edi
    movl $DISK_PAGES * PAGE_SIZE / 4, %ecx
    xorl %eax, %eax
    rep stosl
    popl %edi
    ret

# EAX = sector: stops unless the pages are as fill_pages makes them.
    .type compare_pages, @function
compare_pages:
    pushl %edi
    movl $disk_pages, %edi
    imull $WORDS_PER_SECTOR, %eax
    movl $DISK_PAGES * PAGE_SIZE / 4, %ecx
1:  scasl
    jne 2f
    incl %eax
    loop 1b
    popl %edi
    ret
2:  PANIC "what was read is not what was written"

    .type start_clock, @function
start_clock:
    call system_time
    movl %eax, began
    movl %edx, began + 4
    ret

# How many sectors went by in a second, since start_clock.
    .type print_rate, @function
print_rate:
    call system_time
    subl began, %eax
    sbbl began + 4, %edx
    movl $1000, %ecx                # microseconds; what took an hour is not looked at
    divl %ecx
    movl %eax, %ecx
    orl $2, %ecx
    movl $ROUNDS * ROUND_SECTORS, %eax
    movl $1000000, %edx
    mull %edx
    divl %ecx
    pushl %eax
    PRINT ": "
    popl %eax
    call print_dec
    PRINT " sectors a second\n"
    ret

    .section .rodata
xvda:
    .asciz "device/vbd/51712"
dev_word:
    .asciz "dev"
sectors_word:
    .asciz "sectors"
sector_size_word:
    .asciz "sector-size"
indirect_word:
    .asciz "feature-max-indirect-segments"
