# The smallest whole guest: boot, print, power off.
#
# Observe: the greeting comes through the shared console ring, from ring 1; the magic names the ABI; memory
# and command line are those that the domain was given.

    .include "runtime.inc"

    XEN_NOTES hello

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
