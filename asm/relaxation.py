"""Addresses within the sections of a unit: branches start short and grow until everything reaches.

The passes are those of GNU as, for where alignments lie between a branch and its target they decide which of
several valid layouts comes out. A pass goes through the regions in order and moves each by what has grown
before it. A target that this pass has not come to yet is assumed to move along, but not across an alignment
or an origin, which may take up the growth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.evaluation import READING, Unresolved, evaluate
from paravane.asm.leb128 import leb128
from paravane.asm.model import MAX_OUTPUT, Align, Branch, Gap, Leb, Region, Value
from paravane.asm.program import STB_WEAK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.asm.diagnostics import Reporter
    from paravane.asm.model import Symbol, UnitSection

_MAX_PASSES = 200  # of one section; each lets at least one branch grow, or ends a chain of dependent sizes
_MAX_ROUNDS = 10  # through all sections, whose sizes may depend on each other


class _BranchPlaces:
    """Places of branch targets: a label is an offset into its section; a weak one may turn out elsewhere."""

    def place(self, symbol: Symbol) -> Value | None:
        region = symbol.region
        if region is None or symbol.binding == STB_WEAK:
            return None
        return Value(region.section, region.offset + symbol.offset)


class LayoutPlaces:
    """Places for sizes: here a weak label of this unit counts as what it is."""

    def place(self, symbol: Symbol) -> Value | None:
        region = symbol.region
        return None if region is None else Value(region.section, region.offset + symbol.offset)


_BRANCHES = _BranchPlaces()
_SIZES = LayoutPlaces()


def lay_out(sections: Sequence[UnitSection], reporter: Reporter) -> None:
    """Sets `offset` and `tail_size` of every region of a unit's sections."""
    moving = True
    for _ in range(_MAX_ROUNDS):
        if not moving:
            break
        moving = False
        for section in sections:
            moving |= _settle(section, reporter)
    for section in sections:
        _check_sizes(section, reporter)


def section_size(section: UnitSection) -> int:
    last = section.regions[-1]
    return last.offset + last.size


def _settle(section: UnitSection, reporter: Reporter) -> bool:
    """Lays out one section; returns whether any region ended up elsewhere than before."""
    regions = section.regions
    before = [region.offset for region in regions]
    if not any(region.tail for region in regions[:-1]):
        _start(regions)
        return before != [region.offset for region in regions]
    _start(regions)
    passes = 0
    while (moved := _pass(regions)) is not None:
        passes += 1
        if passes > _MAX_PASSES and not isinstance(moved, Branch):
            reporter.error("this size depends on itself: the layout never settles", moved.statement.locate())
            break
    return before != [region.offset for region in regions]


def _start(regions: list[Region]) -> None:
    """First offsets: branches as they are, alignments as they fall, all other sizes at their least."""
    offset = span = 0
    for place, region in enumerate(regions):
        region.place, region.span, region.offset = place, span, offset
        offset += region.size
        tail = region.tail
        if isinstance(tail, Gap):
            tail.size = 0
        elif isinstance(tail, Leb):
            tail.size = 1
        region.tail_size = 0 if tail is None else tail.measure(offset)
        offset += region.tail_size
        span += isinstance(tail, Align) or (isinstance(tail, Gap) and tail.is_origin)


def _pass(regions: list[Region]) -> Branch | Align | Gap | Leb | None:
    """Moves every region by what has grown before it; returns a tail that changed its size, if any."""
    stretch = 0
    moved = None
    for region in regions:
        region.offset += stretch
        tail = region.tail
        if tail is None:
            continue
        end = region.offset + region.size
        if isinstance(tail, Branch):
            tail.is_long = tail.is_long or not _reaches(tail, region, stretch)
        elif isinstance(tail, Gap):
            tail.size = _provisional_size(tail, region)
        elif isinstance(tail, Leb):
            tail.size = _leb_size(tail)
        size = tail.measure(end)
        if size != region.tail_size:
            stretch += size - region.tail_size
            region.tail_size, moved = size, tail
    return moved


def _reaches(branch: Branch, region: Region, stretch: int) -> bool:
    """Whether the two-byte form reaches, as far as this pass knows."""
    target = _branch_target(branch)
    if target is None or target.base is not region.section:
        return False
    place = target.offset
    if stretch:
        there = _region_of(branch)
        if there is not None and there.place > region.place:
            if stretch < 0 or there.span == region.span:
                place += stretch
            elif place < region.offset:
                return True  # the growth before us is not yet counted there: a later pass decides
    distance = place - (region.offset + region.size + region.tail_size)
    return -128 <= distance <= 127


def _branch_target(branch: Branch) -> Value | None:
    try:
        return evaluate(branch.target, _BRANCHES)
    except Unresolved:
        return None


def _region_of(branch: Branch) -> Region | None:
    """The region that a target counts from; None where it is computed from several."""
    try:
        base = evaluate(branch.target, READING).base
    except Unresolved:
        return None
    return base if isinstance(base, Region) else None


def _provisional_size(gap: Gap, region: Region) -> int:
    """The size as far as it can be told; what is wrong with it is said when nothing moves any more."""
    try:
        return _gap_size(gap, region)
    except SourceError:
        return 0


def _leb_size(leb: Leb) -> int:
    try:
        value = evaluate(leb.value, _SIZES)
    except Unresolved:
        return 1
    return len(leb128(value.offset, is_signed=leb.is_signed))


def _check_sizes(section: UnitSection, reporter: Reporter) -> None:
    """Reports gaps without a valid size, and takes the others from what may be produced."""
    for region in section.regions:
        if isinstance(region.tail, Gap):
            try:
                section.budget.take(_gap_size(region.tail, region))
            except SourceError as error:
                reporter.error(error.message, region.tail.statement.locate())


def _gap_size(gap: Gap, region: Region) -> int:
    try:
        value = evaluate(gap.amount, _SIZES)
    except Unresolved as reason:
        raise SourceError(f"size is not a constant: {reason}") from None
    if gap.is_origin:
        if value.base is not None and value.base is not region.section:
            raise SourceError("`.org` needs a place in the same section")
        size = value.offset - (region.offset + region.size)
    elif value.base is None:
        size = value.offset
    else:
        raise SourceError("size is not a constant")
    if size < 0:
        raise SourceError("cannot move backwards")
    if size > MAX_OUTPUT:
        raise SourceError(f"output grows over {MAX_OUTPUT >> 20} MiB")
    return size
