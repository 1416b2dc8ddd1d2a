"""`paravane info` and `paravane disasm`: what an image is, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paravane.image import ImageError, load_image
from paravane.tools.disasm import DisasmError, disassemble
from paravane.tools.files import read_file
from paravane.tools.info import describe
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    import argparse


def define_info(parser: argparse.ArgumentParser) -> None:
    """`paravane info IMAGE`."""
    parser.description = "Tell what an image is, without running it."
    parser.epilog = "example:\n  paravane info greet.elf"
    _add_image(parser)
    parser.set_defaults(run=_info)


def define_disasm(parser: argparse.ArgumentParser) -> None:
    """`paravane disasm IMAGE`."""
    parser.description = "Disassemble an image, with its symbols and source lines where it has them."
    parser.epilog = "example:\n  paravane disasm greet.elf | less"
    _add_image(parser)
    parser.set_defaults(run=_disasm)


def _add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "image",
        type=Path,
        metavar="IMAGE",
        help="a kernel: ELF, packed or not, or a bzImage; `paravane build` makes one of sources",
    )


def _info(options: argparse.Namespace) -> int:
    try:
        print(describe(load_image(read_file(options.image, "an image"))), end="")
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    return Status.OK


def _disasm(options: argparse.Namespace) -> int:
    try:
        for line in disassemble(read_file(options.image, "an image")):
            print(line)
    except DisasmError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    return Status.OK
