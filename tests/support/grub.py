"""Images of Debian's GRUB for 32-bit PV with a script and files inside, made by its grub-mkstandalone."""

from __future__ import annotations

import hashlib
import re
import subprocess
from typing import TYPE_CHECKING

from tests.support.needs import GRUB_MODULES, require, tool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODULES = (
    "cat cmp date echo ext2 gcry_crc gcry_md5 gcry_rmd160 gcry_sha1 gcry_sha256 gcry_sha512 halt hashsum"
    " linux loadenv ls memdisk normal read reboot regexp sleep tar terminal test true"
)
"""What our scripts use; GRUB adds what these need. All 240 would make an image four times as large."""


def standalone(script: str, files: Mapping[str, bytes], folder: Path) -> bytes:
    """A kernel image that runs `script` at once; to the script, a file called `x` is `(memdisk)/x`.

    `folder` is one to work in.
    """
    contents = {"boot/grub/grub.cfg": script.encode(), **files}
    arguments = []
    for number, (name, data) in enumerate(contents.items()):
        (folder / f"file{number}").write_bytes(data)
        arguments.append(f"{name}={folder / f'file{number}'}")
    image = folder / "grub.elf"
    # Without themes, translations and fonts: a text console shows none of them.
    options = ["--themes=", "--locales=", "--fonts=", f"--install-modules={MODULES}", "--modules="]
    modules = require(GRUB_MODULES).parent
    command = [tool("grub-mkstandalone"), "-O", "i386-xen", "-d", str(modules), *options, "-o", str(image)]
    done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return image.read_bytes()


def lines(console: str) -> list[str]:
    """The lines a person sees, without the terminal's escape sequences."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console)
    return [line.strip() for line in re.split(r"[\r\n]+", text)]


def coreutils(program: str, data: bytes) -> str:
    """The digest that sha256sum, or another one of coreutils' programs, has for these bytes."""
    done = subprocess.run([program], input=data, capture_output=True, check=True)
    digest = done.stdout.split()[0].decode()
    assert digest == hashlib.new(program.removesuffix("sum"), data).hexdigest()
    return digest
