"""`paravane info` and `paravane disasm`: what an image is, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.image import ImageError, load_image
from paravane.image.unpack import unpack
from paravane.tools import images
from paravane.tools.disasm import DisasmError, disassemble
from paravane.tools.info import describe
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    import argparse


def define_info(parser: argparse.ArgumentParser) -> None:
    """`paravane info KERNEL`."""
    parser.description = "Tell what an image is, without running it."
    parser.epilog = "examples:\n  paravane info greet.S\n  paravane info vmlinuz"
    images.add_image(parser)
    parser.set_defaults(run=_info)


def define_disasm(parser: argparse.ArgumentParser) -> None:
    """`paravane disasm KERNEL`."""
    parser.description = "Disassemble an image, with its symbols and source lines where it has them."
    parser.epilog = "examples:\n  paravane disasm greet.elf | less\n  paravane disasm hello"
    images.add_image(parser)
    parser.set_defaults(run=_disasm)


def _info(options: argparse.Namespace) -> int:
    try:
        print(describe(load_image(images.find(options).data)), end="")
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    return Status.OK


def _disasm(options: argparse.Namespace) -> int:
    try:
        for line in disassemble(unpack(images.find(options).data)):
            print(line)
    except (DisasmError, ImageError) as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None
    return Status.OK
