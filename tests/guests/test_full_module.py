"""A multiboot module, as a kernel of a bare PC finds it here and in QEMU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import BareMachine
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from tests.support.boot import HOST_TIMEOUT
from tests.support.qemu import POWERED_OFF, on_qemu

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

MEMORY = 8 << 20
MODULE = bytes(range(256)) * 33 + b"the end"

KERNEL = """
        .globl _start
        .align 4
        .long 0x1BADB002, FLAGS, -(0x1BADB002 + FLAGS)
_start: mov $stack_end, %esp
        cld
        mov $0x3f8, %edx
        mov (%ebx), %eax                    # the flags: are there modules?
        shr $3, %eax
        and $1, %eax
        outb %al, %dx
        mov 20(%ebx), %eax                  # how many
        outb %al, %dx
        test %eax, %eax
        jz done
        mov 24(%ebx), %ebx
        mov (%ebx), %esi                    # where the first begins, in its page and after the kernel
        mov %esi, %eax
        and $0xfff, %eax
        outb %al, %dx
        shr $8, %eax
        outb %al, %dx
        cmp $end, %esi
        setae %al
        outb %al, %dx
        mov 4(%ebx), %ecx
        sub %esi, %ecx
        jz done
        rep outsb
done:   mov $0, %al
        outb %al, $0xf4
        hlt
        .bss
        .skip 0x3210
stack_end:
end:
"""


def _kernel(flags: int) -> bytes:
    return write_elf(assemble_text(KERNEL.replace("FLAGS", str(flags)), base=0x100000))


def _here(kernel: bytes, ramdisk: bytes | None) -> bytes:
    console = bytearray()
    with BareMachine(kernel, MEMORY, ramdisk=ramdisk, sink=console.extend) as machine:
        machine.run(timeout=HOST_TIMEOUT)
        assert machine.guest.exit_code == 0, machine.guest.failure
    return bytes(console)


@pytest.mark.parametrize("flags", [0, 1])
def test_module_is_found_as_in_qemu(flags: int, tmp_path: Path) -> None:
    """On a page of its own, whether or not the header asks for that."""
    module = tmp_path / "module"
    module.write_bytes(MODULE)
    there, status = on_qemu(_kernel(flags), MEMORY, tmp_path, "-initrd", str(module))
    assert status == POWERED_OFF
    assert _here(_kernel(flags), MODULE) == there == bytes((1, 1, 0, 0, 1)) + MODULE


def test_kernel_without_a_module_is_told_so() -> None:
    assert _here(_kernel(1), None) == bytes((1, 0))


def test_module_may_be_empty() -> None:
    assert _here(_kernel(1), b"") == bytes((1, 1, 0, 0, 1))
