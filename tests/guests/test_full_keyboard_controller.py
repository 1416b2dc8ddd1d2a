"""The keyboard controller of a bare PC, asked as kernels do that set it up, here and in QEMU."""

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

HEADER = """
        .globl _start
        .align 4
        .long 0x1BADB002, 0, -0x1BADB002
_start:
"""

SHOW = """
        inb $0x64, %al
        and $0x61, %al                      # is there an answer, is it the mouse's, did it time out?
        mov $0x3f8, %edx
        outb %al, %dx
        inb $0x60, %al
        outb %al, %dx
"""

END = "mov $0, %al\noutb %al, $0xf4\nhlt\n"


def _write(port: int, value: int) -> str:
    return f"mov ${value}, %al\noutb %al, ${port}\n"


def _read_back(*written: tuple[int, int]) -> str:
    """Writes of values to ports, and then the status and what is read."""
    return "".join(_write(port, value) for port, value in written) + SHOW


def _kernel(*parts: str) -> bytes:
    return write_elf(assemble_text("".join((HEADER, *parts, END)), base=0x100000))


def _here(kernel: bytes) -> bytes:
    console = bytearray()
    with BareMachine(kernel, MEMORY, sink=console.extend) as machine:
        machine.run(timeout=HOST_TIMEOUT)
        assert machine.guest.exit_code == 0, machine.guest.failure
    return bytes(console)


def test_controller_answers_as_that_of_qemu(tmp_path: Path) -> None:
    """What it answers itself. The mode has no interrupts, and both devices switched off, before."""
    mode = (0x64, 0x60), (0x60, 0x34)
    kernel = _kernel(
        _read_back((0x64, 0xAA)),
        _read_back(*mode, (0x64, 0x20)),
        *(_read_back((0x64, test)) for test in (0xA9, 0xAB)),
        *(_read_back((0x64, switch), (0x64, 0x20)) for switch in (0xA8, 0xAE, 0xA7, 0xAD)),
        *(_read_back(*mode, (0x64, loop), (0x60, 0x5A)) for loop in (0xD2, 0xD3)),
    )
    there, status = on_qemu(kernel, MEMORY, tmp_path)
    assert status == POWERED_OFF
    assert _here(kernel) == there
    assert there.startswith(bytes((1, 0x55, 1, 0x34, 1, 0, 1, 0, 1, 0x14, 1, 0x04)))


def test_kernel_that_asks_a_mouse_for_its_identity_need_not_wait() -> None:
    """None is there, and no keyboard: the controller says so."""
    kernel = _kernel(_read_back((0x64, 0xD4), (0x60, 0xF2)), _read_back((0x60, 0xF2)))
    assert _here(kernel) == bytes((0x61, 0xFE, 0x41, 0xFE))
