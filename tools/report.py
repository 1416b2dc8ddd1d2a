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

    from paravane.tools.arguments import Commands


def add_info(commands: Commands) -> None:
    parser = commands.add_parser(
        "info", help="what an image is: notes, segments, entry, hypercalls it seems to use"
    )
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.set_defaults(run=_info)


def add_disasm(commands: Commands) -> None:
    parser = commands.add_parser("disasm", help="disassemble an image, with symbols and source lines")
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.set_defaults(run=_disasm)


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
