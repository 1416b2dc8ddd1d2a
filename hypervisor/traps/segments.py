"""Segments as Xen sees them when it acts for a guest: by descriptor, not by what the processor has cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from paravane.abi.arch import FlatSelector
from paravane.cpu import SegmentFault
from paravane.cpu.entry import descriptor
from paravane.cpu.segments import check_data
from paravane.x86 import DescriptorFlags

if TYPE_CHECKING:
    from paravane.cpu.segments import Descriptor
    from paravane.traps.state import TrapState


_CODE: Final = int(DescriptorFlags.NOT_SYSTEM | DescriptorFlags.CODE)
_PRESENT: Final = int(DescriptorFlags.PRESENT)


class Segment(NamedTuple):
    """Base and limit in bytes; `flags` is the descriptor's high word."""

    base: int
    limit: int
    flags: int

    @property
    def dpl(self) -> int:
        return self.flags >> 13 & 3

    @property
    def is_present(self) -> bool:
        return self.flags & _PRESENT != 0

    @property
    def is_code(self) -> bool:
        return self.flags & _CODE == _CODE

    @property
    def is_conforming(self) -> bool:
        return self.is_code and self._is(DescriptorFlags.CONFORMING_OR_DOWN)

    @property
    def expands_down(self) -> bool:
        return not self.is_code and self._is(DescriptorFlags.CONFORMING_OR_DOWN)

    @property
    def is_writable(self) -> bool:
        """A writable data segment."""
        wanted = DescriptorFlags.NOT_SYSTEM | DescriptorFlags.WRITABLE_OR_READABLE
        return self._is(wanted) and not self.is_code

    @property
    def is_readable(self) -> bool:
        """Any data segment, or a readable code segment."""
        if not self._is(DescriptorFlags.NOT_SYSTEM):
            return False
        return not self.is_code or self._is(DescriptorFlags.WRITABLE_OR_READABLE)

    @property
    def bits(self) -> int:
        """Default operand and address size of a code segment."""
        return 32 if self.flags & DescriptorFlags.BIG else 16

    def contains(self, offset: int, size: int) -> bool:
        """Whether `size` bytes at `offset` lie within the limit (Xen ignores the expand-down bit here)."""
        return offset + size - 1 <= self.limit

    def _is(self, flags: int) -> bool:
        return self.flags & flags == flags


# The flat segments of the reserved part of every GDT never change, so nobody has to look them up.
_FLAT: Final = {
    int(FlatSelector.RING1_CS): Segment(0, 0xFFFFFFFF, 0x00CFBB00),
    int(FlatSelector.RING1_DS): Segment(0, 0xFFFFFFFF, 0x00CFB300),
    int(FlatSelector.RING3_CS): Segment(0, 0xFFFFFFFF, 0x00CFFB00),
    int(FlatSelector.RING3_DS): Segment(0, 0xFFFFFFFF, 0x00CFF300),
}
FLAT_SELECTORS: Final = frozenset(_FLAT)
_NULL: Final = Segment(0, 0, 0)


def reach(state: TrapState, selector: int) -> None:
    """Have the page of the LDT that holds `selector` mapped, as a use of it by the processor would have it.

    Whether that succeeds shows when the descriptor is read.
    """
    if selector & 4:
        state.host.map_ldt_page(selector & 0xFFF8)


def _descriptor(state: TrapState, selector: int) -> Descriptor:
    reach(state, selector)
    return descriptor(state.cpu, selector)


def read_segment(state: TrapState, selector: int) -> Segment | None:
    """The segment `selector` names; all zeroes for a null selector; None when its descriptor is out of
    reach."""
    flat = _FLAT.get(selector)
    if flat is not None:
        return flat
    if selector < 4:
        return _NULL
    try:
        found = _descriptor(state, selector)
    except SegmentFault:
        return None
    return Segment(found.base, found.limit, found.flags)


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
