"""One translation unit being read: sections, symbols, macros, conditionals, and the loop over statements."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.asm import directives
from paravane.asm.conditionals import Conditionals
from paravane.asm.diagnostics import Expansion, LocatedError, Reporter, SourceError
from paravane.asm.expressions import Number, Reference, parse
from paravane.asm.instructions import assemble_instruction, fixups
from paravane.asm.lexer import NAME, Scanner
from paravane.asm.macros import Macro, bind
from paravane.asm.reader import Count, Frame, Reader, TooManyStatements, directive_of, expand
from paravane.asm.sections import Branch, Budget, Fixup, Instruction, UnitSection, default_attributes
from paravane.asm.source import Statement, read_text, statements
from paravane.asm.symbols import Symbol, SymbolTable, constant, rests_on_pending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from paravane.asm.encoder import Encoded
    from paravane.asm.expressions import Node

_LABEL = re.compile(r"[ \t\f\v\r]*(?:([A-Za-z_.$][A-Za-z0-9_.$]*)|([0-9]+))[ \t\f\v\r]*:")
_ASSIGNMENT = re.compile(r"[ \t\f\v\r]*([A-Za-z_.$][A-Za-z0-9_.$]*)[ \t\f\v\r]*(==?)(?!=)")
_MAX_NUMERIC_LABEL = 10  # digits


@dataclass(slots=True)
class Session:
    """What all units of an assembly share: where to look for files, what to count, whom to tell."""

    include: Sequence[Path] = ()
    own_include: Path | None = None
    defines: Mapping[str, int] = field(default_factory=dict)
    reporter: Reporter = field(default_factory=Reporter)
    budget: Budget = field(default_factory=Budget)
    count: Count = field(default_factory=Count)


class Unit:
    """The state of one unit. It is what a directive or an instruction works on."""

    def __init__(self, session: Session, name: str) -> None:
        self.name = name
        self.session = session
        self.reporter = session.reporter
        self.symbols = SymbolTable()
        self.sections: dict[str, UnitSection] = {}
        self.macros: dict[str, Macro] = {}
        self.conditionals = Conditionals()
        self.reader = Reader(session.count)
        self.macro_count = 0
        self.section = self.open_section(".text")
        self.previous: UnitSection | None = None
        self.section_stack: list[tuple[UnitSection, UnitSection | None]] = []
        self.statement = next(iter(statements("<start>", name)))
        self._last_here: Symbol | None = None
        for define, value in session.defines.items():
            self.symbols.assign(define, Number(value), self.statement.locate())

    # What expressions ask for

    def reference(self, name: str, start: int, end: int) -> Symbol:
        return self.symbols.reference(name, self.statement.locate(start, end))

    def numeric_reference(self, number: int, direction: str, start: int, end: int) -> Symbol:
        symbol = self.symbols.numeric_reference(number, direction, self.statement.locate(start, end))
        if symbol is None:
            raise SourceError(f"there is no label `{number}:` before this", start, end)
        return symbol

    def here(self) -> Symbol:
        """A symbol for the current place, shared by what refers to the same place."""
        region, last = self.section.region, self._last_here
        if last is not None and last.region is region and last.offset == region.size:
            return last
        symbol = Symbol(".")
        symbol.region, symbol.offset = region, region.size
        self._last_here = symbol
        return symbol

    def constant(self, scanner: Scanner, what: str) -> int:
        """Reads an expression that must be known now. Raises SourceError."""
        scanner.skip_space()
        start = scanner.pos
        value = constant(parse(scanner, self))
        if value is None:
            raise scanner.error(f"{what} must be a known number here", start)
        return value

    def warn(self, message: str, start: int = 0, end: int | None = None) -> None:
        self.reporter.warning(message, self.statement.locate(start, end))

    # Sections

    def open_section(self, name: str, flags: int | None = None, kind: int | None = None) -> UnitSection:
        """The section of that name, created with these ELF flags and kind, or those its name implies."""
        section = self.sections.get(name)
        if section is None:
            default_flags, default_kind = default_attributes(name)
            section = UnitSection(
                name,
                default_flags if flags is None else flags,
                default_kind if kind is None else kind,
                self.session.budget,
            )
            self.sections[name] = section
        elif (flags is not None and flags != section.flags) or (kind is not None and kind != section.kind):
            raise SourceError(f"section `{name}` was opened before with other flags or another type")
        return section

    def switch(self, section: UnitSection) -> None:
        self.previous, self.section = self.section, section

    def emit_instruction(self, encoded: Encoded, statement: Statement) -> None:
        region = self.section.region
        offset = region.size
        for fixup in fixups(encoded, offset, statement):
            self.section.add_fixup(fixup)
        self.section.emit(encoded.data)
        region.instructions.append(Instruction(offset, len(encoded.data), statement))

    def emit_branch(self, branch: Branch) -> None:
        """An instruction whose size the layout finds: it closes the region."""
        self.section.region.instructions.append(Instruction(None, 0, branch.statement))
        self.section.close_region(branch)

    def emit_value(self, node: Node, width: int, start: int, end: int) -> None:
        """`width` bytes of a value: at once when it is known, else when everything is linked."""
        value = constant(node)
        if value is None:
            fixup = Fixup(self.section.region.size, width, node, self.statement, start, end)
            self.section.add_fixup(fixup)
            self.section.emit(bytes(width))
            return
        bits = 8 * width
        if not -(1 << bits) < value < 1 << bits or (bits < 32 and value < -(1 << (bits - 1))):
            cut = value & (1 << bits) - 1
            self.warn(f"value 0x{value & (1 << 64) - 1:x} truncated to 0x{cut:x}", start, end)
        self.section.emit((value & (1 << bits) - 1).to_bytes(width, "little"))

    # Reading

    def read_file(self, path: Path, shown: str) -> None:
        """Assembles a whole source file into this unit."""
        self._read(read_text(path, shown), shown, path)

    def read_string(self, text: str) -> None:
        self._read(text, self.name, None)

    def _read(self, text: str, shown: str, path: Path | None) -> None:
        folder = None if path is None else path.parent
        self.reader.push(Frame("file", statements(text, shown), 0, folder))
        while self.reader.frames:
            try:
                self._step()
            except SourceError as error:
                self.reporter.error(error.message, self.statement.locate(error.start, error.end))
            except LocatedError as error:
                self.reporter.error(error.message, error.location)
            except TooManyStatements as error:
                self.reporter.error(str(error), self.statement.locate())
                self.reader.frames.clear()
        self._check_ends()

    def _step(self) -> None:
        """One statement, or the end of one input."""
        statement = self.reader.next()
        if statement is None:
            frame = self.reader.frames.pop()
            if len(self.conditionals) > frame.conditions:
                unclosed = self.conditionals.truncate(frame.conditions)
                self.reporter.error("`.if` is never closed with `.endif`", unclosed)
            return
        self.statement = statement
        if self.conditionals.skipping:
            word = directive_of(statement.text)
            if self.conditionals.handles(word):
                self._directive(statement, Scanner(statement.text, _word_end(statement.text, word)), word)
            return
        self._statement(statement)

    def _check_ends(self) -> None:
        """What must not be left open at the end of a unit."""
        for symbol in self.symbols.numeric:
            if not symbol.defined:
                self.reporter.error(f"there is no label `{symbol.name}:` after this", symbol.referenced_at)

    def _statement(self, statement: Statement) -> None:
        text = statement.text
        scanner = Scanner(text)
        while (found := _LABEL.match(text, scanner.pos)) is not None:
            self._label(found)
            scanner.pos = found.end()
        if scanner.at_end():
            return
        assignment = _ASSIGNMENT.match(text, scanner.pos)
        if assignment is not None:
            self._assignment(scanner, assignment)
            return
        found = NAME.match(text, scanner.pos)
        if found is None:
            raise scanner.error("expected a label, a directive or an instruction")
        start, scanner.pos = scanner.pos, found.end()
        word = found[0]
        lowered = word.lower()
        if lowered.startswith(".") and directives.find(lowered) is not None:
            self._directive(statement, scanner, lowered)
        elif lowered in self.macros:
            self._use_macro(statement, scanner, self.macros[lowered])
        elif lowered.startswith("."):
            raise SourceError(directives.unknown(lowered), start, scanner.pos)
        else:
            assemble_instruction(self, statement, scanner, word)

    def _label(self, found: re.Match[str]) -> None:
        group = 1 if found[1] else 2
        location = self.statement.locate(found.start(group), found.end(group))
        if found[1] == ".":
            raise SourceError("`.` is the current address: no label", found.start(1), found.end(1))
        try:
            if found[1]:
                self.symbols.define_label(found[1], self.section.region, location)
            elif len(found[2]) > _MAX_NUMERIC_LABEL:
                raise SourceError("label number is too large")
            else:
                self.symbols.define_numeric(int(found[2]), self.section.region, location)
        except SourceError as error:
            raise SourceError(error.message, found.start(group), found.end(group)) from None

    def _assignment(self, scanner: Scanner, found: re.Match[str]) -> None:
        start, end = found.span(1)
        scanner.pos = found.end()
        node = parse(scanner, self)
        scanner.expect_end()
        self.assign(found[1], node, start, end, once=found[2] == "==")

    def assign(self, name: str, node: Node, start: int, end: int, *, once: bool = False) -> None:
        """Gives a symbol a value; `. = value` moves the current address as `.org` does."""
        if name == ".":
            directives.origin(self, node, b"\0")
            return
        try:
            self.symbols.assign(name, node, self.statement.locate(start, end), once=once)
        except SourceError as error:
            raise SourceError(error.message, start, end) from None
        if not isinstance(node, Number | Reference) and rests_on_pending(node):
            self.warn(f"`{name}` rests on a symbol defined later, which GNU as takes as 0", start, end)

    def _directive(self, statement: Statement, scanner: Scanner, word: str) -> None:
        handler = directives.find(word)
        assert handler is not None
        handler(self, scanner)
        if statement is self.statement:
            scanner.expect_end()

    def _use_macro(self, statement: Statement, scanner: Scanner, macro: Macro) -> None:
        values = bind(macro, scanner)
        expansion = Expansion(f"macro `{macro.name}`", statement.line.file, statement.line.number)
        body = expand(macro.body, values, self.macro_count, expansion, statement.line.expansions)
        self.macro_count += 1
        self.reader.push(Frame("macro", body, len(self.conditionals)))


def _word_end(text: str, word: str) -> int:
    return text.lower().index(word) + len(word)
