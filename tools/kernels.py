"""`paravane list`: the guest kernels that come with Paravane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import guest_kernels
from paravane.tools import manual
from paravane.tools.status import Status

if TYPE_CHECKING:
    import argparse


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane list`: no arguments."""
    parser.description = "List the guest kernels that come with it, each with what it shows."
    parser.epilog = manual.epilog(
        "Each name stands for a KERNEL of `boot`, `info`, `disasm` and `test`. Those marked `run` bring the\n"
        "files of several domains as well, which `run` of the name puts on one machine.",
        examples=(
            ("paravane list", "every name"),
            ("paravane boot hello", "one of them"),
            ("paravane run pingpong", "one that is marked `run`"),
        ),
    )
    parser.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    names = guest_kernels.names()
    width = max(map(len, names))
    for name in names:
        together = "run" if any(guest_kernels.folder_of(name).glob("*.cfg")) else ""
        print(f"{name:<{width}}  {together:<3}  {guest_kernels.load(name).description}")
    return Status.OK
