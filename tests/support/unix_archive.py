"""What the unix guest kernel's tests need: the kernel, busybox, archives, and programs in assembly."""

from __future__ import annotations

import functools
import shlex
import stat
from typing import TYPE_CHECKING

from paravane import guest_kernels
from paravane.asm import assemble_text, build
from paravane.asm.elf_writer import write_elf
from tests.support.boot import UNHINDERED, boot
from tests.support.needs import BUSYBOX, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paravane import BootResult
    from paravane.trace import Kind

USER_BASE = 0x08048000
SMALL = 8 << 20
"""Bytes of memory of a domain whose archive has no busybox."""

_PRELUDE = """
    .equ EAGAIN, 11
# print "text": to standard output. Spoils EAX, EBX, ECX, EDX.
.macro print text
    .pushsection .rodata
.Ltext\\@:
    .ascii "\\text"
.Lend\\@:
    .popsection
    movl $.Ltext\\@, %ecx
    movl $.Lend\\@ - .Ltext\\@, %edx
    movl $1, %ebx
    movl $4, %eax
    int $0x80
.endm
# quit status
.macro quit status
    movl \\status, %ebx
    movl $1, %eax
    int $0x80
.endm
    .globl _start
    .text
_start:
"""


@functools.cache
def kernel() -> bytes:
    return build(guest_kernels.load("unix").sources)


@functools.cache
def busybox() -> bytes:
    """Debian's busybox-static, its processor an i386."""
    return require(BUSYBOX).read_bytes()


@functools.cache
def program(text: str) -> bytes:
    """A static program: `text` follows `_start:`, with `print "..."` and `quit $n` to use."""
    return write_elf(assemble_text(_PRELUDE + text, base=USER_BASE))


def entry(name: str, mode: int, data: bytes = b"", *, ino: int = 0, nlink: int = 1) -> bytes:
    """One entry of a cpio archive in format newc."""
    numbers = (ino, mode, 0, 0, nlink, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return _pad(head) + _pad(data)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def archive(files: Mapping[str, bytes | str], *, with_busybox: bool = True) -> bytes:
    """A cpio archive: bytes become an executable file, a string a symbolic link."""
    contents = {**({"bin/busybox": busybox()} if with_busybox else {}), **files}
    entries = [entry(".", stat.S_IFDIR | 0o755), entry("bin", stat.S_IFDIR | 0o755)]
    for ino, (name, data) in enumerate(contents.items(), 1):
        if isinstance(data, str):
            entries.append(entry(name, stat.S_IFLNK | 0o777, data.encode(), ino=ino))
        else:
            entries.append(entry(name, stat.S_IFREG | 0o755, data, ino=ino))
    return b"".join(entries) + entry("TRAILER!!!", 0)


def run_unix(
    *words: str,
    files: Mapping[str, bytes | str] | None = None,
    with_busybox: bool = True,
    memory: int = 32 << 20,
    stdin: bytes = b"",
    seed: int = 0,
    trace: Iterable[Kind] = UNHINDERED,
) -> BootResult:
    """Boot the kernel with an archive of busybox and `files`, its command line the words."""
    ramdisk = archive(files or {}, with_busybox=with_busybox)
    return boot(
        kernel(),
        memory=memory,
        cmdline=shlex.join(words),
        ramdisk=ramdisk,
        stdin=stdin,
        seed=seed,
        trace=trace,
    )
