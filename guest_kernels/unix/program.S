# A program's place in memory: its segments, its heap, and the stack it starts with.

    .include "unix.inc"
    .include "elf.inc"

    .text
# EBX = node: the mappings of its segments, heap and stack. Segments that overlap end the process.
FUNCTION map_program
    pushl %esi
    pushl %edi
    pushl %ebp
    movl NODE_data(%ebx), %esi
    movzwl EHDR_phnum(%esi), %ebp
    addl EHDR_phoff(%esi), %esi
    xorl %edi, %edi                 # end of the program
1:  decl %ebp
    js 3f
    cmpl $PT_LOAD, PHDR_type(%esi)
    jne 2f
    call map_segment
2:  addl $PHDR_sizeof, %esi
    jmp 1b
3:  addl $4095, %edi
    andl $-4096, %edi
    movl current, %eax
    movl %edi, PROC_brk_start(%eax)
    movl %edi, PROC_brk(%eax)
    movl $STACK_TOP - STACK_LIMIT, %eax
    movl $STACK_TOP, %edx
    call vma_overlapping
    testl %eax, %eax
    jnz doomed
    movl $STACK_TOP - STACK_LIMIT, %eax
    movl $STACK_TOP, %edx
    movl $VMA_READ | VMA_WRITE, %ecx
    call vma_append
    testl %eax, %eax
    jz doomed
    popl %ebp
    popl %edi
    popl %esi
    ret

doomed:
    movl $SIGKILL, %eax
    jmp process_exit

# EBX = node, ESI = program header; EDI becomes the segment's end if that is higher.
map_segment:
    movl PHDR_vaddr(%esi), %eax
    addl bias, %eax
    movl %eax, %edx
    addl PHDR_memsz(%esi), %edx
    cmpl %edi, %edx
    jbe 1f
    movl %edx, %edi
1:  andl $-4096, %eax
    addl $4095, %edx
    andl $-4096, %edx
    cmpl %edx, %eax
    je 9f
    pushl %eax
    pushl %edx
    call vma_overlapping
    testl %eax, %eax
    popl %edx
    popl %eax
    jnz doomed
    movl PHDR_flags(%esi), %ecx
    andl $7, %ecx
    movzbl segment_rights(%ecx), %ecx
    call vma_append
    testl %eax, %eax
    jz doomed
    movl PHDR_offset(%esi), %edx
    movl %edx, %ecx
    andl $4095, %ecx                # bytes of the file before the segment, in its first page
    subl %ecx, %edx
    addl PHDR_filesz(%esi), %ecx
    testl $VMA_WRITE, VMA_flags(%eax)
    jnz 2f
    addl $4095, %ecx                # whole pages can be shared; but not beyond the file
    andl $-4096, %ecx
    pushl %ecx
    movl NODE_size(%ebx), %ecx
    subl %edx, %ecx
    cmpl (%esp), %ecx
    jbe 3f
    movl (%esp), %ecx
3:  addl $4, %esp
2:  movl %ecx, VMA_bytes(%eax)
    addl NODE_data(%ebx), %edx
    movl %edx, VMA_data(%eax)
9:  ret
    .section .rodata
segment_rights:                     # by ELF's flags: X 1, W 2, R 4
    .byte 0, VMA_EXEC, VMA_WRITE, VMA_WRITE | VMA_EXEC, VMA_READ, VMA_READ | VMA_EXEC
    .byte VMA_READ | VMA_WRITE, VMA_PROT
platform:
    .asciz "i686"
platform_end:
    .balign 4
auxv:                               # type, value; or type, address of the value
    .long 4, PHDR_sizeof, 6, 4096, 7, 0, 8, 0, 11, 0, 12, 0, 13, 0, 14, 0, 17, 100, 23, 0
auxv_end:
    .text

.equ AUXV_VARIABLE, 7               # PHDR, PHNUM, ENTRY, PLATFORM, HWCAP, RANDOM, EXECFN
.equ AUXV_WORDS, (auxv_end - auxv) / 4 + 2 * AUXV_VARIABLE + 2

# EBX = node, EBP = frame: what the program finds on its stack (System V ABI, i386 supplement, "process
# initialization"): argc, argv, envp, auxiliary vector; above them the strings, 16 random bytes, the platform.
FUNCTION build_stack
    pushl %esi
    pushl %edi
    movl $STACK_TOP - 16 - (platform_end - platform), %eax
    pushl %eax                      # 4(%esp): platform
    movl $platform, %edx
    movl $platform_end - platform, %ecx
    call memory_copy
    movl (%esp), %eax
    subl $16, %eax
    pushl %eax                      # (%esp): random bytes
    movl $16, %edx
    call random_bytes
    movl args_used, %ecx
    movl (%esp), %esi
    subl %ecx, %esi                 # strings
    movl %esi, %eax
    movl $args, %edx
    call memory_copy
    movl args_argc, %eax
    addl args_envc, %eax
    leal 4 * (AUXV_WORDS + 3)(,%eax,4), %eax
    movl %esi, %edi
    subl %eax, %edi
    andl $-16, %edi
    movl %edi, FRAME_esp(%ebp)
    pushl %esi                      # EXECFN: argv[0]
    cld
    movl args_argc, %eax
    stosl
    movl args_argc, %ecx
    call store_pointers
    movl args_envc, %ecx
    call store_pointers
    movl $auxv, %esi
    movl $(auxv_end - auxv) / 4, %ecx
    rep movsl
    call store_variable
    addl $12, %esp
    popl %edi
    popl %esi
    movl NODE_data(%ebx), %eax
    movl EHDR_entry(%eax), %eax
    addl bias, %eax
    movl %eax, FRAME_eip(%ebp)
    xorl %eax, %eax
    .irp register, eax, ebx, ecx, edx, esi, edi, ebp
    movl %eax, FRAME_\register(%ebp)
    .endr
    movl $X86_EFLAGS_IF | X86_EFLAGS_FIXED, FRAME_eflags(%ebp)
    movl $-1, FRAME_orig(%ebp)
    ret

# EDI = user memory, ESI = strings, ECX = how many: stores their addresses and a zero, moves ESI past them.
store_pointers:
1:  jecxz 3f
    movl %esi, %eax
    stosl
2:  lodsb
    testb %al, %al
    jnz 2b
    decl %ecx
    jmp 1b
3:  xorl %eax, %eax
    stosl
    ret

# The part of the auxiliary vector that is not always the same. Above the return address: EXECFN, random bytes,
# platform.
store_variable:
    movl NODE_data(%ebx), %edx
    movl phdr_address, %ecx
    cmpl $-1, %ecx
    jne 2f
    xorl %ecx, %ecx
2:  movl $3, %eax
    call 1f
    movzwl EHDR_phnum(%edx), %ecx
    movl $5, %eax
    call 1f
    movl EHDR_entry(%edx), %ecx
    addl bias, %ecx
    movl $9, %eax
    call 1f
    movl 12(%esp), %ecx
    movl $15, %eax
    call 1f
    movl hwcap, %ecx
    movl $16, %eax
    call 1f
    movl 8(%esp), %ecx
    movl $25, %eax
    call 1f
    movl 4(%esp), %ecx
    movl $31, %eax
    call 1f
    xorl %ecx, %ecx
    xorl %eax, %eax
1:  stosl
    movl %ecx, %eax
    stosl
    ret
