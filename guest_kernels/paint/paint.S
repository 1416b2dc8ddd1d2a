# A picture that a viewer sees, and his keys as marks in it.
#
# Observe: the kernel stores pixels into its own memory and nothing else happens; what it tells the backend is which of
# them have changed. A key is one event, whichever viewer it comes from; a button is a key, at the pointer's place.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "fbfront.inc"
    .include "kbdfront.inc"

    XEN_NOTES paint

.equ KEY_ESC, 1                     # Linux's numbers
.equ BTN_LEFT, 0x110
.equ MARK, 8                        # pixels of a mark's side
.equ MARK_COLOUR, 0xffffff
.equ MARKS_TOP, HEIGHT - 2 * MARK   # where marks of keys are
.equ STEP, MARK + 2                 # from one mark of a key to the next

    .bss
    .balign 4
pointer:                            # x, y
    .skip 8
next_mark:                          # x of the next key's mark
    .skip 4

    .text
    .type main, @function
main:
    call events_init
    call store_init
    call grants_init
    movl $vfb, %eax
    call device_open
    testl %eax, %eax
    jnz 1f
    PRINT "this domain has no framebuffer\n"
    ret
1:  call draw
    call fbfront_connect
    xorl %eax, %eax
    xorl %edx, %edx
    movl $WIDTH | HEIGHT << 16, %ecx
    call fb_update
    PRINT "a picture of "
    PRINT_DEC $WIDTH
    PRINT " by "
    PRINT_DEC $HEIGHT
    PRINT " pixels\n"
    movl $vkbd, %eax
    call device_open
    testl %eax, %eax
    jz 2f
    call kbdfront_connect
2:  movl console_port, %eax
    movl $wake, %edx
    call set_handler
    movl console_port, %eax
    call unmask_port
    PRINT "Escape ends it, and so does q on this console\n"

# Until Escape or q.
watch:
    movb $1, UPCALL_MASK            # nothing may come between the look and the sleep
    call console_has_q
    testl %eax, %eax
    jnz 2f
    call kbd_next
    testl %eax, %eax
    jnz 1f
    call block
    jmp watch
1:  call obey
    testl %eax, %eax
    jz watch
2:  PRINT "over\n"
wake:
    ret

# Each pixel's colour is its place: x in red, y in green, both in blue.
    .type draw, @function
draw:
    pushl %edi
    movl $pixels, %edi
    xorl %edx, %edx
1:  xorl %ecx, %ecx
2:  movl %ecx, %eax
    xorl %edx, %eax
    movzbl %al, %eax
    movb %dl, %ah
    pushl %ecx
    andl $0xff, %ecx
    shll $16, %ecx
    orl %ecx, %eax
    popl %ecx
    stosl
    incl %ecx
    cmpl $WIDTH, %ecx
    jb 2b
    incl %edx
    cmpl $HEIGHT, %edx
    jb 1b
    popl %edi
    ret

# Does what kbd_event says; gives 1 when it is to end.
    .type obey, @function
obey:
    cmpb $XENKBD_TYPE_POS, kbd_event + XENKBD_POSITION_type
    jne 1f
    movl kbd_event + XENKBD_POSITION_abs_x, %eax
    movl %eax, pointer
    movl kbd_event + XENKBD_POSITION_abs_y, %eax
    movl %eax, pointer + 4
    jmp 4f
1:  cmpb $XENKBD_TYPE_KEY, kbd_event + XENKBD_KEY_type
    jne 4f
    cmpb $0, kbd_event + XENKBD_KEY_pressed
    je 4f
    movl kbd_event + XENKBD_KEY_keycode, %eax
    cmpl $KEY_ESC, %eax
    je 5f
    cmpl $BTN_LEFT, %eax
    je 3f
    PRINT "key "
    PRINT_DEC kbd_event + XENKBD_KEY_keycode
    PRINT "\n"
    movl next_mark, %eax
    movl $MARKS_TOP, %edx
    leal STEP(%eax), %ecx
    cmpl $WIDTH - MARK, %ecx
    jbe 2f
    xorl %ecx, %ecx
2:  movl %ecx, next_mark
    call mark
    jmp 4f
3:  PRINT "button at "
    PRINT_DEC pointer
    PRINT ", "
    PRINT_DEC pointer + 4
    PRINT "\n"
    movl pointer, %eax
    movl pointer + 4, %edx
    call mark
4:  xorl %eax, %eax
    ret
5:  movl $1, %eax
    ret

# EAX = x, EDX = y: a mark there, or as far to the left and as high up as it has to be.
    .type mark, @function
mark:
    pushl %ebx
    pushl %edi
    cmpl $WIDTH - MARK, %eax
    jbe 1f
    movl $WIDTH - MARK, %eax
1:  cmpl $HEIGHT - MARK, %edx
    jbe 2f
    movl $HEIGHT - MARK, %edx
2:  imull $LINE, %edx, %ebx
    leal pixels(%ebx,%eax,4), %ebx
    pushl %eax
    movl $MARK, %eax
3:  pushl %eax
    movl %ebx, %edi
    movl $MARK, %ecx
    movl $MARK_COLOUR, %eax
    rep stosl
    addl $LINE, %ebx
    popl %eax
    decl %eax
    jnz 3b
    popl %eax
    movl $MARK | MARK << 16, %ecx
    call fb_update
    popl %edi
    popl %ebx
    ret

# Takes what was typed on the console; gives 1 when there was a q.
    .type console_has_q, @function
console_has_q:
    pushl %ebx
    movl console_ring, %ebx
    xorl %eax, %eax
1:  movl XENCONS_INTERFACE_in_cons(%ebx), %ecx
    cmpl %ecx, XENCONS_INTERFACE_in_prod(%ebx)
    je 2f
    andl $XENCONS_IN_SIZE - 1, %ecx
    cmpb $'q', XENCONS_INTERFACE_in(%ebx,%ecx)
    sete %cl
    orb %cl, %al
    incl XENCONS_INTERFACE_in_cons(%ebx)
    jmp 1b
2:  popl %ebx
    ret

    .section .rodata
vfb:
    .asciz "device/vfb/0"
vkbd:
    .asciz "device/vkbd/0"
