# A guest that scribbles on the pages of its framebuffer and its keyboard: events of any kind and size, indices that jump,
# directories of frames that are not its own, nodes. At its end it behaves, and the framebuffer has to as well.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "cmdline.inc"
    .include "vcpus.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "fbfront.inc"
    .include "kbdfront.inc"
    .include "hostile.inc"

    XEN_NOTES hostile_screen

.equ KEYBOARD_REF, GNTTAB_NR_RESERVED_ENTRIES   # kbdfront_connect's
.equ KICKS, 16                      # of a round

    .text
    .type main, @function
main:
    call events_init
    call store_init
    call grants_init
    call hostile_init
    call open_keyboard
    call kbdfront_connect
    call open_screen
    call fbfront_connect
    call start_rewriter
1:  UNLESS_CHANCE 4, 2f
    call keyboard_round
    jmp 3f
2:  call screen_round
3:  movl requests_made, %eax
    cmpl requests_wanted, %eax
    jb 1b
    call open_screen
    call renew_screen
    call behave
    movl $8, %eax                   # as a guest does that knows how
    movl $8, %edx
    movl $WIDTH - 8 | (HEIGHT - 8) << 16, %ecx
    call fb_update
4:  call yield
    movl fb_page + XENFB_PAGE_out_prod, %eax
    cmpl fb_page + XENFB_PAGE_out_cons, %eax
    jne 4b
    PRINT "the screen still serves\n"
    jmp tell_counts

    .type open_screen, @function
open_screen:
    movl $vfb, %eax
    jmp open_it

    .type open_keyboard, @function
open_keyboard:
    movl $vkbd, %eax
open_it:
    call device_open
    testl %eax, %eax
    jnz 1f
    PANIC "this domain has no framebuffer with a keyboard"
1:  ret

    .type screen_round, @function
screen_round:
    pushl %ebx
    call open_screen
    movl $KICKS, %ebx
1:  call screen_kick
    decl %ebx
    jnz 1b
    UNLESS_CHANCE 4, 2f
    movl $fb_page, %eax
    call jump
    movl fb_port, %eax
    call send_event
    call yield
2:  call backend_state
    cmpl $XenbusStateConnected, %eax
    jne 3f
    UNLESS_CHANCE 8, 4f
3:  call note_state
    call renew_screen
4:  popl %ebx
    ret

# Some events that are hardly ones, of which the backend hears once.
    .type screen_kick, @function
screen_kick:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl fb_page + XENFB_PAGE_in_prod, %eax
    movl %eax, fb_page + XENFB_PAGE_in_cons
    movl fb_page + XENFB_PAGE_out_cons, %esi
    movl $XENFB_OUT_RING_LEN, %eax
    call chance_below
    leal 1(%eax), %ebx
    pushl %ebx
1:  movl %esi, %eax
    xorl %edx, %edx
    movl $XENFB_OUT_RING_LEN, %ecx
    divl %ecx
    imull $XENFB_OUT_EVENT_SIZE, %edx, %edi
    addl $fb_page + XENFB_OUT_RING_OFFS, %edi
    PICK types
    stosl
    movl $XENFB_RESIZE_sizeof / 4 - 1, %ecx
2:  PICK sides
    stosl
    decl %ecx
    jnz 2b
    incl %esi
    decl %ebx
    jnz 1b
    popl %edi                       # how many
    movl $fb_page, %eax
    movl fb_port, %edx
    call show
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = page, EDX = port, ESI = index up to which there are events, EDI of them: tells the backend, and counts them.
    .type show, @function
show:
    pushl %ebx
    movl %eax, %ebx
    addl %edi, requests_made
    movl %esi, XENFB_PAGE_out_prod(%ebx)
    movl %edx, %eax
    call send_event
    cmpl XENFB_PAGE_out_cons(%ebx), %esi
    je 1f
    call yield
    cmpl XENFB_PAGE_out_cons(%ebx), %esi
    jne 2f
1:  addl %edi, requests_answered
2:  call rewrite
    popl %ebx
    ret

# There is nothing that a keyboard's frontend may say.
    .type keyboard_round, @function
keyboard_round:
    pushl %ebx
    pushl %esi
    pushl %edi
    call open_keyboard
    movl $KICKS, %ebx
1:  movl kbd_page + XENKBD_PAGE_in_prod, %eax
    movl %eax, kbd_page + XENKBD_PAGE_in_cons
    movl $XENKBD_OUT_RING_LEN, %eax
    call chance_below
    leal 1(%eax), %edi
    movl kbd_page + XENKBD_PAGE_out_cons, %esi
    addl %edi, %esi
    movl $kbd_page, %eax
    movl kbd_port, %edx
    call show
    decl %ebx
    jnz 1b
    UNLESS_CHANCE 4, 2f
    movl $kbd_page, %eax
    call jump
    movl kbd_port, %eax
    call send_event
    call yield
