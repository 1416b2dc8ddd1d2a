"""Every directive by name. A handler reads its operands from the scanner and works on the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.directives import (
    call_frames,
    conditions,
    debugging,
    filling,
    floating,
    inputs,
    integers,
    linkage,
    placement,
    repeats,
    storage,
    strings,
    syntax,
)
from paravane.asm.spelling import did_you_mean

if TYPE_CHECKING:
    from paravane.asm.directives.declaration import Handler

_MODULES = (
    call_frames, conditions, debugging, filling, floating, inputs, integers, linkage, placement, repeats,
    storage, strings, syntax,
)  # fmt: skip
_TABLE: dict[str, Handler] = {name: handler for module in _MODULES for name, handler in module.TABLE.items()}


def find(name: str) -> Handler | None:
    """The handler of a directive, by its lower-case name with the dot."""
    return _TABLE.get(name)


def unknown(name: str) -> str:
    """The message for an unknown directive."""
    return f"unknown directive `{name}`{did_you_mean(name, _TABLE)}"


__all__ = ["find", "unknown"]
