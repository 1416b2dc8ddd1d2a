# Scripts: a file that starts with "#!" names the program that is to read it.

    .include "unix.inc"

.equ LINE_MAX, 255                  # bytes of the first line that count

    .bss
    .balign 4
old_args:                           # the argument strings as they were
    .skip ARGS_MAX
line:                               # interpreter and perhaps one argument, each closed by a zero
    .skip LINE_MAX + 3
    .balign 4

    .text
# EBX = node; ZF set if it is a script.
FUNCTION is_script
    movl NODE_mode(%ebx), %eax
    andl $S_IFMT, %eax
    cmpl $S_IFREG, %eax
    jne 1f
    movl $2, %eax
    cmpl NODE_size(%ebx), %eax
    ja 1f
    movl NODE_data(%ebx), %eax
    cmpw $0x2123, (%eax)            # "#!"
1:  ret

# EBX = script, path_buffer its path, args what it is started with: args become interpreter, argument if any,
# path, and the old arguments but for the first; path_buffer becomes the interpreter's. Gives its node or -errno.
FUNCTION script_program
    pushl %esi
    pushl %edi
    movl $-EACCES, %eax
    testl $0111, NODE_mode(%ebx)
    jz 9f
    call parse_line
    testl %eax, %eax
    js 9f
    movl %eax, %edi                 # strings in line: 1 or 2
    movl $old_args, %eax
    movl $args, %edx
    movl args_used, %ecx
    call copy_words
    pushl args_used
    movl $0, args_used
    movl $line, %esi
    movl %edi, %edx
    call put_strings
    movl $path_buffer, %esi
    movl $1, %edx
    call put_strings
    popl %ecx
    movl $old_args, %esi
    addl %esi, %ecx                 # end of the old strings
    cmpl $0, args_argc
    je 2f
    decl args_argc
1:  lodsb                           # without the first
    testb %al, %al
    jnz 1b
2:  leal 1(%edi), %eax
    addl %eax, args_argc
3:  cmpl %ecx, %esi
    jae 4f
    lodsb
    call args_put
    jnc 3b
    movl $-E2BIG, %eax
    jmp 9f
4:  movl $line, %esi
    movl $path_buffer, %edi
5:  lodsb
    stosb
    testb %al, %al
    jnz 5b
    movl $path_buffer, %eax
    movl current, %edx
    movl PROC_cwd(%edx), %edx
    movl $1, %ecx
    call path_resolve
9:  popl %edi
    popl %esi
    ret

# ESI = strings, EDX = how many: adds them to the argument strings, which are empty enough.
put_strings:
    pushl %edx
1:  lodsb
    call args_put
    testb %al, %al
    jnz 1b
    decl (%esp)
    jnz 1b
    popl %edx
    ret

# EBX = script: fills line. Gives the number of strings, or -ENOEXEC if no interpreter is named.
parse_line:
    pushl %esi
    pushl %edi
    movl NODE_data(%ebx), %esi
    addl $2, %esi
    movl NODE_size(%ebx), %ecx
    subl $2, %ecx
    cmpl $LINE_MAX, %ecx
    jbe 1f
    movl $LINE_MAX, %ecx
1:  movl $line, %edi
    call skip_blanks
    movl $-ENOEXEC, %eax
    jecxz 9f
2:  movb (%esi), %al                # the interpreter ends at a blank
    cmpb $'\n', %al
    je 5f
    cmpb $' ', %al
    je 3f
    cmpb $'\t', %al
    je 3f
    stosb
    incl %esi
    loop 2b
    jmp 5f
3:  movb $0, (%edi)
    incl %edi
    call skip_blanks
    jecxz 6f
    cmpb $'\n', (%esi)
    je 6f
4:  movb (%esi), %al                # the argument is the rest of the line
    cmpb $'\n', %al
    je 7f
    stosb
    incl %esi
    loop 4b
7:  cmpb $' ', -1(%edi)             # without the blanks at its end
    jne 8f
    decl %edi
    jmp 7b
8:  movb $0, (%edi)
    movl $2, %eax
    jmp 9f
5:  movb $0, (%edi)
    movl $-ENOEXEC, %eax
    cmpl $line, %edi
    je 9f
6:  movl $1, %eax
9:  popl %edi
    popl %esi
    ret

skip_blanks:                        # ESI = text, ECX = bytes: moves over blanks
    jecxz 2f
1:  cmpb $' ', (%esi)
    je 3f
    cmpb $'\t', (%esi)
    jne 2f
3:  incl %esi
    loop 1b
2:  ret
