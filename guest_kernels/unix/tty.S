# The terminal: Xen's console ring with the line discipline of POSIX (canonical and raw mode, echo, signals).

    .include "unix.inc"

.equ BUFFER_SIZE, 4096

.equ TERMIOS_iflag, 0
.equ TERMIOS_oflag, 4
.equ TERMIOS_lflag, 12
.equ TERMIOS_cc, 17
.equ TERMIOS_sizeof, 36
.equ VINTR, 0
.equ VQUIT, 1
.equ VERASE, 2
.equ VKILL, 3
.equ VEOF, 4
.equ VMIN, 6
.equ ICRNL, 0x100
.equ OPOST_ONLCR, 5
.equ ISIG, 1
.equ ICANON, 2
.equ ECHO, 8
.equ ERASE_ALT, 8                   # backspace, whatever VERASE is

    .bss
    .balign 4
buffer:                             # positions count up; modulo BUFFER_SIZE they index
    .skip BUFFER_SIZE
tail:                               # next byte to read
    .skip 4
limit:                              # end of what may be read: of the last whole line in canonical mode
    .skip 4
head:                               # end of what was typed
    .skip 4
    .globl foreground
foreground:                         # process group
    .skip 4
window:                             # rows, columns, and two sizes in pixels that nobody knows
    .skip 8

    .data
    .balign 4
termios:                            # as a Linux console starts, but without carriage returns on output
    .long ICRNL, 0, 0xbf, ISIG | ICANON | ECHO
    .byte 0
    .byte 3, 28, 0x7f, 0x15, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22
    .skip 3

    .text
FUNCTION tty_init
    movl $24 | 80 << 16, window
    movl $1, foreground
    ret

# Gives nonzero if the ring holds input.
FUNCTION tty_waiting
    movl console_ring, %edx
    movl XENCONS_INTERFACE_in_prod(%edx), %eax
    subl XENCONS_INTERFACE_in_cons(%edx), %eax
    ret

# Takes what has been typed from the ring, as long as there is room for it.
FUNCTION tty_poll
    call tty_waiting
    testl %eax, %eax
    jz 3f
    pushl %ebx
    movl console_ring, %ebx
1:  movl head, %eax
    subl tail, %eax
    cmpl $BUFFER_SIZE - 1, %eax
    jae 2f
    movl XENCONS_INTERFACE_in_cons(%ebx), %eax
    cmpl XENCONS_INTERFACE_in_prod(%ebx), %eax
    je 2f
    andl $XENCONS_IN_SIZE - 1, %eax
    movzbl XENCONS_INTERFACE_in(%ebx,%eax), %eax
    incl XENCONS_INTERFACE_in_cons(%ebx)
    call typed
    jmp 1b
2:  movl limit, %eax                # a full buffer without a whole line: the line ends here
    cmpl tail, %eax
    jne 4f
    movl head, %eax
    subl tail, %eax
    cmpl $BUFFER_SIZE - 1, %eax
    jb 4f
    movl head, %eax
    movl %eax, limit
4:  call console_notify             # there is room again
    popl %ebx
    movl $buffer, %eax
    jmp wake
3:  ret

# EAX = one typed byte.
typed:
    testl $ICRNL, termios + TERMIOS_iflag
    jz 1f
    cmpb $'\r', %al
    jne 1f
    movb $'\n', %al
1:  testl $ISIG, termios + TERMIOS_lflag
    jz 2f
    movl $SIGINT, %edx
    cmpb termios + TERMIOS_cc + VINTR, %al
    je typed_signal
    movl $SIGQUIT, %edx
    cmpb termios + TERMIOS_cc + VQUIT, %al
    je typed_signal
2:  testl $ICANON, termios + TERMIOS_lflag
    jz 4f
    cmpb $ERASE_ALT, %al
    je typed_erase
    cmpb termios + TERMIOS_cc + VERASE, %al
    je typed_erase
    cmpb termios + TERMIOS_cc + VKILL, %al
    je typed_kill
    cmpb termios + TERMIOS_cc + VEOF, %al
    je 5f
    call echo
    call append
    cmpb $'\n', %al
    je 6f
    ret
4:  call echo
5:  call append                     # the end-of-file character stands in the buffer; tty_read knows it
6:  movl head, %ecx
    movl %ecx, limit
    ret

append:                             # AL = byte; keeps EAX
    movl head, %ecx
    incl head
    andl $BUFFER_SIZE - 1, %ecx
    movb %al, buffer(%ecx)
    ret

echo:                               # AL = byte; keeps EAX
    testl $ECHO, termios + TERMIOS_lflag
    jz 1f
    pushl %eax
    movzbl %al, %eax
    call print_char
    popl %eax
1:  ret

# EDX = signal: to everybody in the foreground; the line typed so far is forgotten.
typed_signal:
    pushl %ebx
    pushl %edx
    movl limit, %eax
    movl %eax, head
    PRINT "^C\n"
    popl %edx
    movl foreground, %eax
    call signal_group
    popl %ebx
    ret

typed_erase:
    movl head, %eax
    cmpl limit, %eax
    je 1f
    decl head
    testl $ECHO, termios + TERMIOS_lflag
    jz 1f
    PRINT "\b \b"
1:  ret

typed_kill:
    call typed_erase
    movl head, %eax
    cmpl limit, %eax
    jne typed_kill
    ret

