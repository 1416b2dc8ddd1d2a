# A kernel that dies: a write to an address nobody mapped, without a trap table.
#
# Observe: the line it prints is its last; the page fault has no handler, so the domain is crashed, and the
# dump shows CR2 = 0xd0000000, EAX = 0x600dcafe and EIP at fatal_store.

    .include "runtime.inc"

    XEN_NOTES crash

.equ NOWHERE, 0xD0000000            # above the initial mapping, below the hypervisor

    .text
    .type main, @function
main:
    PRINT "writing to "
    PRINT_HEX $NOWHERE
    PRINT "\n"
    call console_flush
    movl $0x600DCAFE, %eax
    .globl fatal_store
fatal_store:
    movl %eax, NOWHERE
    PRINT "still alive\n"
    ret
