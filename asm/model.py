"""What a unit holds while it is read and laid out, as data: expressions, symbols, sections made of regions.

A symbol is a place in a region or an expression of other symbols, and a region may end in a gap whose size is
an expression: the three know each other, and are therefore declared together. What is done with them is in
`expressions`, `evaluation`, `symbol_table`, `relaxation` and `emission`.

Two labels of the same region have a distance that nothing can change any more; that is what makes an
expression a constant while reading. A region ends at a branch that may grow, an alignment, or a gap of
unknown size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from paravane.asm.diagnostics import SourceError
from paravane.asm.program import SHF_EXECINSTR, SHT_NOBITS, STB_LOCAL, STT_NOTYPE

if TYPE_CHECKING:
    from paravane.asm.diagnostics import Location
    from paravane.asm.source import Statement

MAX_OUTPUT = 64 << 20  # bytes of all sections of an assembly


# Expressions


class Number(NamedTuple):
    value: int


class Reference(NamedTuple):
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Node
    depth: int


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Node
    right: Node
    depth: int


Node = Number | Reference | Unary | Binary


class Value(NamedTuple):
    """`offset` bytes after `base`: a region while reading, a section after layout, or an undefined symbol.

    An absolute number when `base` is None.
    """

    base: object | None
    offset: int


class Symbol:
    """One symbol: a label (`region`, `offset`), an assignment (`expression`), common, or undefined."""

    __slots__ = (
        "binding", "common", "declared_local", "deferred", "defined_at", "expression", "kind", "name",
        "offset", "redefinable", "referenced_at", "region", "resolving", "size",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.binding = STB_LOCAL
        self.kind = STT_NOTYPE
        self.size: Node | None = None
        self.region: Region | None = None
        self.offset = 0
        self.expression: Node | None = None
        self.common: tuple[int, int] | None = None  # size and alignment, bytes
        self.declared_local = False
        self.deferred = False  # `==`: the expression is computed anew at each use
        self.redefinable = False
        self.resolving = False
        self.referenced_at: Location | None = None
        self.defined_at: Location | None = None

    @property
    def defined(self) -> bool:
        return self.region is not None or self.expression is not None or self.common is not None

    @property
    def is_temporary(self) -> bool:
        """Whether the name stays out of the symbol table."""
        return self.name.startswith(".L") and self.binding == STB_LOCAL


# Sections


@dataclass(frozen=True, slots=True)
class Fixup:
    """`width` bytes at `offset` of a region take a value; when `relative`, minus the address after them."""

    offset: int
    width: int
    value: Node
    statement: Statement
    start: int
    end: int
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Relocation:
    """`.reloc`: what is at `place` of a section grows by `value`, minus its address when `relative`."""

    section: UnitSection
    place: Node
    width: int  # bytes; 0 changes nothing
    relative: bool
    value: Node
    statement: Statement


@dataclass(frozen=True, slots=True)
class Instruction:
    """The place of one instruction in its region, for the line table; without `offset` it is the tail."""

    offset: int | None
    size: int
    statement: Statement


@dataclass(slots=True)
class Branch:
    """A jump to a label: two bytes when it reaches, else `long_opcode` with a 32-bit displacement."""

    short_opcode: int
    long_opcode: bytes
    target: Node
    statement: Statement
    start: int
    end: int
    prefix: bytes = b""
    is_long: bool = False

    def measure(self, _offset: int) -> int:
        return len(self.prefix) + (len(self.long_opcode) + 4 if self.is_long else 2)


@dataclass(slots=True)
class Align:
    """Padding to a multiple of `boundary`; none at all when it would take more than `limit` bytes."""

    boundary: int
    fill: bytes | None  # None: the section's own filler, NOPs in code and zeros elsewhere
    limit: int
    statement: Statement

    def measure(self, offset: int) -> int:
        padding = -offset % self.boundary
        return padding if not self.limit or padding <= self.limit else 0


@dataclass(slots=True)
class Gap:
    """`.skip` or `.org` of a size not known while reading; `size` is set by the layout."""

    amount: Node
    fill: bytes
    is_origin: bool
    statement: Statement
    size: int = 0

    def measure(self, _offset: int) -> int:
        return self.size


@dataclass(slots=True)
class Leb:
    """A LEB128 number of unknown value; `size` is set by the layout."""

    value: Node
    is_signed: bool
    statement: Statement
    start: int
    end: int
    size: int = 1

    def measure(self, _offset: int) -> int:
        return self.size


Tail = Branch | Align | Gap | Leb


class Region:
    """Bytes whose distances are final, and the tail after them. `offset` is set by the layout."""

    __slots__ = (
        "data", "fixups", "instructions", "nobits_size", "offset", "place", "section", "span", "tail",
        "tail_size",
    )  # fmt: skip

    def __init__(self, section: UnitSection) -> None:
        self.section = section
        self.place = 0  # its number in the section
        self.span = 0  # regions with nothing but branches between them share a number
        self.data = bytearray()
        self.nobits_size = 0
        self.fixups: list[Fixup] = []
        self.instructions: list[Instruction] = []
        self.tail: Tail | None = None
        self.offset = 0
        self.tail_size = 0

    @property
    def size(self) -> int:
        return self.nobits_size if self.section.kind == SHT_NOBITS else len(self.data)


@dataclass(slots=True)
class Budget:
    """What an assembly may still produce, in bytes; shared by all its sections."""

    left: int = MAX_OUTPUT

    def take(self, size: int) -> None:
        if size > self.left:
            raise SourceError(f"output grows over {MAX_OUTPUT >> 20} MiB")
        self.left -= size


@dataclass(frozen=True, slots=True)
class Group:
    """The section group of a section: of all `comdat` groups of one name, the first one is linked."""

    name: str
    is_comdat: bool


@dataclass(slots=True)
class UnitSection:
    """One section of one unit, with ELF's numbers for `flags` (SHF_*) and `kind` (SHT_*).

    It is made of numbered subsections, in the order of their numbers. `is_absolute` is the section of
    `.struct`: no bytes, and labels that are plain numbers.
    """

    name: str
    flags: int
    kind: int
    budget: Budget
    align: int = 1
    group: Group | None = None
    is_absolute: bool = False
    subsection: int = 0  # the one that grows
    subsections: dict[int, list[Region]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.subsections[0] = [Region(self)]

    @property
    def region(self) -> Region:
        """The region that grows."""
        return self.subsections[self.subsection][-1]

    @property
    def regions(self) -> list[Region]:
        """All regions in the order of their addresses."""
        return [region for number in sorted(self.subsections) for region in self.subsections[number]]

    @property
    def is_code(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR)

    def emit(self, data: bytes) -> None:
        self.budget.take(len(data))
        if self.kind == SHT_NOBITS:
            if data.count(0) != len(data):
                raise SourceError(f"section `{self.name}` takes no bytes but zeros")
            self.region.nobits_size += len(data)
        else:
            self.region.data += data

    def reserve(self, size: int, fill: bytes = b"\0") -> None:
        """`size` bytes of a repeated pattern."""
        self.budget.take(size)
        if self.kind != SHT_NOBITS:
            self.region.data += (fill * (size // len(fill) + 1))[:size]
        elif fill.count(0) != len(fill):
            raise SourceError(f"section `{self.name}` takes no bytes but zeros")
        else:
            self.region.nobits_size += size

    def add_fixup(self, fixup: Fixup) -> None:
        """Space for a value that is computed at the end."""
        if self.kind == SHT_NOBITS:
            raise SourceError(f"section `{self.name}` takes no bytes but zeros", fixup.start, fixup.end)
        self.region.fixups.append(fixup)

    def close_region(self, tail: Tail) -> None:
        """Ends the current region with something of unknown size."""
        self.region.tail = tail
        self.subsections[self.subsection].append(Region(self))

    def select(self, subsection: int) -> None:
        """What follows goes into this subsection."""
        self.subsections.setdefault(subsection, [Region(self)])
        self.subsection = subsection
