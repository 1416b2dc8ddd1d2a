"""`paravane list`: the guest kernels that come with Paravane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import guest_kernels
from paravane.tools.status import Status

if TYPE_CHECKING:
    import argparse


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane list`: no arguments."""
    parser.description = __doc__
    parser.epilog = "example:\n  paravane list                         then `paravane boot NAME`"
    parser.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    names = guest_kernels.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {guest_kernels.load(name).description}")
    return Status.OK
