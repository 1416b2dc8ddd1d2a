"""Directives about the language itself: which syntax, processor and code size a source is written for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.reader import directive_of

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}


@directive(TABLE, "att_syntax")
def _att_syntax(_unit: Unit, scanner: Scanner) -> None:
    word = scanner.rest()
    if word == "noprefix":
        raise SourceError("`.att_syntax noprefix` is not supported: write registers as `%eax`")
    if word not in ("", "prefix"):
        raise SourceError(f"`.att_syntax` takes `prefix`, not `{word}`")


@directive(TABLE, "intel_syntax", "intel_mnemonic")
def _intel_syntax(unit: Unit, scanner: Scanner) -> None:
    """There is but one syntax; what follows would only be misunderstood, so the unit ends here."""
    word = directive_of(scanner.text)
    scanner.rest()
    unit.reader.frames.clear()
    if len(unit.conditionals):
        unit.conditionals.truncate(0)
    raise SourceError(
        f"`{word}` is not supported: this assembler takes AT&T syntax, `movl $1, %eax` for `mov eax, 1`"
    )


@directive(TABLE, "code16", "code16gcc", "code64")
def _other_code(_unit: Unit, scanner: Scanner) -> None:
    raise SourceError(f"`{directive_of(scanner.text)}`: a PV kernel runs 32-bit code only")


@directive(TABLE, "altmacro")
def _altmacro(_unit: Unit, _scanner: Scanner) -> None:
    raise SourceError("`.altmacro` is not supported; write `\\@` for unique labels")


@directive(TABLE, "mri")
def _mri(unit: Unit, scanner: Scanner) -> None:
    if unit.constant(scanner, "the mode"):
        raise SourceError("`.mri 1` is not supported: the syntax is GNU's")


@directive(TABLE, "bundle_align_mode")
def _bundle(unit: Unit, scanner: Scanner) -> None:
    if unit.constant(scanner, "the size of a bundle"):
        raise SourceError("instruction bundles are not supported: no kernel is checked for them")


@directive(TABLE, "code32", "att_mnemonic", "noaltmacro", "arch", "allow_index_reg", "disallow_index_reg")
@directive(TABLE, "sse_check", "operand_check", "optim", "noopt")
def _usual(_unit: Unit, scanner: Scanner) -> None:
    """What is so anyway, or what GNU as only warns by."""
    scanner.rest()


@directive(TABLE, "list", "nolist", "eject", "psize", "title", "sbttl", "page", "nopage", "name", "lflags")
@directive(TABLE, "llen", "plen", "format", "noformat", "debug", "spc")
def _listing(_unit: Unit, scanner: Scanner) -> None:
    """How GNU as prints a listing: ours is asked for on the command line."""
    scanner.rest()