2:  call backend_state
    cmpl $XenbusStateConnected, %eax
    jne 3f
    UNLESS_CHANCE 8, 4f
3:  call note_state
    call renew_keyboard
4:  popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = page: one of its indices jumps.
    .type jump, @function
jump:
    pushl %ebx
    movl %eax, %ebx
    PICK indices
    addl %eax, %ebx
    PICK jumps
    addl %eax, (%ebx)
    popl %ebx
    ret

# The screen connects again, maybe after an attempt that is a bad one.
    .type renew_screen, @function
renew_screen:
    call behave
    UNLESS_CHANCE 2, 4f
    call begin_again
    CHANCE 2
    jz 1f
    movl $screen_nodes, %eax
    movl $hostile_values, %edx
    call scribble_node
    jmp 3f
1:  CHANCE 2
    jz 2f
    movl $(XENFB_PAGE_pd - XENFB_PAGE_width) / 4 + 3, %eax
    call chance_below
    leal fb_page + XENFB_PAGE_width(,%eax,4), %ecx
    PICK sides
    movl %eax, (%ecx)
    jmp 3f
2:  movl $PIXEL_PAGES, %eax
    call chance_below
    movl %eax, %ecx
    PICK frames
    movl %eax, fb_directory(,%ecx,4)
3:  call attempt
4:  call begin_again
    movl fb_port, %eax
    call close_port
    movl $fb_page, %eax
    call empty_rings
    call fbfront_connect
    jmp misbehave

    .type renew_keyboard, @function
renew_keyboard:
    call behave
    UNLESS_CHANCE 2, 1f
    call begin_again
    movl $keyboard_nodes, %eax
    movl $hostile_values, %edx
    call scribble_node
    call attempt
1:  call begin_again
    movl kbd_port, %eax
    call close_port
    movl $kbd_page, %eax
    call empty_rings
    movl $KEYBOARD_REF, next_grant  # the same entry again
    call kbdfront_connect
    jmp misbehave

    .type begin_again, @function
begin_again:
    movl $XenbusStateClosed, %eax
    movl $XenbusStateClosed, %edx
    call provoke
    movl $XenbusStateInitialising, %eax
    movl $XenbusStateInitWait, %edx
    jmp provoke

# As if all were said that has to be.
    .type attempt, @function
attempt:
    movl $XenbusStateInitialised, %eax
    movl $XenbusStateConnected, %edx
    call provoke
    jmp note_state

# EAX = page.
    .type empty_rings, @function
empty_rings:
    xorl %edx, %edx
    movl %edx, XENFB_PAGE_in_cons(%eax)
    movl %edx, XENFB_PAGE_in_prod(%eax)
    movl %edx, XENFB_PAGE_out_cons(%eax)
    movl %edx, XENFB_PAGE_out_prod(%eax)
    ret

# A word of what the backend reads.
    .type rewrite, @function
rewrite:
    PICK pages
    movl %eax, %ecx
    movl $PAGE_SIZE / 4 - 4, %eax   # after the indices
    call chance_below
    leal 16(%ecx,%eax,4), %ecx
    call chance_next
    movl %eax, (%ecx)
    ret

    .type scribble_grant, @function
scribble_grant:
    movl $KEYBOARD_REF, %eax
    jmp rewrite_grant

    .section .rodata
    .balign 4
types:
    TABLE
    .long XENFB_TYPE_UPDATE, XENFB_TYPE_UPDATE, XENFB_TYPE_UPDATE, XENFB_TYPE_RESIZE, XENFB_TYPE_REFRESH_PERIOD
    .long 0, 255
    END_TABLE
sides:
    TABLE
    .long 0, 1, -1, 16, 32, 32, HEIGHT, WIDTH, LINE, 65535, 65536, LINE * HEIGHT, 0x7FFFFFFF, 0x80000000
    END_TABLE
frames:                             # the hypervisor's, others', and none
    TABLE
    .long 0, 1, 0x100, 0x400, 0x800, 0xFFFFF, 0x100000, 0xFFFFFFFF
    END_TABLE
indices:
    TABLE
    .long XENFB_PAGE_in_cons, XENFB_PAGE_in_prod, XENFB_PAGE_out_cons, XENFB_PAGE_out_prod
    END_TABLE
jumps:
    TABLE
    .long 1, -1, XENFB_OUT_RING_LEN, XENFB_OUT_RING_LEN + 1, XENKBD_OUT_RING_LEN + 1, 0x7FFFFFFF, 0x80000000
    END_TABLE
pages:
    TABLE
    .long fb_page, kbd_page, fb_directory
    END_TABLE
screen_nodes:
    TABLE
    .long page_ref_word, fb_channel_word, fb_protocol_word, feature_update_word
    END_TABLE
keyboard_nodes:
    TABLE
    .long page_gref_word, kbd_channel_word, request_abs_word
    END_TABLE
vfb:
    .asciz "device/vfb/0"
vkbd:
    .asciz "device/vkbd/0"
    .text
