# A kernel that is put away and goes on elsewhere: what it has to do before, and what it finds afterwards.
#
# Observe: before, it tells where the list of its frames is, by a page that names pages that name the pages of the
# list; it names the pages of its rings by pfn instead of mfn in start_info, and lets go of shared_info, which is no page
# of its own. Afterwards all its frames are others, the list says which, and its page tables are as if it had always had
# them; shared_info is elsewhere, and its console and its store have new event channels. Where it is only resumed, the
# hypercall gives 1, and nothing of that happened. It suspends itself twice, without being asked; with `asked` on its
# command line, whenever control/shutdown in xenstore asks for it, until that asks for something else.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "cmdline.inc"
    .include "xenstore.inc"
    .include "watch.inc"

    XEN_NOTES suspend

.equ PAGES, 32                      # pages whose contents are looked at
.equ LIST_ENTRIES, PAGE_SIZE / 4    # frames in a page of the list

    .bss
    .balign PAGE_SIZE
pages:
    .skip PAGES * PAGE_SIZE
tree_top:                           # names tree_middle
    .skip PAGE_SIZE
tree_middle:                        # names the pages of the list of frames
    .skip PAGE_SIZE
    .balign 4
reason:                             # struct sched_shutdown
    .skip 4
old_frames:                         # of `pages`
    .skip PAGES * 4
suspended:                          # how often
    .skip 4
asked:                              # whether it waits to be asked
    .skip 4
watched:                            # whether the store knows that it does
    .skip 4

    .section .rodata
asked_word:
    .asciz "asked"
shutdown_node:
    .asciz "control/shutdown"
nothing:
    .asciz ""

    .text
    .type main, @function
main:
    call map_shared_info
    call mask_all_events
    call fill_pages
    movl $asked_word, %eax
    call cmdline_word
    movl %eax, asked
1:  call publish_list
    call note_frames
    cmpl $0, asked
    je 4f
    call wait_asked
    testl %eax, %eax
    jz 5f
4:  PRINT "suspending\n"
    call console_flush
    call suspend
    testl %eax, %eax
    jz 2f
    call in_place
    jmp 3f
2:  call elsewhere
3:  cmpl $0, asked
    jne 1b
    incl suspended
    cmpl $2, suspended
    jb 1b
5:  PRINT "that is enough\n"
    ret

# Sleeps until it is asked for something; gives 0 unless that is to suspend itself. The request is taken by emptying its
# node.
    .type wait_asked, @function
wait_asked:
    cmpl $0, watched
    jne 1f
    call store_init
    movl $shutdown_node, %eax
    call store_watch
    movl $1, watched
    PRINT "ready\n"
1:  call store_wait
    movl $shutdown_node, %eax
    call store_read
    testl %eax, %eax
    jz 1b
    testl %edx, %edx
    jz 1b
    xorl %edx, %edx
    cmpb $'s', (%eax)
    sete %dl
    pushl %edx
    movl $shutdown_node, %eax
    movl $nothing, %edx
    call store_write
    popl %eax
    ret

# Each page holds its number, and the number of each word added to it.
    .type fill_pages, @function
fill_pages:
    pushl %edi
    movl $pages, %edi
    xorl %eax, %eax
1:  stosl
    addl $0x01000193, %eax
    cmpl $pages + PAGES * PAGE_SIZE, %edi
    jb 1b
    popl %edi
    ret

# Gives how many words of the pages are not what they should be.
    .type count_wrong, @function
count_wrong:
    pushl %esi
    pushl %ebx
    movl $pages, %esi
    xorl %edx, %edx
    xorl %ebx, %ebx
1:  lodsl
    cmpl %edx, %eax
    je 2f
    incl %ebx
2:  addl $0x01000193, %edx
    cmpl $pages + PAGES * PAGE_SIZE, %esi
    jb 1b
    movl %ebx, %eax
    popl %ebx
    popl %esi
    ret

# Tells where the list of frames is: whoever saves the domain has to find it.
    .type publish_list, @function
publish_list:
    pushl %ebx
    pushl %esi
    movl start_info, %ebx
    movl START_INFO_nr_pages(%ebx), %eax
    decl %eax
    movl %eax, shared_info + SHARED_INFO_arch_max_pfn
    movl START_INFO_mfn_list(%ebx), %ebx
    xorl %esi, %esi
