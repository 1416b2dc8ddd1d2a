"""Directives of conditional assembly: `.if` and its relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.scrubber import kept_blanks, scrubbed_rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}


def _condition(*names: str) -> Callable[[Callable[[Unit, Scanner], bool]], Callable[[Unit, Scanner], bool]]:
    """Enters an `.if` directive; its condition is not read inside code that is skipped anyway."""

    def enter(test: Callable[[Unit, Scanner], bool]) -> Callable[[Unit, Scanner], bool]:
        def handler(unit: Unit, scanner: Scanner) -> None:
            if unit.conditionals.skipping:
                scanner.rest()
                unit.conditionals.open(False, unit.statement.locate())
                return
            try:
                condition = test(unit, scanner)
            except SourceError:
                unit.conditionals.open(False, unit.statement.locate())
                raise
            unit.conditionals.open(condition, unit.statement.locate())

        TABLE.update({"." + name: handler for name in names})
        return test

    return enter


@_condition("if", "ifne")
def _if(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") != 0


@_condition("ifeq")
def _ifeq(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") == 0


@_condition("ifgt")
def _ifgt(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") > 0


@_condition("ifge")
def _ifge(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") >= 0


@_condition("iflt")
def _iflt(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") < 0


@_condition("ifle")
def _ifle(unit: Unit, scanner: Scanner) -> bool:
    return unit.constant(scanner, "the condition") <= 0


@_condition("ifdef")
def _ifdef(unit: Unit, scanner: Scanner) -> bool:
    return unit.symbols.is_defined(scanner.expect_name())


@_condition("ifndef", "ifnotdef")
def _ifndef(unit: Unit, scanner: Scanner) -> bool:
    return not unit.symbols.is_defined(scanner.expect_name())


@_condition("ifb")
def _ifb(_unit: Unit, scanner: Scanner) -> bool:
    return scanner.rest() == ""


@_condition("ifnb")
def _ifnb(_unit: Unit, scanner: Scanner) -> bool:
    return scanner.rest() != ""


@_condition("ifc")
def _ifc(_unit: Unit, scanner: Scanner) -> bool:
    first, comma, second = scrubbed_rest(scanner, kept_blanks(scanner.text)).partition(",")
    if not comma:
        raise scanner.error("expected `,`")
    return first == second


@_condition("ifnc")
def _ifnc(unit: Unit, scanner: Scanner) -> bool:
    return not _ifc(unit, scanner)


@_condition("ifeqs")
def _ifeqs(_unit: Unit, scanner: Scanner) -> bool:
    first = scanner.string()
    scanner.expect(",")
    return first == scanner.string()


@_condition("ifnes")
def _ifnes(unit: Unit, scanner: Scanner) -> bool:
    return not _ifeqs(unit, scanner)


@directive(TABLE, "elseif")
def _elseif(unit: Unit, scanner: Scanner) -> None:
    if not unit.conditionals.wants_condition():
        scanner.rest()
        unit.conditionals.elseif(False)
        return
    unit.conditionals.elseif(unit.constant(scanner, "the condition") != 0)


@directive(TABLE, "else", "elsec")
def _else(unit: Unit, _scanner: Scanner) -> None:
    unit.conditionals.otherwise()


@directive(TABLE, "endif", "endc")
def _endif(unit: Unit, _scanner: Scanner) -> None:
    unit.conditionals.close(unit.reader.frames[-1].conditions)
