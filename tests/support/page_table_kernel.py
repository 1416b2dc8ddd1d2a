"""A kernel that does the page-table work of a script (`page_table_script.py`)."""

from __future__ import annotations

import struct
from typing import Final

from tests.support.prelude import prelude

POOL: Final = 12
"""Pages of data that entries map."""
TABLES: Final = 3
"""L1 tables; the first two are in use."""
TABLE_VA: Final = 0xD000_0000
"""Where those are; from a second root they are there the other way round."""
SCRIPT_SIZE: Final = 128 << 10
ARENA_SIZE: Final = 256 << 10
STEP: Final = struct.Struct("<8I")
"""What to do, and its words; what came of it is written over them."""
END, CALL, TOUCH, STORE, PEND, LOAD = range(6)
PLAIN_STORES: Final = 10
NR_STORES: Final = 14
"""Ways to store; the first ones are served in C."""

KERNEL: Final = (
    prelude("paging", "shared", "events")
    + f"""
.globl script, arena, pool, tables, root, level2, gdt

    .data
    .balign 4
trap_table:
    TRAP_GATE 11, 0, faulted
    TRAP_GATE 13, 0, faulted
    TRAP_GATE 14, 0, faulted
    TRAP_TABLE_END
resume: .long 0
resume_esp: .long 0
step:   .long script
upcalls: .long 0

    .balign 4
stores:
    .long by_pointer, by_displacement, by_long_displacement, by_index, by_accumulator, immediate
    .long exchanged, compared, compared_unlocked, not_compared
    .long by_frame_pointer, half, added, by_segment
gdt_frames: .long 0

    .bss
    .balign PAGE_SIZE
root:   .skip PAGE_SIZE             # the second one, and the level 2 table that it alone has
level2: .skip PAGE_SIZE
gdt:    .skip PAGE_SIZE
tables: .skip {TABLES} * PAGE_SIZE
pool:   .skip {POOL} * PAGE_SIZE
script: .skip {SCRIPT_SIZE}
arena:  .skip {ARENA_SIZE}

    .text
    .type main, @function
main:
    call events_init
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall_here, %ecx
    movl %ebx, %edx
    movl $faulted, %esi
    HYPERCALL set_callbacks
    movl $trap_table, %eax
    call set_trap_table
    movl $VMASST_CMD_enable, %ebx
    movl $VMASST_TYPE_writable_pagetables, %ecx
    HYPERCALL vm_assist
    movl $tables, %esi
    movl $({TABLE_VA} >> L2_SHIFT) & (ENTRIES - 1), %edi
1:  movl %esi, %eax
    call make_read_only
    MUST make_read_only
    cmpl $tables + ({TABLES} - 1) * PAGE_SIZE, %esi
    je run
    movl %esi, %eax
    call va_to_mfn
    movl %eax, %ebx
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, %edi, %ebx, $PTE_TABLE
    MUST mmu_update
    incl %edi
    addl $PAGE_SIZE, %esi
    jmp 1b
run:
    call make_gdt
    call make_root
next_step:
    movl step, %ebp
    movl (%ebp), %eax
    cmpl ${CALL}, %eax
    je call
    cmpl ${TOUCH}, %eax
    je touch
    cmpl ${STORE}, %eax
    je store
    cmpl ${PEND}, %eax
    je pend
    cmpl ${LOAD}, %eax
    je load
    movl upcalls, %eax
    SHOW_HEX "upcalls "
    ret

call:
    movl 4(%ebp), %eax
    movl 8(%ebp), %ebx
    movl 12(%ebp), %ecx
    movl 16(%ebp), %edx
    movl 20(%ebp), %esi
    movl 24(%ebp), %edi
    int $0x82
    movl step, %ebp
    movl %eax, 4(%ebp)
    movl %ebx, 8(%ebp)
    movl %ecx, 12(%ebp)
    movl %edx, 16(%ebp)
    movl %esi, 20(%ebp)
    jmp next

pend:                               # an upcall, if it is not masked, after the next trap
    movl $UPCALL_MASK - 1, %ecx
    movl 4(%ebp), %eax
    movb %al, (%ecx)
    movl 8(%ebp), %eax
    movb %al, 1(%ecx)
    jmp next

load:                               # a segment register
    call catch_faults
    movl $4f, resume
    movl 4(%ebp), %eax
    movl $1, 28(%ebp)
    movl %eax, %gs
    movl $2, 28(%ebp)
4:  movl step, %ebp
    jmp next

touch:                              # the first word of a page: what is there, and whether it can be written
    call catch_faults
    movl $3f, resume
    movl 4(%ebp), %ecx
    movl $1, 28(%ebp)
    movl (%ecx), %eax
    movl %eax, 8(%ebp)
    movl $2, 28(%ebp)
    movl %ecx, (%ecx)
    movl $3, 28(%ebp)
3:  movl step, %ebp
    jmp next

store:                              # ECX where EBX points
    call catch_faults
    movl $stored, resume
    movl 4(%ebp), %ebx
    movl 8(%ebp), %ecx
    movl 12(%ebp), %eax
    movl $1, 28(%ebp)
    jmp *stores(,%eax,4)

by_pointer:
    movl %ecx, (%ebx)
    jmp store_done
by_displacement:
    addl $100, %ebx
    movl %ecx, -100(%ebx)
    jmp store_done
by_long_displacement:
    movl %ebx, %edi
    subl $tables, %edi
    movl %ecx, tables(%edi)
    jmp store_done
by_index:
    movl $8, %esi
    subl $64, %ebx
    movl %ecx, (%ebx,%esi,8)
    jmp store_done
by_accumulator:                     # one place only
    movl %ecx, %eax
    movl %eax, tables + 100 * ENTRY_SIZE
    jmp store_done
immediate:
    movl $0, (%ebx)
    jmp store_done
by_frame_pointer:
    movl %ebx, %ebp
    movl %ecx, (%ebp)
    jmp store_done
half:
    movw %cx, (%ebx)
    jmp store_done
exchanged:
    xchgl %ecx, (%ebx)
    movl %ecx, 4(%ebp)              # what was there
    jmp store_done
compared:                           # the whole entry, of which %ecx is the lower half
    movl %ecx, %esi
    movl (%ebx), %eax
    movl 4(%ebx), %edx
    movl %ebx, %edi
    movl %edx, %ecx
    movl %esi, %ebx
    lock cmpxchg8b (%edi)
    jmp 1f
compared_unlocked:                  # of which it is the upper half, that of most is 0
    movl (%ebx), %eax
    movl 4(%ebx), %edx
    movl %ebx, %edi
    movl %eax, %ebx
    andl $0x80000000, %ecx
    cmpxchg8b (%edi)
    jmp 1f
not_compared:
    movl (%ebx), %eax
    movl 4(%ebx), %edx
    notl %edx
    lock cmpxchg8b (%ebx)
1:  pushfl
    popl %ecx
    movl step, %ebp
    movl %eax, 4(%ebp)              # what was there, and whether that was expected
    movl %edx, 8(%ebp)
    movl %ecx, 16(%ebp)
    jmp store_done
added:
    xaddl %ecx, (%ebx)
    jmp store_done
by_segment:
    movl %ecx, %es:(%ebx)
store_done:
    movl step, %ebp
    movl $2, 28(%ebp)
stored:
    movl step, %ebp

next:
    addl ${STEP.size}, step
    jmp next_step

# A page of descriptors that the script changes.
make_gdt:
    movl $gdt, %eax
    call make_read_only
    MUST make_read_only
    movl $gdt, %eax
    call va_to_mfn
    movl %eax, gdt_frames
    movl $gdt_frames, %ebx
    movl $PAGE_SIZE / 8, %ecx
    HYPERCALL set_gdt
    MUST set_gdt
    ret

# A second root: the same, but for the tables at TABLE_VA, which it has the other way round.
make_root:
    call kernel_l2
    movl %eax, %esi
    movl $level2, %edi
    movl $PAGE_SIZE / 4, %ecx
    rep movsl
    movl $level2 + ({TABLE_VA} >> L2_SHIFT) % ENTRIES * ENTRY_SIZE, %ebx
    movl (%ebx), %eax
    xchgl ENTRY_SIZE(%ebx), %eax
    movl %eax, (%ebx)
    movl $level2, %eax
    call make_read_only
    MUST make_read_only
.ifdef TWO_LEVEL
    movl $level2, %eax
.else
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %esi
    movl $root, %edi
    movl $PAGE_SIZE / 4, %ecx
    rep movsl
    movl $level2, %eax
    call va_to_mfn
    movl $PTE_ROOT, %edx
    call make_entry
    movl %eax, root + 3 * ENTRY_SIZE
    movl %edx, root + 3 * ENTRY_SIZE + 4
    movl $root, %eax
    call make_read_only
    MUST make_read_only
    movl $root, %eax
.endif
    call va_to_mfn
    MMUEXT PIN_ROOT_TABLE, %eax
    MUST PIN_ROOT_TABLE
    ret

catch_faults:                       # anew: a list that reads zeroes for an entry has no trap table set
    movl $trap_table, %eax
    call set_trap_table
    movl step, %ebp
    leal 4(%esp), %eax
    movl %eax, resume_esp
    ret

faulted:
    movl resume_esp, %esp
    jmp *resume

# An upcall is only counted: what was pending is not any more.
upcall_here:
    pushl %eax
    incl upcalls
    movl $UPCALL_MASK - 1, %eax
    movb $0, (%eax)
    movb $0, 1(%eax)
    popl %eax
    iret
"""
)
