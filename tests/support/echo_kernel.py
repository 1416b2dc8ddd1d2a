"""Kernels of a bare PC that print what is typed at their serial port, until that is `END`."""

from __future__ import annotations

from typing import Final

from tests.support.bare_pc import kernel

READY: Final = b"?"
"""What they print once they listen."""

END: Final = b"q"

_CONTROLLERS: Final = "".join(
    f"mov ${value}, %al\noutb %al, ${port:#x}\n"
    for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xEF))
)
_READY: Final = "mov $'?', %al\ncall put\n"
_ECHO: Final = "mov $0x3f8, %edx\ninb %dx, %al\ncall put\ncmp $'q', %al\nje exit\n"

POLLS: Final = f"{_READY}1: mov $0x3fd, %edx\ninb %dx, %al\ntest $1, %al\njz 1b\n{_ECHO}jmp 1b\n"


def interrupted(fifos: int, *, drains: bool) -> str:
    """By interrupt 4, asleep in between, with `fifos` in the FIFO control register. The handler prints all
    that there is (`drains`), or a byte."""
    return (
        f"mov $received, %eax\nmov $0x24, %ecx\nmov $0x8e, %dl\ncall gate\n{_CONTROLLERS}"
        f"mov $0x3fa, %edx\nmov ${fifos}, %al\noutb %al, %dx\n"
        "mov $0x3fc, %edx\nmov $0x0b, %al\noutb %al, %dx\n"
        f"mov $0x3f9, %edx\nmov $1, %al\noutb %al, %dx\n{_READY}"
        "1: sti\nhlt\njmp 1b\n"
        "received: mov $0x3fa, %edx\ninb %dx, %al\n"  # as handlers look why they are called
        "2: mov $0x3fd, %edx\ninb %dx, %al\ntest $1, %al\njz 3f\n"
        f"{_ECHO}{'jmp 2b' if drains else ''}\n"
        "3: mov $0x20, %al\noutb %al, $0x20\niret\n"
    )


WAYS: Final = {
    "polls": POLLS,
    "a byte an interrupt": interrupted(0, drains=False),
    "all at an interrupt": interrupted(0, drains=True),
    "FIFOs": interrupted(0x07, drains=True),
    "FIFOs of 14": interrupted(0xC7, drains=True),
}


def image(way: str) -> bytes:
    """The kernel that listens so."""
    return kernel(WAYS[way])
