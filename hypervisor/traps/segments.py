"""Segments as Xen sees them when it acts for a guest: by descriptor, not by what the processor has cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import SegmentFault
from paravane.cpu.entry import descriptor
from paravane.cpu.segments import Descriptor, check_data
from paravane.memory.descriptors import FLAT_DESCRIPTORS

if TYPE_CHECKING:
    from paravane.traps.state import TrapState


# The flat segments of the reserved part of every GDT never change, so nobody has to look them up.
_FLAT: Final = {
    int(selector): Descriptor(int(selector), 0, 0xFFFFFFFF, raw >> 32)
    for selector, raw in FLAT_DESCRIPTORS.items()
}
FLAT_SELECTORS: Final = frozenset(_FLAT)
_NULL: Final = Descriptor(0, 0, 0, 0)


def reach(state: TrapState, selector: int) -> None:
    """Have the page of the LDT that holds `selector` mapped, as a use of it by the processor would have it.

    Whether that succeeds shows when the descriptor is read.
    """
    if selector & 4:
        state.host.map_ldt_page(selector & 0xFFF8)


def _descriptor(state: TrapState, selector: int) -> Descriptor:
    reach(state, selector)
    return descriptor(state.cpu, selector)


def read_segment(state: TrapState, selector: int) -> Descriptor | None:
    """The segment `selector` names; all zeroes for a null selector; None when its descriptor is out of
    reach."""
    flat = _FLAT.get(selector)
    if flat is not None:
        return flat
    if selector < 4:
        return _NULL
    try:
        return _descriptor(state, selector)
    except SegmentFault:
        return None


def frame_base(state: TrapState, selector: int) -> int:
    """Base of a stack segment as Xen's frame builder gets it: by loading it as a data segment in ring 0.

    SegmentFault when that load fails. A null selector has base 0 in the 64-bit mode Xen runs in.
    """
    flat = _FLAT.get(selector)
    if flat is not None:
        return flat.base
    if selector < 4:
        return 0
    found = _descriptor(state, selector)
    check_data(found, 0)
    return found.base