1:  movl %ebx, %eax
    call va_to_mfn
    movl %eax, tree_middle(,%esi,4)
    addl $PAGE_SIZE, %ebx
    incl %esi
    movl %esi, %eax
    imull $LIST_ENTRIES, %eax
    cmpl shared_info + SHARED_INFO_arch_max_pfn, %eax
    jbe 1b
    movl $tree_middle, %eax
    call va_to_mfn
    movl %eax, tree_top
    movl $tree_top, %eax
    call va_to_mfn
    movl %eax, shared_info + SHARED_INFO_arch_pfn_to_mfn_frame_list_list
    popl %esi
    popl %ebx
    ret

    .type note_frames, @function
note_frames:
    pushl %ebx
    xorl %ebx, %ebx
1:  movl %ebx, %eax
    shll $12, %eax
    addl $pages, %eax
    call va_to_mfn
    movl %eax, old_frames(,%ebx,4)
    incl %ebx
    cmpl $PAGES, %ebx
    jb 1b
    popl %ebx
    ret

# Gives what the hypercall gives: 0 elsewhere, 1 where nothing happened. Its third argument names start_info, as an mfn.
    .type suspend, @function
suspend:
    pushl %ebx
    movl start_info, %ebx
    movl START_INFO_store_mfn(%ebx), %eax
    call mfn_to_pfn
    movl %eax, START_INFO_store_mfn(%ebx)
    movl START_INFO_console_domU_mfn(%ebx), %eax
    call mfn_to_pfn
    movl %eax, START_INFO_console_domU_mfn(%ebx)
    movl $shared_info, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call map_frame
    MUST unmap_shared_info
    movl %ebx, %eax
    call va_to_mfn
    movl %eax, %edx
    movl $SHUTDOWN_suspend, reason
    movl $SCHEDOP_shutdown, %ebx
    movl $reason, %ecx
    HYPERCALL sched_op
    popl %ebx
    ret

    .type in_place, @function
in_place:
    pushl %ebx
    movl start_info, %ebx
    movl START_INFO_store_mfn(%ebx), %eax
    call pfn_to_mfn
    movl %eax, START_INFO_store_mfn(%ebx)
    movl START_INFO_console_domU_mfn(%ebx), %eax
    call pfn_to_mfn
    movl %eax, START_INFO_console_domU_mfn(%ebx)
    call map_shared_info
    PRINT "resumed where it was\n"
    popl %ebx
    ret

    .type elsewhere, @function
elsewhere:
    movl start_info, %ecx
    movl START_INFO_console_domU_evtchn(%ecx), %eax
    movl %eax, console_port
    movl $0, watched                # the store it was known to is another one
    call map_shared_info
    call mask_all_events
    PRINT "restored: "
    call count_new
    PRINT_DEC %eax
    PRINT " of 32 frames are others, "
    call count_unknown
    PRINT_DEC %eax
    PRINT " frames are unknown, "
    call count_wrong
    PRINT_DEC %eax
    PRINT " words are wrong\n"
    ret

# Gives how many of `pages` are in other frames than before.
    .type count_new, @function
count_new:
    pushl %ebx
    pushl %esi
    xorl %ebx, %ebx
    xorl %esi, %esi
1:  movl %ebx, %eax
    shll $12, %eax
    addl $pages, %eax
    call va_to_mfn
    cmpl old_frames(,%ebx,4), %eax
    je 2f
    incl %esi
2:  incl %ebx
    cmpl $PAGES, %ebx
    jb 1b
    movl %esi, %eax
    popl %esi
    popl %ebx
    ret

# Gives for how many pages the hypervisor's table and the list of frames do not agree.
    .type count_unknown, @function
count_unknown:
    pushl %ebx
    pushl %esi
    xorl %ebx, %ebx
    xorl %esi, %esi
1:  movl %ebx, %eax
    call pfn_to_mfn
    call mfn_to_pfn
    cmpl %ebx, %eax
    je 2f
    incl %esi
2:  incl %ebx
    movl start_info, %eax
    cmpl START_INFO_nr_pages(%eax), %ebx
    jb 1b
    movl %esi, %eax
    popl %esi
    popl %ebx
    ret
