# Thread-local storage: segments for FS and GS.

    .include "unix.inc"

.equ USER_DESC_base, 4
.equ USER_DESC_limit, 8
.equ USER_DESC_flags, 12
.equ USER_DESC_sizeof, 16
.equ USER_DESC_32BIT, 1
.equ USER_DESC_EXPAND_DOWN, 2
.equ USER_DESC_CODE, 4
.equ USER_DESC_READ_ONLY, 8
.equ USER_DESC_PAGES, 16
.equ USER_DESC_NOT_PRESENT, 32

    .text
# set_thread_area(EBX = struct user_desc): a data segment for FS or GS, in the GDT.
FUNCTION sys_set_thread_area
    movl %ebx, %eax
    movl $USER_DESC_sizeof, %edx
    call user_range
    movl USER_DESC_flags(%ebx), %edi
    movl $-EINVAL, %eax
    testl $USER_DESC_CODE, %edi
    jnz 9f
    movl current, %esi
    movl (%ebx), %ecx
    cmpl $-1, %ecx
    jne 3f
    xorl %ecx, %ecx                 # any free one
1:  movl $-ESRCH, %eax
    cmpl $NR_TLS, %ecx
    je 9f
    cmpl $0, PROC_tls+4(%esi,%ecx,8)
    je 2f
    incl %ecx
    jmp 1b
2:  leal FIRST_TLS_ENTRY(%ecx), %eax
    movl %eax, (%ebx)
    jmp 4f
3:  subl $FIRST_TLS_ENTRY, %ecx
    cmpl $NR_TLS, %ecx
    jae 9f
4:  call make_descriptor
    movl %eax, PROC_tls(%esi,%ecx,8)
    movl %edx, PROC_tls+4(%esi,%ecx,8)
    call load_descriptors
    xorl %eax, %eax
9:  ret

# EBX = struct user_desc, EDI = its flags; gives in EDX:EAX the descriptor (Intel SDM volume 3A, 3.4.5), 0 for one
# that is not present. Keeps ECX.
make_descriptor:
    xorl %eax, %eax
    xorl %edx, %edx
    testl $USER_DESC_NOT_PRESENT, %edi
    jnz 9f
    pushl %ecx
    movl USER_DESC_base(%ebx), %eax
    movl USER_DESC_limit(%ebx), %ecx
    movl %eax, %edx
    andl $0xff000000, %edx
    pushl %eax
    shrl $16, %eax
    movb %al, %dl
    popl %eax
    shll $16, %eax
    movw %cx, %ax
    andl $0xf0000, %ecx
    orl %ecx, %edx
    orl $0xf100, %edx               # present, DPL 3, data, accessed
    testl $USER_DESC_READ_ONLY, %edi
    jnz 1f
    orl $0x200, %edx
1:  testl $USER_DESC_EXPAND_DOWN, %edi
    jz 2f
    orl $0x400, %edx
2:  testl $USER_DESC_32BIT, %edi
    jz 3f
    orl $0x400000, %edx
3:  testl $USER_DESC_PAGES, %edi
    jz 4f
    orl $0x800000, %edx
4:  popl %ecx
9:  ret
