"""One translation unit: the state that directives and instructions work on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.asm.conditionals import Conditionals
from paravane.asm.diagnostics import Reporter, SourceError
from paravane.asm.evaluation import constant, rests_on_pending
from paravane.asm.expressions import parse, rebuild
from paravane.asm.frames import FrameTable
from paravane.asm.model import Align, Budget, Fixup, Gap, Instruction, Number, Reference, Symbol, UnitSection
from paravane.asm.program import SHT_NOBITS, SHT_PROGBITS
from paravane.asm.reader import Count, Reader
from paravane.asm.section_attributes import implied_attributes
from paravane.asm.source import statements
from paravane.asm.symbol_table import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from paravane.asm.diagnostics import Location
    from paravane.asm.encoder import Encoded
    from paravane.asm.lexer import Scanner
    from paravane.asm.macros import Macro
    from paravane.asm.model import Branch, Group, Node, Relocation
    from paravane.asm.source import Statement

_MAX_COPIED = 10_000  # parts of expressions that the uses of one `==` symbol may copy
_ABSOLUTE_SIZE = 1 << 32
_STANDARD = (".text", ".data", ".bss")  # sections that every unit has, whatever it says of them


@dataclass(slots=True)
class Session:
    """What all units of an assembly share: where to look for files, what to count, whom to tell."""

    include: Sequence[Path] = ()
    defines: Mapping[str, int] = field(default_factory=dict)
    reporter: Reporter = field(default_factory=Reporter)
    budget: Budget = field(default_factory=Budget)
    count: Count = field(default_factory=Count)
    contents: dict[tuple[Path, str], None] = field(default_factory=dict)
    """The files that were read, in order, with the SHA-256 of what they held; a file that changed meanwhile
    is in here more than once."""
    absent: dict[Path, None] = field(default_factory=dict)
    """Where `.include` and `.incbin` looked before they found a file."""

    def note_read(self, path: Path, content: bytes) -> None:
        """A file was read, and these are its bytes."""
        self.contents[path, hashlib.sha256(content).hexdigest()] = None


@dataclass(frozen=True, slots=True)
class Place:
    """A section and the subsection of it that is written to."""

    section: UnitSection
    subsection: int


class Unit:
    """The state of one unit: its symbols, sections, macros, and the place it is read at."""

    def __init__(self, session: Session, name: str) -> None:
        self.name = name
        self.session = session
        self.reporter = session.reporter
        self.symbols = SymbolTable()
        self.sections: dict[tuple[str, str, int], UnitSection] = {}
        self.relocations: list[Relocation] = []
        self.frames = FrameTable()
        self.file_numbers: set[int] = set()  # that `.loc` may name
        self.macros: dict[str, Macro] = {}
        self.conditionals = Conditionals()
        self.reader = Reader(session.count)
        self.macro_count = 0
        self.section = self.open_section(".text")
        self.previous: Place | None = None
        self.section_stack: list[tuple[Place, Place | None]] = []
        self.statement = next(iter(statements("<start>", name)))
        self._last_here: Symbol | None = None
        self._copied = 0
        for define, value in session.defines.items():
            self.symbols.assign(define, Number(value), self.statement.locate())

    # What expressions ask for

    def reference(self, name: str, start: int, end: int) -> Node:
        symbol = self.symbols.reference(name, self.statement.locate(start, end))
        return self.current(symbol) if symbol.deferred else Reference(symbol)

    def current(self, symbol: Symbol) -> Node:
        """What a `==` symbol stands for at this place. Raises SourceError when it is defined by itself."""
        assert symbol.expression is not None
        if symbol.resolving:
            raise SourceError(f"`{symbol.name}` is defined in terms of itself")
        symbol.resolving = True
        try:
            return rebuild(symbol.expression, self._anew)
        finally:
            symbol.resolving = False

    def _anew(self, symbol: Symbol) -> Node:
        """The symbol that now has this name; `.` is here."""
        self._copied += 1
        if self._copied > _MAX_COPIED:
            raise SourceError("this symbol stands for too large an expression")
        if symbol.name == ".":
            return Reference(self.here())
        symbol = self.symbols.by_name.get(symbol.name, symbol)
        return self.current(symbol) if symbol.deferred else Reference(symbol)

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
        if self.section.is_absolute:
            symbol.expression = Number(region.size)
            return symbol
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

    # Symbols

    def define_label(self, name: str, location: Location) -> None:
        if self.section.is_absolute:
            self.symbols.assign(name, Number(self.section.region.size), location, once=True)
        else:
            self.symbols.define_label(name, self.section.region, location)

    def assign_number(self, name: str, value: int, start: int, end: int) -> None:
        """What `assign` does with a number and a name other than `.`: for the thousands of Xen's."""
        try:
            self.symbols.assign(name, Number(value), self.statement.locate(start, end))
        except SourceError as error:
            raise SourceError(error.message, start, end) from None

    def assign(
        self, name: str, node: Node, start: int, end: int, *, once: bool = False, deferred: bool = False
    ) -> None:
        """Gives a symbol a value; `. = value` moves the current address as `.org` does."""
        if name == ".":
            self.move_to(node, b"\0")
            return
        location = self.statement.locate(start, end)
        try:
            if deferred:
                self.symbols.defer(name, node, location)
            else:
                self.symbols.assign(name, node, location, once=once)
        except SourceError as error:
            raise SourceError(error.message, start, end) from None
        if not deferred and not isinstance(node, (Number, Reference)) and rests_on_pending(node):
            self.warn(f"`{name}` rests on a symbol defined later, which GNU as takes as 0", start, end)

    # Sections

    def open_section(
        self,
        name: str,
        flags: int | None = None,
        kind: int | None = None,
        group: Group | None = None,
        unique: int = -1,
    ) -> UnitSection:
        """The section of that name, group and `unique` number.

        A new one gets these ELF flags and kind, or those its name implies. Raises SourceError when it is
        open already with others.
        """
        key = (name, "" if group is None else group.name, unique)
        section = self.sections.get(key)
        if section is None:
            implied_flags, implied_kind = implied_attributes(name) or (0, SHT_PROGBITS)
            section = UnitSection(
                name,
                implied_flags if flags is None else flags,
                implied_kind if kind is None else kind,
                self.session.budget,
                group=group,
            )
            self.sections[key] = section
        elif (flags is not None and flags != section.flags) or (kind is not None and kind != section.kind):
            if name in _STANDARD:
                self.warn(f"section `{name}` keeps its flags and type")
                return section
            raise SourceError(f"section `{name}` was opened before with other flags or another type")
        return section

    @property
    def place(self) -> Place:
        return Place(self.section, self.section.subsection)

    def switch(self, section: UnitSection, subsection: int = 0) -> None:
        self.previous = self.place
        self.section = section
        section.select(subsection)

    def open_absolute(self, offset: int) -> None:
        """What follows is the layout of a structure: labels are numbers, counted from `offset`."""
        budget = Budget(_ABSOLUTE_SIZE)
        section = UnitSection("*ABS*", 0, SHT_NOBITS, budget, is_absolute=True)
        section.region.nobits_size = offset
        self.switch(section)

    def move_to(self, place: Node, fill: bytes) -> None:
        """Moves the current address of the section forward to a place that may still be unknown."""
        offset = constant(place)
        if offset is not None and offset < 0:
            raise SourceError("cannot move backwards")
        if not self.section.is_absolute:
            self.section.close_region(Gap(place, fill, True, self.statement))
        elif offset is None:
            raise SourceError("the place must be a known number here")
        else:
            self.section.region.nobits_size = offset

    def align(self, boundary: int, fill: bytes | None, limit: int) -> None:
        """Pads to a multiple of `boundary` bytes, unless that takes more than `limit` (0: however many)."""
        align = Align(boundary, fill, limit, self.statement)
        if self.section.is_absolute:
            self.section.reserve(align.measure(self.section.region.size))
            return
        self.section.align = max(self.section.align, boundary)
        if boundary > 1:
            self.section.budget.take(boundary - 1)
            self.section.close_region(align)

    def emit_instruction(self, encoded: Encoded, statement: Statement) -> None:
        region = self.section.region
        offset = region.size
        for f in encoded.fields:
            fixup = Fixup(offset + f.offset, f.width, f.value, statement, f.start, f.end, f.relative)
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
