# The control plane in a guest: domain 0 builds a domain from a kernel in its ramdisk, by hypercalls alone, carries
# its console, and reports its end. The hypervisor has the mechanism, what is done with it is decided here.
#
# Observe: frames of another domain are written through this one's page tables; the page tables that are made of
# them are checked as the domain's own; and that a domain has ended is an event like others.

    .include "domain0.inc"

    XEN_NOTES domain0

    .bss
    .balign PAGE_SIZE
carried_ring:                       # the other domain's console page
    .skip PAGE_SIZE
carried_port:
    .skip 4
ended:                              # whether it has
    .skip 4
line_started:
    .skip 4

    .text
FUNCTION main
    call events_init
    call read_image
    call create_guest
    call populate_guest
    call build_guest
    PRINT "domain "
    PRINT_DEC guest
    PRINT " is built, of "
    PRINT_DEC $GUEST_PAGES
    PRINT " pages\n"
    call join_console
    movl $VIRQ_DOM_EXC, %eax
    xorl %edx, %edx
    call bind_virq
    pushl %eax
    movl $look_at_guest, %edx
    call set_handler
    popl %eax
    call unmask_port
    # exercise domain0: let the new domain run, which was made paused: DOMCTL, DOMCTL_MUST and the command's name
    DOMCTL unpausedomain
    DOMCTL_MUST unpausedomain
    # exercise end
1:  call block
    cmpl $0, ended
    je 1b
    call carry_output               # its last words
    call report_end
    call leave_console
    DOMCTL destroydomain
    DOMCTL_MUST destroydomain
    DOMCTL pausedomain
    call domctl
    pushl %eax
    PRINT "to pause it now: "
    popl %eax
    call print_errno
    PRINT "\n"
    ret

# Maps the console's page, and binds its channel.
    .type join_console, @function
join_console:
    movl guest_console_pfn, %eax
    movl guest_frames(,%eax,4), %eax
    movl $PTE_DATA, %edx
    call make_entry
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $carried_ring, %ebx
    movl %eax, %ecx
    movl $UVMF_INVLPG | UVMF_LOCAL, %esi
    movl guest, %edi
    HYPERCALL update_va_mapping_otherdomain
    popl %edi
    popl %esi
    popl %ebx
    MUST join_console
    movl guest, %eax
    movl guest_console_port, %edx
    call bind_interdomain
    movl %eax, carried_port
    movl $carry, %edx
    call set_handler
    movl carried_port, %eax
    jmp unmask_port

    .type leave_console, @function
leave_console:
    movl carried_port, %eax
    call close_port
    MUST close
    xorl %edx, %edx
    xorl %ecx, %ecx
    movl $carried_ring, %eax
    call write_pte
    MUST leave_console
    ret

# An event of the console's channel.
    .type carry, @function
carry:
    pushl %ebx
    pushl %esi
    pushl %edi
    call carry_output
    movl carried_port, %eax
    call send_event
    popl %edi
    popl %esi
    popl %ebx
    ret

# Puts out what the other domain has written, each of its lines with its number in front.
    .type carry_output, @function
carry_output:
    pushl %ebx
    pushl %esi
    movl $carried_ring, %ebx
    movl XENCONS_INTERFACE_out_cons(%ebx), %esi
1:  movl XENCONS_INTERFACE_out_prod(%ebx), %eax
    subl %esi, %eax
    jz 4f
    cmpl $XENCONS_OUT_SIZE, %eax
    ja 5f
    cmpl $0, line_started
    jne 2f
    PRINT "["
    PRINT_DEC guest
    PRINT "] "
    movl $1, line_started
2:  movl %esi, %eax
    andl $XENCONS_OUT_SIZE - 1, %eax
    movzbl XENCONS_INTERFACE_out(%ebx,%eax), %eax
    cmpb $'\n', %al
    jne 3f
    movl $0, line_started
3:  call print_char
    incl %esi
    jmp 1b
4:  movl %esi, XENCONS_INTERFACE_out_cons(%ebx)
5:  popl %esi
    popl %ebx
    ret

# VIRQ_DOM_EXC: a domain has ended, perhaps ours.
    .type look_at_guest, @function
look_at_guest:
    DOMCTL getdomaininfo
    call domctl
    testl %eax, %eax
    jnz 1f
    movl domctl_part + XEN_DOMCTL_GETDOMAININFO_flags, %eax
    testl $XEN_DOMINF_shutdown, %eax
    jz 1f
    movl $1, ended
1:  ret

    .type report_end, @function
report_end:
    PRINT "domain "
    PRINT_DEC guest
    PRINT " has shut down: "
    movl domctl_part + XEN_DOMCTL_GETDOMAININFO_flags, %eax
    shrl $XEN_DOMINF_shutdownshift, %eax
    andl $XEN_DOMINF_shutdownmask, %eax
    cmpl $SHUTDOWN_crash, %eax
    ja 1f
    movl reasons(,%eax,4), %eax
    call print_string
    jmp 2f
1:  call print_dec
2:  PRINT "\n"
    ret

    .section .rodata
    .balign 4
reasons:
    .long reason_poweroff, reason_reboot, reason_suspend, reason_crash
reason_poweroff:
    .asciz "poweroff"
reason_reboot:
    .asciz "reboot"
reason_suspend:
    .asciz "suspend"
reason_crash:
    .asciz "crash"