# EAX = open file, EBX = buffer, EDI = bytes.
FUNCTION tty_read
    movl FILE_flags(%eax), %esi
    testl %edi, %edi
    jz 8f
1:  call tty_poll
    movl tail, %eax
    cmpl limit, %eax
    jne 2f
    movl $-EAGAIN, %eax
    testl $O_NONBLOCK, %esi
    jnz 9f
    testl $ICANON, termios + TERMIOS_lflag
    jnz 3f
    cmpb $0, termios + TERMIOS_cc + VMIN
    je 8f
3:  movl $buffer, %eax
    call sleep
    testl %eax, %eax
    jz 1b
    movl $-ERESTART_CALL, %eax
9:  ret
8:  xorl %eax, %eax
    ret
2:  xorl %esi, %esi                 # bytes read
4:  cmpl limit, %eax
    je 6f
    cmpl %edi, %esi
    je 6f
    movl %eax, %ecx
    andl $BUFFER_SIZE - 1, %ecx
    movb buffer(%ecx), %dl
    incl %eax
    testl $ICANON, termios + TERMIOS_lflag
    jz 5f
    cmpb termios + TERMIOS_cc + VEOF, %dl
    je 6f
    movb %dl, (%ebx,%esi)
    incl %esi
    cmpb $'\n', %dl
    jne 4b
    jmp 6f
5:  movb %dl, (%ebx,%esi)
    incl %esi
    jmp 4b
6:  movl %eax, tail
    movl %esi, %eax
    ret

# EAX = open file, EBX = buffer, EDI = bytes.
FUNCTION tty_write
    movl termios + TERMIOS_oflag, %eax
    andl $OPOST_ONLCR, %eax
    cmpl $OPOST_ONLCR, %eax
    je 1f
    movl %ebx, %eax
    movl %edi, %edx
    call console_write
    movl %edi, %eax
    ret
1:  pushl %edi                      # a carriage return before each newline
    addl %ebx, %edi
2:  cmpl %edi, %ebx
    je 4f
    movzbl (%ebx), %eax
    incl %ebx
    cmpb $'\n', %al
    jne 3f
    PRINT "\r"
    movl $'\n', %eax
3:  call print_char
    jmp 2b
4:  popl %eax
    ret

# Gives what poll says of the terminal.
FUNCTION tty_ready
    movl tail, %edx
    movl $4, %eax                   # POLLOUT
    cmpl limit, %edx
    je 1f
    incl %eax                       # POLLIN
1:  ret

.equ TCGETS, 0x5401
.equ TCSETS, 0x5402
.equ TCSETSF, 0x5404
.equ TIOCSCTTY, 0x540E
.equ TIOCGPGRP, 0x540F
.equ TIOCSPGRP, 0x5410
.equ TIOCGWINSZ, 0x5413
.equ TIOCSWINSZ, 0x5414
.equ FIONREAD, 0x541B
.equ TIOCNOTTY, 0x5422
.equ TIOCGSID, 0x5429

# ioctl(EBX = descriptor, ECX = command, EDX = argument)
FUNCTION sys_ioctl
    movl %ecx, %edi
    movl %edx, %esi
    movl %ebx, %eax
    call fd_get
    movl %eax, %edx
    movl $-EBADF, %eax
    testl %edx, %edx
    jz 9f
    movl $-ENOTTY, %eax
    cmpl $FILE_TTY, FILE_type(%edx)
    jne 9f
    movl $TERMIOS_sizeof, %ecx
    movl $termios, %edx
    cmpl $TCGETS, %edi
    je 1f
    movl %edi, %ebx
    subl $TCSETS, %ebx
    cmpl $TCSETSF - TCSETS, %ebx
    jbe 2f
    movl $8, %ecx
    movl $window, %edx
    cmpl $TIOCGWINSZ, %edi
    je 1f
    cmpl $TIOCSWINSZ, %edi
    je 2f
    movl $4, %ecx
    movl $foreground, %edx
    cmpl $TIOCGPGRP, %edi
    je 1f
    cmpl $TIOCSPGRP, %edi
    je 2f
    movl $root_session, %edx
    cmpl $TIOCGSID, %edi
    je 1f
    movl limit, %eax
    subl tail, %eax
    movl %eax, readable
    movl $readable, %edx
    cmpl $FIONREAD, %edi
    je 1f
    xorl %eax, %eax
    cmpl $TIOCSCTTY, %edi
    je 9f
    cmpl $TIOCNOTTY, %edi
    je 9f
    movl $-ENOTTY, %eax
9:  ret
1:  movl %esi, %eax                 # EDX -> user
    xchgl %ecx, %edx
    call user_range
    xchgl %ecx, %edx
    call memory_copy
    xorl %eax, %eax
    ret
2:  movl %esi, %eax                 # user -> EDX
    xchgl %ecx, %edx
    call user_range
    movl %ecx, %eax
    movl %edx, %ecx
    movl %esi, %edx
    call memory_copy
    testl $ICANON, termios + TERMIOS_lflag
    jnz 3f
    movl head, %eax                 # raw mode: what was typed counts without a newline
    movl %eax, limit
3:  xorl %eax, %eax
    ret
    .section .rodata
    .balign 4
root_session:
    .long 1
    .bss
    .balign 4
readable:
    .skip 4
