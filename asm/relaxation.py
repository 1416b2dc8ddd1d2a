"""Addresses within the sections of a unit: assign them all, grow what does not reach, until nothing moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.evaluation import Unresolved, evaluate
from paravane.asm.model import MAX_OUTPUT, Branch, Gap, UnitSection, Value
from paravane.asm.program import STB_WEAK

if TYPE_CHECKING:
    from paravane.asm.diagnostics import Reporter
    from paravane.asm.model import Region, Symbol

_MAX_PASSES = 64


class LayoutPlaces:
    """Places during layout: a label is an offset into its section; a weak one may turn out elsewhere."""

    def place(self, symbol: Symbol) -> Value | None:
        region = symbol.region
        if region is None or symbol.binding == STB_WEAK:
            return None
        return Value(region.section, region.offset + symbol.offset)


class GapPlaces:
    """Places for sizes: here a weak label of this unit counts as what it is."""

    def place(self, symbol: Symbol) -> Value | None:
        region = symbol.region
        return None if region is None else Value(region.section, region.offset + symbol.offset)


_BRANCHES = LayoutPlaces()
_GAPS = GapPlaces()


def lay_out(section: UnitSection, reporter: Reporter) -> None:
    """Sets `offset` of every region, and the final size of every branch and gap of the section."""
    passes = 0
    while True:
        moved = _assign(section)
        passes += 1
        grown = _grow_branches(section, passes > _MAX_PASSES)
        if not grown and (moved is None or passes > 2 * _MAX_PASSES):
            break
    if moved is not None:
        message = "this size depends on itself: the layout never settles"
        reporter.error(message, moved.statement.locate())
    _check_gaps(section, reporter)


def section_size(section: UnitSection) -> int:
    last = section.regions[-1]
    return last.offset + last.size


def _assign(section: UnitSection) -> Gap | None:
    """Gives every region its offset; returns a gap whose size is another than in the pass before, if any.

    Gaps are sized on the way: a `.org` counts from offsets of this pass, never from those of the last.
    """
    offset = 0
    moved = None
    for region in section.regions:
        region.offset = offset
        offset += region.size
        if isinstance(region.tail, Gap):
            size = _provisional_size(region.tail, region)
            if size != region.tail.size:
                region.tail.size, moved = size, region.tail
        region.tail_size = 0 if region.tail is None else region.tail.measure(offset)
        offset += region.tail_size
    return moved


def _provisional_size(gap: Gap, region: Region) -> int:
    """The size as far as it can be told; what is wrong with it is said when nothing moves any more."""
    try:
        return _gap_size(gap, region)
    except SourceError:
        return 0


def _grow_branches(section: UnitSection, force: bool) -> bool:
    """Makes every short branch that does not reach long. They never shrink, so this ends."""
    changed = False
    for region in section.regions:
        branch = region.tail
        if not isinstance(branch, Branch) or branch.is_long:
            continue
        if not _reaches(branch, region) or (force and changed):
            branch.is_long = changed = True
    return changed


def _reaches(branch: Branch, region: Region) -> bool:
    try:
        target = evaluate(branch.target, _BRANCHES)
    except Unresolved:
        return False
    if target.base is not region.section:
        return False
    distance = target.offset - (region.offset + region.size + region.tail_size)
    return -128 <= distance <= 127


def _check_gaps(section: UnitSection, reporter: Reporter) -> None:
    """Reports gaps without a valid size, and takes the others from what may be produced."""
    for region in section.regions:
        if isinstance(region.tail, Gap):
            try:
                section.budget.take(_gap_size(region.tail, region))
            except SourceError as error:
                reporter.error(error.message, region.tail.statement.locate())


def _gap_size(gap: Gap, region: Region) -> int:
    try:
        value = evaluate(gap.amount, _GAPS)
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
