"""Directives that write strings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paravane.asm.directives.declaration import Handler
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit


def _strings(unit: Unit, scanner: Scanner, *, width: int, closed: bool) -> None:
    """`"text"[ "more"]...`: strings in a row are one; each of their bytes takes `width` bytes."""
    while not scanner.at_end():
        text = _part(unit, scanner)
        while scanner.peek() in ('"', "<"):
            text += _part(unit, scanner)
        unit.section.emit(b"".join(byte.to_bytes(width, "little") for byte in text + bytes(closed)))
        if not scanner.accept(","):
            return


def _part(unit: Unit, scanner: Scanner) -> bytes:
    """A string, or one byte as `<number>`."""
    if not scanner.accept("<"):
        return scanner.string()
    value = scanner.number()
    if not isinstance(value, int):
        raise scanner.error("expected a number")
    scanner.expect(">")
    return bytes((value & 0xFF,))


TABLE: dict[str, Handler] = {".ascii": partial(_strings, width=1, closed=False)}
TABLE |= dict.fromkeys((".asciz", ".string", ".string8"), partial(_strings, width=1, closed=True))
TABLE |= {f".string{8 * width}": partial(_strings, width=width, closed=True) for width in (2, 4, 8)}
