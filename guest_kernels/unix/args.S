# The domain's command line becomes the first program and its arguments: split as a POSIX shell splits words,
# with both kinds of quotes and backslashes, but nothing expanded.

# This is the first of the sources: its text and data come first in the image, each at a page boundary.
    .globl text_start, data_start
    .text
text_start:
    .data
data_start:

    .include "unix.inc"

    .data
environment:
    .asciz "PATH=/bin"
    .asciz "HOME=/"
    .asciz "TERM=linux"
    .byte 0
bin_directory:
    .ascii "/bin/"
bin_busybox:
    .asciz "/bin/busybox"
shell:
    .asciz "sh"

    .text
# EAX = command line: fills the argument strings with its words, or with "sh", and the environment.
FUNCTION args_split
    pushl %esi
    movl %eax, %esi
    call args_reset
1:  lodsb                           # between words
    testb %al, %al
    jz 3f
    cmpb $' ', %al
    je 1b
    cmpb $'\t', %al
    je 1b
    cmpb $'\n', %al
    je 1b
    decl %esi
    incl args_argc
    call put_word
    xorl %eax, %eax
    call args_put
    jmp 1b
3:  cmpl $0, args_argc
    jne 4f
    incl args_argc
    movl $shell, %esi
    call put_string
4:  movl $environment, %esi
5:  cmpb $0, (%esi)
    je 6f
    incl args_envc
    call put_string
    jmp 5b
6:  popl %esi
    ret

# ESI = string: adds it with its zero; moves ESI after it.
put_string:
    lodsb
    call args_put
    testb %al, %al
    jnz put_string
    ret

# ESI = start of a word: adds what it means; moves ESI to its end.
put_word:
    lodsb
    testb %al, %al
    jz 8f
    cmpb $' ', %al
    je 8f
    cmpb $'\t', %al
    je 8f
    cmpb $'\n', %al
    je 8f
    cmpb $'\'', %al
    je 2f
    cmpb $'"', %al
    je 4f
    cmpb $'\\', %al
    jne 1f
    lodsb                           # quotes the next character
    testb %al, %al
    jz 8f
1:  call args_put
    jmp put_word
2:  lodsb                           # '...': all as it stands
    testb %al, %al
    jz 8f
    cmpb $'\'', %al
    je put_word
    call args_put
    jmp 2b
4:  lodsb                           # "...": a backslash quotes four characters
    testb %al, %al
    jz 8f
    cmpb $'"', %al
    je put_word
    cmpb $'\\', %al
    jne 6f
    movb (%esi), %ah
    cmpb $'"', %ah
    je 5f
    cmpb $'\\', %ah
    je 5f
    cmpb $'$', %ah
    je 5f
    cmpb $'`', %ah
    jne 6f
5:  lodsb
6:  call args_put
    jmp 4b
8:  decl %esi
    ret

# Puts into path_buffer where the first word's program is: the word itself if it holds a slash, else /bin/WORD
# if the archive has that, else /bin/busybox, which looks at its name. Gives the node or -errno.
FUNCTION args_program
    pushl %esi
    pushl %edi
    movl $args, %esi
1:  lodsb
    cmpb $'/', %al
    je 3f
    testb %al, %al
    jnz 1b
    movl $bin_directory, %esi
    movl $path_buffer, %edi
    movl $bin_busybox - bin_directory, %ecx
    rep movsb
    movl $args, %esi
    call copy_to_path
    call find_program
    cmpl $-ENOENT, %eax
    jne 4f
    movl $bin_busybox, %esi
    jmp 2f
3:  movl $args, %esi
2:  movl $path_buffer, %edi
    call copy_to_path
    call find_program
4:  popl %edi
    popl %esi
    ret

copy_to_path:                       # ESI -> EDI; a command line is shorter than PATH_MAX
    lodsb
    stosb
    testb %al, %al
    jnz copy_to_path
    ret

find_program:
    movl $path_buffer, %eax
    movl root_node, %edx
    movl $1, %ecx
    jmp path_resolve
