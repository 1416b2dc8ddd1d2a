"""Addresses within the sections of a unit: assign them all, grow what does not reach, until nothing moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asm.diagnostics import SourceError
from asm.expressions import Unresolved, Value, evaluate
from asm.program import STB_WEAK
from asm.sections import MAX_OUTPUT, Branch, Gap, UnitSection

if TYPE_CHECKING:
    from asm.diagnostics import Reporter
    from asm.sections import Region
    from asm.symbols import Symbol

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
        _assign(section)
        passes += 1
        changed = _grow_branches(section, passes > _MAX_PASSES)
        changed |= _resize_gaps(section, reporter, passes)
        if not changed:
            return


def section_size(section: UnitSection) -> int:
    last = section.regions[-1]
    return last.offset + last.size


def _assign(section: UnitSection) -> None:
    offset = 0
    for region in section.regions:
        region.offset = offset
        offset += region.size
        region.tail_size = 0 if region.tail is None else region.tail.measure(offset)
        offset += region.tail_size


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


def _resize_gaps(section: UnitSection, reporter: Reporter, passes: int) -> bool:
    changed = False
    for region in section.regions:
        gap = region.tail
        if not isinstance(gap, Gap):
            continue
        try:
            size = _gap_size(gap, region)
            if size != gap.size and passes > _MAX_PASSES:
                raise SourceError("this size depends on itself: the layout never settles")
        except SourceError as error:
            reporter.error(error.message, gap.statement.locate())
            size = gap.size
        if size != gap.size:
            section.budget.left -= size - gap.size
            gap.size, changed = size, True
    return changed


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
    if size > min(MAX_OUTPUT, gap.size + region.section.budget.left):
        raise SourceError(f"output grows over {MAX_OUTPUT >> 20} MiB")
    return size
