"""What a hypercall is given and gives back, as its record has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from paravane.abi.layout import Layout
    from paravane.abi.parameters import Parameter


class Argument(NamedTuple):
    """One argument of a hypercall: its name and kind, the register `word`, and the value decoded from it.

    The value is a number, a struct (None where it cannot be read), or of an array the first structs.
    """

    name: str
    kind: Parameter
    word: int
    value: Any


class Written(NamedTuple):
    """A struct that a hypercall has put into guest memory."""

    layout: Layout[Any]
    value: Any
