# Two domains share pages: one lends, the other maps, writes and copies; what is in use cannot be taken back, and a
# mapped page stays when the one who lent it dies.
#
# Observe: nobody is asked when a page is lent; the entry in the table is all there is. The giver sees in that entry
# that the page is in use, and only then knows that it must not be used for anything else. The command line says who is
# who: `giver peer=2` lends to domain 2, `taker peer=1` borrows from domain 1. Without any of this the kernel lends to
# itself: `peer=` is its own number then, 1 unless it says.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "peer.inc"
    .include "cmdline.inc"
    .include "grants.inc"

    XEN_NOTES grants

.equ LETTER, GNTTAB_NR_RESERVED_ENTRIES     # the first page that is lent, which both may write
.equ NOTICE, LETTER + 1                     # the second, which the taker may only read

    .bss
    .balign PAGE_SIZE
letter:
    .skip PAGE_SIZE
notice:
    .skip PAGE_SIZE
window:                             # where the taker maps the letter,
    .skip PAGE_SIZE
second_window:                      # and what else it maps
    .skip PAGE_SIZE
copied:
    .skip PAGE_SIZE
peer:
    .skip 4
port:
    .skip 4
letter_handle:
    .skip 4

    .data
peer_word:
    .asciz "peer="
giver_word:
    .asciz "giver"
taker_word:
    .asciz "taker"
dear_taker:
    .asciz "dear taker"
dear_giver:
    .asciz "dear giver"
for_all:
    .asciz "for all to read"
last_words:
    .asciz "and so it ends"

    .text
    .type main, @function
main:
    call grants_init
    movl $peer_word, %eax
    movl $1, %edx
    call cmdline_number
    movl %eax, peer
    movl $giver_word, %eax
    call cmdline_word
    testl %eax, %eax
    jnz giver
    movl $taker_word, %eax
    call cmdline_word
    testl %eax, %eax
    jnz taker
    call lend
    call borrow
    call answer
    call read_answer
    call take_back
    call return_letter
    call take_back
    jmp borrow_again

giver:
    call events_init
    call lend                       # before the port is offered: then the entries are there
    movl peer, %eax
    call alloc_unbound
    movl %eax, port
    call unmask_port
    movl $1, %eax
    call await
    call read_answer
    call take_back
    call tell
    movl $2, %eax
    call await
    PRINT "the giver leaves, and its letter stays\n"
    ret

taker:
    call events_init
    movl peer, %eax
    call bind_to_peer
    movl %eax, port
    call unmask_port
    movl $1, %eax                   # the event that a port has when it is bound
    call await
    call borrow
    call answer
    call tell
    movl $2, %eax
    call await
    call borrow_again
    call tell
    call await_death
    PRINT "the giver has gone, its letter says: "
    movl $window, %eax
    call print_string
    PRINT "\n"
    movl $window, %eax
    movl $last_words, %edx
    call write_text
    PRINT "now it says: "
    movl $window, %eax
    call print_string
    PRINT "\n"
    call return_letter
    PRINT "the letter, once more: "
    movl $LETTER, %eax
    xorl %edx, %edx
    jmp try

# Writes both pages and lends them.
    .type lend, @function
lend:
    movl $letter, %eax
    movl $dear_taker, %edx
    call write_text
    movl $notice, %eax
    movl $for_all, %edx
    call write_text
    # exercise grants: lend the page `letter` to domain `peer`, to read and to write: `grant_page`, EAX, EDX, ECX
    movl $letter, %eax
    movl peer, %edx
    xorl %ecx, %ecx
    call grant_page
    # exercise end
    movl $notice, %eax
    movl peer, %edx
    movl $GTF_readonly, %ecx
    jmp grant_page

# Maps the letter to write it and reads the notice, mapped and copied.
    .type borrow, @function
borrow:
    pushl %ebx
    movl $LETTER, %eax
    movzwl peer, %edx
    movl $window, %ecx
    call map_grant
    movl %eax, letter_handle
    testl %eax, %eax
    jns 1f
    PANIC "the letter cannot be mapped"
