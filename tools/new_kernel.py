"""`paravane new`: a folder for a kernel of one's own, which boots and passes its test as it is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import guest_kernels
from paravane.text import shown
from paravane.tools import manual
from paravane.tools.files import make_folder
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    import argparse

_EPILOG = manual.epilog(
    "The folder boots and passes its test as it is: change its source, and what it is to print.",
    statuses=(
        (Status.OK, "the folder is made"),
        (Status.ERRORS, "it cannot be written, and nothing is left of it"),
        (Status.USAGE, "bad usage, no name for a kernel, or one that is taken"),
    ),
    files=(
        ("NAME/NAME.S, NAME.c", "the source"),
        ("NAME/kernel.toml", manual.SETTINGS[1]),
        ("NAME/expected.txt", manual.EXPECTED[1].removeprefix("beside it: ")),
        ("NAME/README.md", "what to type"),
    ),
    examples=(
        ("paravane new ticks", "in assembly"),
        ("paravane boot ticks/ticks.S", "run it"),
        ("paravane test ticks", "see that it prints what it should"),
        ("paravane new tocks --c", "in C, which gcc and GNU's assembler and linker build"),
    ),
)

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)

_ASSEMBLY: Final = """\
# @NAME@: what it shows, in one line.
#
# Observe: what its console tells, and why.

    .include "runtime.inc"          # start, console, memory

    XEN_NOTES @NAME@

    .text
    .type main, @function
main:                               # the runtime calls it; a return powers off
    PRINT "@NAME@ runs in ring "
    movl %cs, %eax
    andl $3, %eax
    PRINT_DEC %eax
    PRINT "\\n"
    ret
"""

_C: Final = """\
/*
 * @NAME@: what it shows, in one line.
 *
 * Observe: what its console tells, and why.
 */
#include <paravane.h>

/* The runtime calls it; a return powers off. */
int main(void)
{
    unsigned int cs;

    __asm__("movl %%cs, %0" : "=r"(cs));
    print("@NAME@ runs in ring %u\\n", cs & 3);
    return 0;
}
"""

_SETTINGS: Final = """\
description = "What it shows, in one line"
memory_mib = 8
exit_status = 0
"""

_EXPECTED: Final = "@NAME@ runs in ring 1\n"

_README: Final = """\
# @NAME@

What it shows, and how. `@NAME@.@KIND@` is the source, `expected.txt` what it prints: lines that
start with `~` are regular expressions. `kernel.toml` says how it is booted. In the folder around this one:

```sh
paravane boot @NAME@
paravane boot @NAME@ --trace -
paravane test @NAME@
```
"""


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane new NAME [--c]`."""
    parser.description = "Make a folder for a kernel of one's own."
    parser.usage = "%(prog)s NAME [--c]"
    parser.epilog = _EPILOG
    parser.add_argument(
        "name", type=Path, metavar="NAME", help="the folder to make, and so the kernel's name"
    )
    group = parser.add_argument_group("the source")
    group.add_argument("--c", action="store_true", help="in C instead of assembly")
    parser.set_defaults(run=_new)


def _new(options: argparse.Namespace) -> int:
    folder: Path = options.name
    if not _NAME.fullmatch(folder.name):
        raise UsageError(f"{folder.name!r} is no name of a kernel: letters, digits, - and _, a letter first")
    if folder.name in guest_kernels.names():
        raise UsageError(
            f"there is a guest kernel {folder.name} already: `paravane boot` would take that one"
        )
    kind = "c" if options.c else "S"
    files = {
        f"{folder.name}.{kind}": _C if options.c else _ASSEMBLY,
        "kernel.toml": _SETTINGS,
        "expected.txt": _EXPECTED,
        "README.md": _README,
    }
    filled = {
        name: text.replace("@NAME@", folder.name).replace("@KIND@", kind).encode()
        for name, text in files.items()
    }
    make_folder(folder, filled)
    print(f"{shown(str(folder))}: {', '.join(files)}")
    print(f"next: paravane boot {_quoted(folder)}, then change {_quoted(folder / next(iter(files)))}")
    return Status.OK


def _quoted(path: Path) -> str:
    """A path as a shell takes it, on one line."""
    return shown(shlex.quote(str(path)))
