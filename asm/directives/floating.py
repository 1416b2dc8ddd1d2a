"""Directives that write floating-point numbers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from paravane.asm.floats import BFLOAT16, DOUBLE, EXTENDED, HALF, SINGLE, FloatFormat, read_float

if TYPE_CHECKING:
    from paravane.asm.directives.declaration import Handler
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

_FORMATS = {
    HALF: ("hfloat",), BFLOAT16: ("bfloat16",), SINGLE: ("float", "single", "ffloat", "dc.s"),
    DOUBLE: ("double", "dfloat", "dc.d"), EXTENDED: ("tfloat", "dc.x"),
}  # fmt: skip
_REPEATED = {"dcb.s": SINGLE, "dcb.d": DOUBLE, "dcb.x": EXTENDED}


def _floats(unit: Unit, scanner: Scanner, form: FloatFormat) -> None:
    while not scanner.at_end():
        unit.section.emit(read_float(scanner, form))
        if not scanner.accept(","):
            return


def _repeated(unit: Unit, scanner: Scanner, form: FloatFormat) -> None:
    """`.dcb.s count, value`."""
    scanner.skip_space()
    start = scanner.pos
    count = unit.constant(scanner, "the count")
    if count < 0:
        raise scanner.error("count is negative", start)
    scanner.expect(",")
    unit.section.reserve(count * form.size, read_float(scanner, form))


TABLE: dict[str, Handler] = {
    f".{name}": partial(_floats, form=form) for form, names in _FORMATS.items() for name in names
}
TABLE |= {f".{name}": partial(_repeated, form=form) for name, form in _REPEATED.items()}
