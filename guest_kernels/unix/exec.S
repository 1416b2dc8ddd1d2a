# execve: a static ELF32 program takes the place of the current one.

    .include "unix.inc"
    .include "elf.inc"

.equ MAX_SCRIPTS, 4                 # a script may name a script
.equ FCW_INITIAL, 0x37f
.equ MXCSR_INITIAL, 0x1f80
.equ FPU_MXCSR, 24

    .bss
    .balign 4
    .globl args, args_used, args_argc, args_envc, bias, phdr_address, hwcap
args:                               # strings of argv, then of envp, each closed by a zero
    .skip ARGS_MAX
args_used:
    .skip 4
args_argc:
    .skip 4
args_envc:
    .skip 4
scripts:
    .skip 4
bias:                               # what is added to the program's addresses
    .skip 4
phdr_address:
    .skip 4
hwcap:                              # features that CPUID reports
    .skip 4

    .text
FUNCTION args_reset
    movl $0, args_used
    movl $0, args_argc
    movl $0, args_envc
    ret

# AL = byte: goes to the argument strings. CF set if they are full.
FUNCTION args_put
    movl args_used, %edx
    cmpl $ARGS_MAX, %edx
    cmc
    jc 1f
    movb %al, args(%edx)
    incl args_used
1:  ret

# EAX = user array of strings closed by 0, or 0: adds them all. Gives how many, or -E2BIG.
args_add_user:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %eax, %ebx
    xorl %edi, %edi
    testl %ebx, %ebx
    jz 3f
1:  movl %ebx, %eax
    movl $4, %edx
    call user_range
    addl $4, %ebx
    movl (%eax), %esi
    testl %esi, %esi
    jz 3f
    incl %edi
2:  cmpl $USER_END, %esi
    jae syscall_fault
    lodsb
    call args_put
    jc 4f
    testb %al, %al
    jnz 2b
    jmp 1b
3:  movl %edi, %eax
5:  popl %edi
    popl %esi
    popl %ebx
    ret
4:  movl $-E2BIG, %eax
    jmp 5b

# execve(EBX = path, ECX = argv, EDX = envp)
FUNCTION sys_execve
    movl $AT_FDCWD, %eax
    movl %ebx, %edx
    movl $1, %ecx
    call path_lookup
    cmpl $-MAX_ERRNO, %eax
    jae 9f
    movl %eax, %ebx
    call args_reset
    movl FRAME_ecx(%ebp), %eax
    call args_add_user
    testl %eax, %eax
    js 9f
    movl %eax, args_argc
    movl FRAME_edx(%ebp), %eax
    call args_add_user
    testl %eax, %eax
    js 9f
    movl %eax, args_envc
    movl %ebx, %eax

# EAX = node, path_buffer its path, args its strings: the current process runs it, with the frame at EBP. Gives
# 0, or -errno while the old program is still there.
FUNCTION exec_node
    movl %eax, %ebx
    movl $MAX_SCRIPTS, scripts
3:  movl %ebx, %eax
    call node_load
    testl %eax, %eax
    jnz 9f
    call is_script
    jne 2f
    movl $-ELOOP, %eax
    decl scripts
    js 9f
    call script_program
    cmpl $-MAX_ERRNO, %eax
    jae 9f
    movl %eax, %ebx
    jmp 3b
2:  call check_program
    testl %eax, %eax
    jnz 9f
    call space_new
    movl %eax, %esi
    movl $-ENOMEM, %eax
    testl %esi, %esi
    jz 9f
    movl %esi, %eax
    call space_commit
    movl current, %edi
    orl $PF_DOOMED, PROC_flags(%edi)
    pushl PROC_l3(%edi)
    movl %esi, PROC_l3(%edi)
    call space_enter
    popl %eax
    testl %eax, %eax
    jz 1f
    movl $1, %edx
    call space_destroy
1:  movl %ebx, PROC_exe(%edi)
    call forget_program
    call map_program
    call build_stack
    movl current, %eax
    andl $~PF_DOOMED, PROC_flags(%eax)
    call release_vforker
    xorl %eax, %eax
9:  ret

# EBX = node; gives 0 if it is a program this kernel can run, else -errno. Sets bias and phdr_address. The file
# may hold anything.
check_program:
    pushl %esi
    pushl %edi
    movl $-EACCES, %eax
    movl NODE_mode(%ebx), %ecx
    testl $0111, %ecx
    jz 9f
    andl $S_IFMT, %ecx
    cmpl $S_IFREG, %ecx
    jne 9f
    movl $-ENOEXEC, %eax
    movl NODE_data(%ebx), %esi
    movl NODE_size(%ebx), %edx
    cmpl $EHDR_sizeof, %edx
    jb 9f
    cmpl $ELF_MAGIC, EHDR_ident(%esi)
    jne 9f
    movl EHDR_ident+4(%esi), %ecx
    andl $0xffffff, %ecx
    cmpl $ELF_CLASS, %ecx
    jne 9f
    cmpw $ELF_MACHINE, EHDR_machine(%esi)
    jne 9f
    cmpw $PHDR_sizeof, EHDR_phentsize(%esi)
    jne 9f
    movl $0, bias
    movzwl EHDR_type(%esi), %ecx
    cmpl $ET_EXEC, %ecx
    je 1f
    cmpl $ET_DYN, %ecx
    jne 9f
    movl $PIE_BASE, bias
