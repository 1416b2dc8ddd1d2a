"""The head of a kernel in assembly, so that a test shows only what it is about."""

from __future__ import annotations

_SHOW = """
.macro SHOW_HEX text:vararg         # prints the text and EAX in hexadecimal
    pushl %eax
    PRINT \\text
    popl %eax
    call print_hex32
    PRINT "\\n"
.endm

.macro SHOW_SIGNED text:vararg      # prints the text and EAX as a signed number.
    pushl %eax
    PRINT \\text
    popl %eax
    testl %eax, %eax
    jns .Lshow\\@
    pushl %eax
    PRINT "-"
    popl %eax
    negl %eax
.Lshow\\@:
    call print_dec
    PRINT "\\n"
.endm
"""


def prelude(*includes: str) -> str:
    """The runtime and more of its files ("paging" is `paging.inc`), the notes Xen looks for, and the macros
    SHOW_HEX and SHOW_SIGNED, which spoil what `print_string` does. Ends in `.text`; the kernel defines
    `main`."""
    files = "".join(f'.include "{name}.inc"\n' for name in ("runtime", *includes))
    return f"{files}XEN_NOTES\n{_SHOW}.text\n"
