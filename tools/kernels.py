"""`paravane list`: the guest kernels that come with Paravane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import guest_kernels
from paravane.tools.status import Status

if TYPE_CHECKING:
    import argparse

    from paravane.tools.arguments import Commands


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("list", aliases=["kernels"], help="the guest kernels that come with it")
    parser.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    names = guest_kernels.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {guest_kernels.load(name).description}")
    return Status.OK
