"""How the parameters of hypercalls are passed: what a register or a pointer means, and how it reads as text.

The signatures of hypercalls are written with these kinds (paravane.hypercalls): their decoders and their
trace lines follow from them.
"""

from collections.abc import Callable
from typing import Annotated, Any

from paravane.abi.domid import DomId
from paravane.abi.layout import Layout
from paravane.classes import dataclass

COUNT_BITS = 0x7FFF_FFFF
"""Bits of a count that count: the top one says that the call is the rest of an earlier one."""


@dataclass(frozen=True, slots=True)
class Word:
    """A parameter that is one register: how it reads, whether it is signed, and what it is in words."""

    text: Callable[[int], str]
    signed: bool = False
    meaning: str = "number"

    def value(self, word: int) -> int:
        return word - (1 << 32) if self.signed and word & 0x8000_0000 else word


class In:
    """A parameter that is a pointer to a struct, copied in before the call."""

    def __init__(self, layout: Layout[Any]) -> None:
        self.layout = layout


class InOut:
    """Like `In`; the struct the call ends with is copied back to the guest."""

    def __init__(self, layout: Layout[Any]) -> None:
        self.layout = layout


class Items:
    """A pointer to an array of structs that the call reads itself; the next parameter counts them."""

    def __init__(self, layout: Layout[Any]) -> None:
        self.layout = layout


Parameter = Word | In | InOut | Items


def domid_text(value: int) -> str:
    """A domain id of 16 bits, by its name where it is no domain's number."""
    domid = value & 0xFFFF
    return f"DOMID_{DomId(domid).name}" if domid in DomId._value2member_map_ else str(domid)


UInt = Annotated[int, Word(lambda value: str(value) if value < 0x10000 else hex(value))]
Int = Annotated[int, Word(str, signed=True, meaning="signed number")]
Hex = Annotated[int, Word(hex)]
Ptr = Annotated[int, Word(hex, meaning="address")]
Domid = Annotated[int, Word(domid_text, meaning="domain id")]
