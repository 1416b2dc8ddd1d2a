"""Tiny kernels for machines that are tested from outside."""

from __future__ import annotations

from paravane import Image, load_image
from tests.support.boot import kernel_image

MEMORY = 8 << 20
SPIN = '.include "runtime.inc"\nXEN_NOTES spin\n.text\nmain: jmp main\n'
BLOCK = """
    .include "runtime.inc"
    XEN_NOTES block
    .text
main:
    movl $SCHEDOP_block, %ebx
    HYPERCALL sched_op
    jmp main
"""
PRINTER = """
    .include "runtime.inc"
    XEN_NOTES printer
    .text
main:
    PRINT "again\\n"
    jmp main
"""


def image(text: str) -> Image:
    """A kernel in assembly, ready for a machine."""
    return load_image(kernel_image(text))