1:  PRINT "the letter says: "
    movl $window, %eax
    call print_string
    PRINT "\n"
    PRINT "the notice, to write it: "
    movl $NOTICE, %eax
    xorl %edx, %edx
    call try
    PRINT "the notice, to read it: "
    movl $NOTICE, %eax
    movl $GNTMAP_readonly << 16, %edx
    call try
    movl $NOTICE, %eax
    movl peer, %edx
    movl $copied, %ecx
    call copy_grant
    MUST copy_grant
    PRINT "the notice, copied: "
    movl $copied, %eax
    call print_string
    PRINT "\n"
    popl %ebx
    ret

    .type answer, @function
answer:
    movl $window, %eax
    movl $dear_giver, %edx
    jmp write_text

    .type read_answer, @function
read_answer:
    PRINT "the answer: "
    movl $letter, %eax
    call print_string
    PRINT "\n"
    ret

# Tries to end both grants.
    .type take_back, @function
take_back:
    PRINT "take the letter back: "
    movl $LETTER, %eax
    call end_grant
    call print_ended
    PRINT "take the notice back: "
    movl $NOTICE, %eax
    call end_grant
print_ended:
    testl %eax, %eax
    jz 1f
    PRINT "done\n"
    ret
1:  PRINT "it is in use\n"
    ret

    .type borrow_again, @function
borrow_again:
    PRINT "the notice, once more: "
    movl $NOTICE, %eax
    movl $GNTMAP_readonly << 16, %edx
    jmp try

    .type return_letter, @function
return_letter:
    movl letter_handle, %eax
    movl $window, %edx
    call unmap_grant
    MUST unmap_grant
    PRINT "the letter is returned\n"
    ret

# EAX = reference, EDX = GNTMAP_ flags in the high half: maps the peer's page for a moment, and prints what it says or
# the status of the refusal.
    .type try, @function
try:
    pushl %ebx
    movw peer, %dx
    movl $second_window, %ecx
    call map_grant
    movl %eax, %ebx
    testl %eax, %eax
    js 1f
    movl $second_window, %eax
    call print_string
    PRINT "\n"
    movl %ebx, %eax
    movl $second_window, %edx
    call unmap_grant
    MUST unmap_grant
    popl %ebx
    ret
1:  PRINT "refused, status -"
    negl %ebx
    PRINT_DEC %ebx
    PRINT "\n"
    popl %ebx
    ret

# Waits until what the peer lends is gone with it: a page that stays mapped is no page of the giver's to lend any more.
    .type await_death, @function
await_death:
1:  call yield
    movl $LETTER, %eax
    movl peer, %edx
    movl $second_window, %ecx
    call map_grant
    testl %eax, %eax
    js 2f
    movl $second_window, %edx
    call unmap_grant
    MUST unmap_grant
    jmp 1b
2:  cmpl $GNTST_bad_page, %eax
    je 3f
    PANIC "the giver goes in an unexpected way"
3:  ret

# EAX = page, EDX = text: writes it there.
    .type write_text, @function
write_text:
    pushl %ebx
    pushl %esi
    movl %eax, %ebx
    movl %edx, %esi
    movl %edx, %eax
    call string_length
    leal 1(%eax), %ecx
    movl %ebx, %eax
    movl %esi, %edx
    call memory_copy
    popl %esi
    popl %ebx
    ret

    .type tell, @function
tell:
    movl port, %eax
    jmp send_event

# EAX = how many events are to have come before it returns.
    .type await, @function
await:
    pushl %ebx
    pushl %esi
    movl %eax, %esi
    movl port, %ebx
1:  movb $1, UPCALL_MASK            # nothing may come between the look and the sleep
    cmpl %esi, event_counts(,%ebx,4)
    jae 2f
    call block
    jmp 1b
2:  popl %esi
    popl %ebx
    ret
