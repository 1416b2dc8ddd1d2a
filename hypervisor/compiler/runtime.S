# What a kernel in C stands on: the guest runtime in assembly, Xen's notes, and hypercalls.

    .include "runtime.inc"

    XEN_NOTES

    .text
# EAX = number, EDX and ECX = first and second argument, four more on the stack; gives the answer in EAX. A
# hypercall takes them in EBX, ECX, EDX, ESI, EDI and EBP.
    .globl hypercall6
    .type hypercall6, @function
hypercall6:
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    shll $5, %eax                   # one entry of the hypercall page
    addl $hypercall_page, %eax
    movl %edx, %ebx
    movl 20(%esp), %edx
    movl 24(%esp), %esi
    movl 28(%esp), %edi
    movl 32(%esp), %ebp
    call *%eax
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret
