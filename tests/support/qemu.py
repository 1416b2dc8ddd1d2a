"""Debian's QEMU as a bare PC, which nobody here wrote."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support.boot import HOST_TIMEOUT
from tests.support.needs import tool

if TYPE_CHECKING:
    from pathlib import Path

POWERED_OFF, PANICKED = 1, 3
"""QEMU's exit status after the kernel wrote 0 and 1 to isa-debug-exit."""

_MACHINE = (
    *("-machine", "pc", "-accel", "tcg", "-nodefaults", "-no-reboot", "-display", "none"),
    *("-device", "isa-debug-exit,iobase=0xf4"),
)


def typed_on_qemu(kernel: bytes, memory: int, folder: Path, ready: bytes, typed: bytes) -> tuple[bytes, int]:
    """As `on_qemu`, what is `typed` at the serial port once the kernel has written `ready` there, which is
    not among what it writes."""
    image = folder / "kernel.elf"
    image.write_bytes(kernel)
    more = ("-m", f"{memory >> 20}M", "-serial", "stdio", "-kernel", str(image))
    command = [tool("qemu-system-i386"), *_MACHINE, *more]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(len(ready)) == ready
        written, _ = process.communicate(typed, timeout=HOST_TIMEOUT)
        return written, process.returncode


def on_qemu(kernel: bytes, memory: int, folder: Path, *options: str) -> tuple[bytes, int]:
    """What a multiboot kernel writes to its serial port, with `memory` bytes, and QEMU's exit status. Files
    go to `folder`."""
    image, line = folder / "kernel.elf", folder / "serial"
    image.write_bytes(kernel)
    more = ("-m", f"{memory >> 20}M", "-serial", f"file:{line}", "-kernel", str(image))
    done = subprocess.run(
        [tool("qemu-system-i386"), *_MACHINE, *more, *options],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HOST_TIMEOUT,
    )
    assert not done.stderr
    return line.read_bytes(), done.returncode