1:  movzwl EHDR_phnum(%esi), %edi
    cmpl $MAX_PHNUM, %edi
    ja 9f
    movl %edi, %ecx
    shll $5, %ecx
    subl %ecx, %edx
    jb 9f
    cmpl %edx, EHDR_phoff(%esi)
    ja 9f
    movl $0, phdr_address
    addl EHDR_phoff(%esi), %esi
2:  decl %edi
    js 3f
    call check_segment
    jc 9f
    addl $PHDR_sizeof, %esi
    jmp 2b
3:  xorl %eax, %eax
    cmpl $0, phdr_address           # found with the first segment to be loaded
    jne 9f
    movl $-ENOEXEC, %eax
9:  popl %edi
    popl %esi
    ret

# ESI = program header, EBX = node: CF set if it makes the file unusable. Keeps EAX.
check_segment:
    pushl %eax
    movl PHDR_type(%esi), %ecx
    cmpl $PT_INTERP, %ecx
    je 8f
    cmpl $PT_LOAD, %ecx
    jne 7f
    movl PHDR_filesz(%esi), %ecx
    cmpl PHDR_memsz(%esi), %ecx
    ja 8f
    addl PHDR_offset(%esi), %ecx
    jc 8f
    cmpl NODE_size(%ebx), %ecx
    ja 8f
    movl PHDR_vaddr(%esi), %edx
    movl %edx, %eax
    subl PHDR_offset(%esi), %eax
    testl $4095, %eax
    jnz 8f
    addl bias, %edx
    jc 8f
    cmpl $MMAP_LOW, %edx
    jb 8f
    movl PHDR_memsz(%esi), %ecx
    addl %edx, %ecx
    jc 8f
    cmpl $USER_END - (1 << 20), %ecx
    ja 8f
    movl NODE_data(%ebx), %ecx      # the headers, if this segment has them
    movl EHDR_phoff(%ecx), %ecx
    subl PHDR_offset(%esi), %ecx
    jb 6f
    cmpl PHDR_filesz(%esi), %ecx
    jae 6f
    addl %edx, %ecx
    movl %ecx, phdr_address
6:  cmpl $0, phdr_address
    jne 7f
    movl $-1, phdr_address          # headers that are not in memory; nobody will look
7:  popl %eax
    clc
    ret
8:  popl %eax
    stc
    ret

# What the old program leaves behind does not reach the new one: mappings, handlers, descriptors that close, TLS,
# FPU state. The name is the last part of the path.
forget_program:
    pushl %ebx
    pushl %esi
    pushl %edi
    movl current, %ebx
    movl $0, PROC_vma_count(%ebx)
    xorl %eax, %eax
    movl %eax, %gs
    movl %eax, %fs
    leal PROC_tls(%ebx), %edi
    movl $2 * NR_TLS, %ecx
    rep stosl
    call load_descriptors
    xorl %eax, %eax
    leal PROC_fpu(%ebx), %edi
    movl $512 / 4, %ecx
    rep stosl
    movw $FCW_INITIAL, PROC_fpu(%ebx)
    movl $MXCSR_INITIAL, PROC_fpu + FPU_MXCSR(%ebx)
    cmpl %ebx, fpu_owner
    jne 1f
    call fpu_forget
1:  movl $NR_FDS - 1, %esi
2:  btl %esi, PROC_cloexec(%ebx)
    jnc 3f
    movl %esi, %eax
    call fd_close
3:  decl %esi
    jns 2b
    movl $0, PROC_cloexec(%ebx)
    movl $0, PROC_cloexec+4(%ebx)
    leal PROC_sigactions(%ebx), %edi
    movl $NR_SIGNALS, %ecx
4:  cmpl $SIG_IGN, SIGACTION_handler(%edi)
    jbe 5f
    movl $SIG_DFL, SIGACTION_handler(%edi)
5:  addl $SIGACTION_sizeof, %edi
    loop 4b
    movl $path_buffer, %esi
6:  movl %esi, %edx                 # after the last slash
7:  lodsb
    cmpb $'/', %al
    je 6b
    testb %al, %al
    jnz 7b
    leal PROC_comm(%ebx), %eax
    call copy_comm
    popl %edi
    popl %esi
    popl %ebx
    ret

# EAX = 16 bytes, EDX = string: as much of it as fits, closed by a zero.
FUNCTION copy_comm
    pushl %ebx
    movl $15, %ecx
1:  movb (%edx), %bl
    movb %bl, (%eax)
    testb %bl, %bl
    jz 2f
    incl %eax
    incl %edx
    loop 1b
    movb $0, (%eax)
2:  popl %ebx
    ret
