# Page frames: a pool in the kernel's own image, so that every frame is mapped from the start, with a count of those
# who use each.
#
# Invariant: a frame of the pool is mapped writable, unless it is a table and the machine says otherwise.

    .include "twice.inc"

    .bss
    .balign PAGE
frames:
    .skip NR_FRAMES * PAGE
free_frames:                        # stack of addresses
    .skip NR_FRAMES * 4
uses:                               # u16 per frame
    .skip NR_FRAMES * 2
    .globl free_count
    .balign 4
free_count:
    .skip 4

    .text
FUNCTION frames_init
    movl $frames, %eax
    xorl %edx, %edx
1:  movl %eax, free_frames(,%edx,4)
    addl $PAGE, %eax
    incl %edx
    cmpl $NR_FRAMES, %edx
    jne 1b
    movl %edx, free_count
    ret

# Gives a frame with one user and any content. The work of this kernel has an end that is known: there is always one.
FUNCTION frame_alloc
    decl free_count
    js 1f
    movl free_count, %edx
    movl free_frames(,%edx,4), %edx
    movl %edx, %eax
    call frame_uses
    movw $1, (%eax)
    movl %edx, %eax
    ret
1:  PANIC "no frame is left"

# The same, zeroed.
FUNCTION frame_alloc_zeroed
    pushl %edi
    call frame_alloc
    movl %eax, %edx
    movl %eax, %edi
    movl $PAGE / 4, %ecx
    xorl %eax, %eax
    rep stosl
    movl %edx, %eax
    popl %edi
    ret

# EAX = frame, EDX = page: copies what is there into the frame.
FUNCTION frame_copy
    pushl %esi
    pushl %edi
    movl %eax, %edi
    movl %edx, %esi
    movl $PAGE / 4, %ecx
    rep movsl
    popl %edi
    popl %esi
    ret

# EAX = frame: one user less.
FUNCTION frame_put
    movl %eax, %edx
    call frame_uses
    decw (%eax)
    jnz 1f
    movl free_count, %eax
    movl %edx, free_frames(,%eax,4)
    incl free_count
1:  ret

# EAX = frame; gives the address of the count of its users, a u16. Keeps EDX.
FUNCTION frame_uses
    subl $frames, %eax
    shrl $12, %eax
    leal uses(,%eax,2), %eax
    ret
