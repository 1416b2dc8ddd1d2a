"""The unix guest kernel has its files on a disk: ext2, as the host's own tools make it."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from paravane.abi.sched import ShutdownReason
from paravane.devices.block import Disk
from tests.support.boot import boot, finished
from tests.support.needs import tool
from tests.support.unix_archive import SMALL, busybox, kernel, program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from paravane import BootResult

NOISE = random.Random("ext2").randbytes(330_001)
LONG_NAME = "long-" * 40
FEW = ("-N", "64")
"""A small table of inodes."""

READ_BIG = """
    movl $5, %eax                   # open
    movl $name, %ebx
    xorl %ecx, %ecx
    int $0x80
    movl %eax, %ebx
    negl %eax
    jns 3f
    xorl %edi, %edi
1:  movl $3, %eax                   # read
    movl $buffer, %ecx
    movl $4096, %edx
    int $0x80
    movl $buffer, %esi
    movl %eax, %ecx
    movl %edi, %eax                 # the sum of all bytes
    jecxz 3f
    movzbl %al, %edi
2:  lodsb
    movzbl %al, %eax
    addl %eax, %edi
    loop 2b
    jmp 1b
3:  movl %eax, %ebx                 # that, or an errno
    movl $1, %eax                   # exit
    int $0x80
    .section .rodata
name:
    .asciz "/big"
    .bss
buffer:
    .skip 4096
"""
"""Adds the bytes of a file up: its exit status is the last byte of the sum."""


def ext2(
    folder: Path, files: Mapping[str, bytes | str], *options: str, size: str = "4M", sparse: bool = False
) -> Path:
    """An ext2 file system: bytes become an executable file, a string a symbolic link."""
    root, image = folder / "root", folder / "disk.img"
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, str):
            path.symlink_to(data)
        else:
            path.write_bytes(data)
            path.chmod(0o755)
    if sparse:
        with (root / "sparse").open("wb") as stream:
            stream.seek(300_000)
            stream.write(b"middle")
            stream.truncate(500_000)
        os.link(root / "sparse", root / "other")
    command = [tool("mke2fs"), "-q", "-F", "-t", "ext2", *options, "-d", str(root), str(image), size]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return image


def run(image: Path, *words: str, memory: int = SMALL, sector_size: int = 512) -> BootResult:
    disk = Disk(image, read_only=True, sector_size=sector_size)
    return boot(kernel(), memory=memory, cmdline=shlex.join(words), devices=(disk,))


def test_files_of_all_shapes_are_what_they_are_on_linux(tmp_path: Path) -> None:
    """Direct blocks, tables of them and tables of tables; holes; directories of several blocks; links of all
    kinds."""
    far = "deep/" + "../deep/" * 20 + "er/file"
    files: dict[str, bytes | str] = {
        "bin/busybox": busybox(),
        "noise": NOISE,
        "short": "deep/er/file",
        "deep/er/file": b"found\n",
        "far": far,
        "empty": b"",
        **{f"many/{LONG_NAME}{number}": b"" for number in range(40)},
    }
    image = ext2(tmp_path, files, "-b", "1024", "-N", "128", sparse=True)
    reads = "md5sum noise sparse other; cat short far empty; ls many | wc -l; readlink far | md5sum"
    asks = "stat -c %i sparse other | uniq | wc -l; stat -c '%A %h' other; stat -f -c %T ."
    outcome = finished(run(image, "sh", "-c", f"{reads}; {asks}; touch x; cd deep/er; pwd", memory=12 << 20))
    sparse = bytes(300_000) + b"middle" + bytes(199_994)
    noise, hole, link = (hashlib.md5(data).hexdigest() for data in (NOISE, sparse, f"{far}\n".encode()))
    assert outcome.console.splitlines() == [
        *(f"{noise}  noise", f"{hole}  sparse", f"{hole}  other"),
        *("found", "found", "40", f"{link}  -", "1"),
        *("-rw-r--r-- 2", "ext2/ext3", "touch: x: Read-only file system", "/deep/er"),
    ]


def test_what_is_no_file_system_is_said(tmp_path: Path) -> None:
    image = ext2(tmp_path, {"big": b""}, *FEW, "-b", "1024", size="256K")
    sound = image.read_bytes()
    for place, data, sentence in (
        (1024 + 56, b"\0\0", "the disk has no ext2 file system"),
        (1024 + 96, struct.pack("<I", 0x42), "the file system on the disk is more than ext2"),
        (1024 + 40, bytes(4), "the file system on the disk is damaged"),
    ):
        image.write_bytes(sound[:place] + data + sound[place + len(data) :])
        outcome = finished(run(image, "/big"))
        assert outcome.console.startswith(f"unix: {sentence}"), place
    image.write_bytes(sound)
    outcome = finished(run(image, "/big", sector_size=4096))
    assert outcome.console == "unix: the blocks of the file system are smaller than the sectors of the disk\n"


def test_a_file_that_cannot_be_read_costs_nobody_else_anything(tmp_path: Path) -> None:
    """One that memory does not hold, one whose blocks are not on the disk, whose sectors are large."""
    image = ext2(tmp_path, {"run": program(READ_BIG), "big": NOISE * 15}, *FEW, "-b", "4096", size="8M")

    def said(memory: int) -> str:
        return finished(run(image, "/run", memory=memory, sector_size=4096)).console

    assert said(5 << 20) == "exit status 12\n"
    assert said(12 << 20) == f"exit status {sum(NOISE * 15) % 256}\n"
    inode = image.read_bytes().index(struct.pack("<I", 15 * len(NOISE))) - 4
    with image.open("r+b") as stream:
        stream.seek(inode + 40 + 13 * 4)  # its table of tables of blocks
        stream.write(b"\xff\xff\xff\x0f")
    assert said(12 << 20) == "exit status 5\n"


def test_a_directory_that_is_above_itself_is_damage(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"run": program("print here\n quit $0"), "a/b/c": b""}
    image = ext2(tmp_path, files, *FEW, "-b", "1024", size="256K")
    data = image.read_bytes()
    inner, outer = (data.index(b"\x01\x02%c\0" % name) - 6 for name in b"ba")
    image.write_bytes(data[:inner] + data[outer : outer + 4] + data[inner + 4 :])
    outcome = finished(run(image, "/run"))
    number = int.from_bytes(data[outer : outer + 4], "little")
    assert outcome.console == f"unix: the file system is damaged at inode {number}\nhere"


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_system_only_fails_to_provide_files(tmp_path: Path, seed: int) -> None:
    """Whatever its superblock, descriptors, inodes and directories say."""
    files: dict[str, bytes | str] = {
        "run": program(READ_BIG),
        "big": NOISE[:50_000],
        "a/b": "/big",
        "c": "x" * 99,
    }
    image = ext2(tmp_path, files, *FEW, "-b", "1024", size="256K")
    data, chance = bytearray(image.read_bytes()), random.Random(seed)
    for _ in range(chance.choice((2, 20, 200))):
        place = chance.choice((chance.randrange(1024, 1024 + 104), chance.randrange(2048, 32 << 10)))
        data[place] = chance.choice((0, 1, 0xFF, chance.randrange(256)))
    if seed % 2:
        data[1024 : 1024 + 104] = image.read_bytes()[1024 : 1024 + 104]
    image.write_bytes(data)
    assert run(image, "/run").reason is ShutdownReason.poweroff
