"""Programs on the unix guest kernel: what fork, exec, signals and switches must keep, and must not."""

from __future__ import annotations

import pytest

from paravane.trace import Kind
from paravane.trace.text import body
from tests.support.boot import finished
from tests.support.unix_archive import SMALL, program, run_unix

_COPY_ON_WRITE = """
    movl $2, %eax
    int $0x80
    testl %eax, %eax
    jnz 1f
    movl $7, word                   # the child's own copy
    quit word
1:  movl $7, %eax
    movl $-1, %ebx
    movl $status, %ecx
    xorl %edx, %edx
    int $0x80
    cmpl $0x700, status
    jne 2f
    cmpl $1, word
    jne 2f
    print "copied\\n"
2:  quit $0
    .data
word:
    .long 1
status:
    .long 0
"""


def test_child_writes_to_its_own_copy() -> None:
    files = {"bin/cow": program(_COPY_ON_WRITE)}
    outcome = finished(run_unix("/bin/cow", files=files, with_busybox=False, memory=SMALL))
    assert outcome.console == "copied\n"


# Parent and child each keep a number of their own in x87 and SSE registers while they take turns.
_FPU = """
    movl $2, %eax
    int $0x80
    movl %eax, pid
    testl %eax, %eax
    setz %al
    movzbl %al, %eax
    leal 5(,%eax,4), %eax           # 5 and 9
    movl %eax, own
    fildl own
    movd %eax, %xmm3
    movl $50, %edi
1:  movl $158, %eax                 # sched_yield
    int $0x80
    decl %edi
    jnz 1b
    movd %xmm3, %eax
    cmpl own, %eax
    jne 2f
    fistpl seen
    cmpl seen, %eax
    jne 2f
    print "kept\\n"
2:  cmpl $0, pid
    je 3f
    movl $7, %eax
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
3:  quit $0
    .bss
    .balign 4
pid:
    .skip 4
own:
    .skip 4
seen:
    .skip 4
"""


def test_fpu_and_sse_registers_follow_their_process() -> None:
    files, trace = {"bin/fpu": program(_FPU)}, (Kind.HYPERCALL,)
    outcome = finished(run_unix("/bin/fpu", files=files, with_busybox=False, memory=SMALL, trace=trace))
    assert outcome.console == "kept\nkept\n"
    traps = [body(record) for record in outcome.records]
    assert any("fpu_taskswitch" in text for text in traps)


# The status is the number of free pages that 30 children, which ran a program, have cost.
_LEAK = """
    call one_child
    call free_pages                 # has its own page from now on
    call free_pages
    pushl %eax
    movl $30, %edi
1:  call one_child
    decl %edi
    jnz 1b
    call free_pages
    popl %ecx
    subl %eax, %ecx
    quit %ecx
free_pages:
    movl $116, %eax
    movl $information, %ebx
    int $0x80
    movl information + 20, %eax
    shrl $12, %eax
    ret
one_child:
    movl $2, %eax
    int $0x80
    testl %eax, %eax
    jz 1f
    movl $7, %eax
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
    ret
1:  movl $11, %eax
    movl $path, %ebx
    movl $arguments, %ecx
    xorl %edx, %edx
    int $0x80
    quit $99
    .data
path:
    .asciz "/bin/busybox"
name:
    .asciz "true"
    .balign 4
arguments:
    .long name, 0
    .bss
    .balign 4
information:
    .skip 64
"""


def test_no_page_is_lost_by_fork_exec_and_exit() -> None:
    outcome = finished(run_unix("/bin/leak", files={"bin/leak": program(_LEAK)}))
    assert outcome.console == ""


# A handler that spoils every register it can: the interrupted program must not notice.
_HANDLER = """
    .equ SIGNAL, 10
    movl $174, %eax                 # rt_sigaction
    movl $SIGNAL, %ebx
    movl $action, %ecx
    xorl %edx, %edx
    movl $8, %esi
    int $0x80
    movl $0x1234, %eax
    movd %eax, %xmm5
    fldpi
    movl $20, %eax
    int $0x80
    movl %eax, %ebx
    movl $SIGNAL, %ecx
    movl $0x11111111, %edx
    movl $0x22222222, %esi
    movl $0x33333333, %edi
    movl $0x44444444, %ebp
    stc
    movl $37, %eax                  # kill
    int $0x80
    jnc 9f
    testl %eax, %eax
    jnz 9f
    cmpl $SIGNAL, %ecx
    jne 9f
    cmpl $0x11111111, %edx
    jne 9f
    cmpl $0x22222222, %esi
    jne 9f
    cmpl $0x33333333, %edi
    jne 9f
    cmpl $0x44444444, %ebp
    jne 9f
    movd %xmm5, %eax
    cmpl $0x1234, %eax
    jne 9f
    fldpi
    fcomip %st(1), %st
    jne 9f
    cmpl $SIGNAL, seen
    jne 9f
    print "unharmed\\n"
9:  quit $0
handler:
    movl 4(%esp), %eax
    movl %eax, seen
    fninit
    fldz
    pxor %xmm5, %xmm5
    .irp register, ebx, ecx, edx, esi, edi, ebp
    movl $-1, %\\register
    .endr
    testl %eax, %eax                # clears the carry flag
    ret
restorer:
    {restore}
    int $0x80
    .data
    .balign 4
action:
    .long handler, {flags}, restorer, 0, 0
seen:
    .long 0
"""


@pytest.mark.parametrize(
    ("flags", "restore"),
    [
        (0x04000000, "popl %eax\n movl $119, %eax"),
        (0x04000004, "movl $173, %eax"),
    ],
)
def test_signal_handler_returns_to_unchanged_registers(flags: int, restore: str) -> None:
    text = _HANDLER.replace("{flags}", str(flags)).replace("{restore}", restore)
    files = {"bin/signal": program(text)}
    outcome = finished(run_unix("/bin/signal", files=files, with_busybox=False, memory=SMALL))
    assert outcome.console == "unharmed\n"


# The parent of vfork prints only after its child has run a program, which prints first.
_VFORK = """
    movl $190, %eax
    int $0x80
    testl %eax, %eax
    jz 1f
    print "parent\\n"
    movl $7, %eax
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
    quit $0
1:  movl $158, %eax                 # whoever can run, runs
    int $0x80
    print "child\\n"
    quit $0
"""


def test_parent_of_vfork_waits_for_the_child() -> None:
    files = {"bin/vfork": program(_VFORK)}
    outcome = finished(run_unix("/bin/vfork", files=files, with_busybox=False, memory=SMALL))
    assert outcome.console == "child\nparent\n"
