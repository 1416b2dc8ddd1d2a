"""Kernels from their sources: in assembly by our own assembler, in C by the GNU tools where they are there.

A kernel with a source in C is compiled by `gcc -m32`, its sources in assembly by GNU as, and linked by GNU ld
with `kernel.lds`. It gets the runtime of `asm/include` (entry, console, exit) and Xen's notes from
`runtime.S`, and what compilers take for granted (`memcpy` and its like) from `runtime.c`; its `main` is
called, and a return from it powers off. `#include <paravane.h>` declares all that.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import asm
from paravane.compiler.header import xen_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INCLUDE_DIR: Final = Path(__file__).parent / "include"
SUFFIXES: Final = (".S", ".c")
"""What sources are called."""

_HERE: Final = Path(__file__).parent
_RUNTIME: Final = (_HERE / "runtime.S", _HERE / "runtime.c")
_LINK_SCRIPT: Final = _HERE / "kernel.lds"
_COMPILER: Final = (
    "gcc -m32 -march=i686 -std=gnu11 -O1 -g -Wall -Wextra -ffreestanding -fno-pic -fno-pie -mno-sse -mno-mmx "
    "-msoft-float -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none "
    "-fno-strict-aliasing -mregparm=3"
)
"""With arguments in EAX, EDX and ECX, as the runtime has them. A kernel that never touches the floating-point
unit need not care for it."""
_ASSEMBLER: Final = "as --32 --gdwarf-4"
_LINKER: Final = "ld -m elf_i386 -nostdlib --build-id=none --no-warn-rwx-segments"
_NO_DEFINES: Mapping[str, int] = {}


class NoCompiler(Exception):
    """A program that sources in C need is not on this machine; the message is a sentence with its name."""


class CompilerError(Exception):
    """The sources have errors; the message is what the compiler said."""


def build(
    sources: Sequence[Path], *, include: Sequence[Path] = (), defines: Mapping[str, int] = _NO_DEFINES
) -> bytes:
    """An ELF32 image of sources, `*.S` and `*.c`. Raises AssemblyError for errors in a kernel that is all in
    assembly, else CompilerError and NoCompiler, and OSError for files that cannot be read."""
    if not any(source.suffix == ".c" for source in sources):
        return asm.build(sources, include=include, defines=defines)
    for source in sources:
        with source.open("rb"):
            pass  # the tools would say it in their own words
    with tempfile.TemporaryDirectory(prefix="paravane-") as name:
        Path(name, "xen.h").write_text(xen_header(), encoding="ascii")
        objects, folders = [], (*include, Path(name))
        own = {name: "compiler/made", str(_HERE): "compiler", str(asm.INCLUDE_DIR): "asm/include"}
        for at, source in enumerate((*_RUNTIME, *sources)):
            objects.append(str(Path(name, f"{at}.o")))
            command = _command(source, folders, defines, own)
            _run([*command, "-o", objects[-1], _as_file(source)])
        image = Path(name, "kernel.elf")
        _run([*_LINKER.split(), "-T", str(_LINK_SCRIPT), "-o", str(image), *objects])
        return image.read_bytes()


def _command(
    source: Path, include: Sequence[Path], defines: Mapping[str, int], own: Mapping[str, str]
) -> Iterator[str]:
    """What makes an object of a source, without its name and the object's. `own` are folders of files that
    come with Paravane, with what they are called in the image, where their place is not to tell."""
    in_c = source.suffix == ".c"
    yield from (_COMPILER if in_c else _ASSEMBLER).split()
    if in_c:
        yield "-c"
    for place, called in own.items():
        yield f"{'-ffile-prefix-map' if in_c else '--debug-prefix-map'}={place}={called}"
    for folder in (source.parent, *include, INCLUDE_DIR if in_c else asm.INCLUDE_DIR):
        yield f"-I{folder}"
    for name, value in defines.items():
        yield from (f"-D{name}={value}",) if in_c else ("--defsym", f"{name}={value}")


def _as_file(path: Path) -> str:
    """The name of a file that no program takes for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def _run(command: Sequence[str]) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise NoCompiler(f"a kernel in C needs `{command[0]}`, which is not on this machine")
    done = subprocess.run(
        [program, *command[1:]],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise CompilerError(said or f"{command[0]} ended with status {done.returncode}")
