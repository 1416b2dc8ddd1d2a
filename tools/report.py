"""`paravane info` and `paravane disasm`: what an image is, without running it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from paravane.image import ImageError
from paravane.image.unpack import unpack
from paravane.tools import images, manual
from paravane.tools.disasm import DisasmError, disassemble
from paravane.tools.info import describe
from paravane.tools.progress import telling
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import STDOUT

if TYPE_CHECKING:
    import argparse

_STATUSES: Final = (
    (Status.OK, "it was told"),
    manual.SOURCES,
    manual.UNREADABLE,
    manual.NO_IMAGE,
    manual.INTERRUPTED,
)
_FILES: Final = (manual.SETTINGS, manual.CACHE)


def define_info(parser: argparse.ArgumentParser) -> None:
    """`paravane info KERNEL`."""
    parser.description = "Tell what an image is, without running it."
    parser.usage = "%(prog)s KERNEL [options]"
    parser.epilog = manual.epilog(
        """\
What is told: the guest's name and ABI, where the kernel lies and is entered, how little
memory it needs, its notes, segments, symbols and lines. Hypercalls are looked for in the
code, which is a hint: what is computed at run time is not seen.""",
        statuses=_STATUSES,
        files=_FILES,
        environment=(manual.CACHE_HOME,),
        examples=(
            ("paravane info greet.S", ""),
            ("paravane info vmlinuz", "packed or not"),
            ("paravane info hello", "a kernel of `paravane list`"),
        ),
    )
    images.add_image(parser)
    parser.set_defaults(run=_info)


def define_disasm(parser: argparse.ArgumentParser) -> None:
    """`paravane disasm KERNEL`."""
    parser.description = "Disassemble an image, with its symbols and source lines where it has them."
    parser.usage = "%(prog)s KERNEL [options]"
    parser.epilog = manual.epilog(
        """\
AT&T syntax, in the order of addresses. Symbols are labels; `.byte` is what is no
instruction; a long run of zeros is one line.""",
        statuses=_STATUSES,
        files=_FILES,
        environment=(manual.CACHE_HOME,),
        examples=(
            ("paravane disasm greet.elf | less", ""),
            ("paravane disasm hello > hello.lst", "a kernel of `paravane list`"),
        ),
    )
    images.add_image(parser)
    parser.set_defaults(run=_disasm)


def _info(options: argparse.Namespace) -> int:
    image = images.load(options, images.find(options).data)
    with telling(lambda: f"looking through {options.image}"):
        text = describe(image)
    print(text, end="")
    return Status.OK


def _disasm(options: argparse.Namespace) -> int:
    count = 0
    # What goes to a terminal is its own progress.
    wanted = not os.isatty(STDOUT)
    try:
        with telling(lambda: f"disassembling {options.image}, {count} lines", wanted=wanted):
            for count, line in enumerate(disassemble(unpack(images.find(options).data))):  # noqa: B007
                print(line)
    except (DisasmError, ImageError) as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    return Status.OK
