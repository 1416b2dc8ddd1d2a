"""The disassembler, in AT&T's syntax."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capstone import Cs


def disassembler(*, big: bool) -> Cs:
    """Decodes code of 32 bits, or of 16 unless `big`.

    Capstone is loaded by the first who asks. It is a tenth of what starting to boot a kernel takes, and most
    kernels end without anybody having looked at their code.
    """
    capstone = import_module("capstone")
    made: Cs = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32 if big else capstone.CS_MODE_16)
    made.syntax = capstone.CS_OPT_SYNTAX_ATT
    return made
