# The smallest whole guest: boot, print, power off.
#
# Observe: the greeting comes through the shared console ring, from ring 1; the magic names the ABI; memory
# and command line are those that the domain was given.

    .include "runtime.inc"

    # exercise hello: the ELF notes by which the builder knows a kernel for Xen: XEN_NOTES and a name
    XEN_NOTES hello
    # exercise end

    .text
    .type main, @function
main:
    PRINT "hello from ring "
    movl %cs, %eax
    andl $3, %eax
    PRINT_DEC %eax
    PRINT "\nmagic: "
    movl start_info, %ebx
    leal START_INFO_magic(%ebx), %eax
    call print_string
    PRINT "\nmemory: "
    PRINT_DEC START_INFO_nr_pages(%ebx)
    PRINT " pages\ncommand line: "
    leal START_INFO_cmd_line(%ebx), %eax
    call print_string
    PRINT "\n"
    ret
