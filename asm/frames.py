"""Call frame information as data, and as the bytes of `.eh_frame` and `.debug_frame` (DWARF version 4, 6.4).

What a debugger or unwinder needs to find a caller's registers: for each procedure an FDE, and for FDEs that
begin alike a common CIE. They are written after layout, when the distances between instructions are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.asm.evaluation import Unresolved, evaluate
from paravane.asm.leb128 import sleb128, uleb128
from paravane.asm.model import Binary, Fixup, Reference, Symbol
from paravane.asm.relaxation import LayoutPlaces

if TYPE_CHECKING:
    from paravane.asm.model import Node, UnitSection
    from paravane.asm.source import Statement

DATA_ALIGNMENT = -4  # bytes, as GNU as counts on the i386: registers are saved in words below the CFA
RETURN_COLUMN = 8  # EIP
ALIGNMENT = 4
PE_OMIT, PE_PCREL, PE_PCREL_SDATA4 = 0xFF, 0x10, 0x1B
_PE_WIDTHS = {0: 4, 2: 2, 3: 4, 4: 8, 10: 2, 11: 4, 12: 8}
_CIE_ID = {True: b"\0\0\0\0", False: b"\xff\xff\xff\xff"}
_ADVANCE = 0x40  # DW_CFA_advance_loc, with up to 6 bits of distance in the opcode itself


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer in the encoding of the Linux Standard Base (DW_EH_PE_*)."""

    encoding: int
    value: Node

    @property
    def width(self) -> int:
        return _PE_WIDTHS.get(self.encoding & 0x0F, 4)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call frame instruction; `place` instead of `data` moves on to that place.

    An operation that is not `shared` never becomes part of a CIE.
    """

    data: bytes = b""
    place: Symbol | None = None
    pointer: Pointer | None = None
    shared: bool = True


@dataclass(slots=True)
class Procedure:
    """What `.cfi_startproc` to `.cfi_endproc` say."""

    statement: Statement
    start: Symbol
    end: Symbol | None = None
    personality: Pointer | None = None
    lsda: Pointer | None = None
    return_column: int = RETURN_COLUMN
    is_signal_frame: bool = False
    operations: list[Operation] = field(default_factory=list)
    cfa_offset: int = 0
    remembered: list[int] = field(default_factory=list)
    last_place: Symbol | None = None

    def common(self) -> tuple[Operation, ...]:
        """The operations at its start, before it moves on: what may be part of a CIE."""
        found = []
        for operation in self.operations:
            if operation.place is not None or not operation.shared:
                break
            found.append(operation)
        return tuple(found)


@dataclass(slots=True)
class FrameTable:
    """The procedures of a unit, and the sections that tell of them."""

    procedures: list[Procedure] = field(default_factory=list)
    current: Procedure | None = None
    in_eh_frame: bool = True
    in_debug_frame: bool = False


def write_frames(procedures: list[Procedure], section: UnitSection, *, is_eh: bool) -> None:
    """Appends CIEs and FDEs to a section. All places of the procedures have been laid out."""
    _Writer(section, is_eh).write(procedures)


class _Writer:
    def __init__(self, section: UnitSection, is_eh: bool) -> None:
        self._section = section
        self._is_eh = is_eh
        self._cies: dict[tuple[object, ...], int] = {}  # where the CIE of such procedures is

    def write(self, procedures: list[Procedure]) -> None:
        self._section.align = max(self._section.align, ALIGNMENT)
        for procedure in procedures:
            common = procedure.common()
            p = procedure
            key = (common, p.return_column, p.is_signal_frame, _encoding(p.lsda), _key(p.personality))
            if key not in self._cies:
                self._cies[key] = self._cie(procedure, common)
            self._fde(procedure, self._cies[key], procedure.operations[len(common) :])

    def _cie(self, procedure: Procedure, common: tuple[Operation, ...]) -> int:
        start = self._open()
        self._emit(_CIE_ID[self._is_eh] + b"\1" + self._augmentation(procedure) + b"\0")
        self._emit(uleb128(1) + sleb128(DATA_ALIGNMENT) + uleb128(procedure.return_column))
        if self._is_eh:
            personality, lsda = procedure.personality, procedure.lsda
            size = 1 + (0 if personality is None else 1 + personality.width) + (lsda is not None)
            self._emit(uleb128(size))
            if personality is not None:
                self._emit(bytes((personality.encoding,)))
                self._pointer(procedure, personality)
            if lsda is not None:
                self._emit(bytes((lsda.encoding,)))
            self._emit(bytes((PE_PCREL_SDATA4,)))
        for operation in common:
            self._emit(operation.data)
        self._close(start)
        return start

    def _augmentation(self, procedure: Procedure) -> bytes:
        letters = "z" if self._is_eh else ""
        if self._is_eh:
            letters += "P" if procedure.personality is not None else ""
            letters += "L" if procedure.lsda is not None else ""
            letters += "R"
        return (letters + ("S" if procedure.is_signal_frame else "")).encode()

    def _fde(self, procedure: Procedure, cie: int, operations: list[Operation]) -> None:
        start = self._open()
        if self._is_eh:
            self._emit((self._section.region.size - cie).to_bytes(4, "little"))
            self._pointer(procedure, Pointer(PE_PCREL_SDATA4, Reference(procedure.start)))
        else:
            self._emit(cie.to_bytes(4, "little"))
            self._pointer(procedure, Pointer(0, Reference(procedure.start)))
        assert procedure.end is not None
        self._emit(_distance(procedure.start, procedure.end).to_bytes(4, "little"))
        if self._is_eh:
            lsda = procedure.lsda
            self._emit(uleb128(0 if lsda is None else lsda.width))
            if lsda is not None:
                self._pointer(procedure, lsda)
        last = procedure.start
        for operation in operations:
            self._emit(operation.data)
            if operation.place is not None:
                self._emit(_advance(_distance(last, operation.place)))
                last = operation.place
            if operation.pointer is not None:
                self._pointer(procedure, operation.pointer)
        self._close(start)

    def _emit(self, data: bytes) -> None:
        self._section.emit(data)

    def _open(self) -> int:
        start = self._section.region.size
        self._emit(bytes(4))
        return start

    def _close(self, start: int) -> None:
        """Pads an entry with DW_CFA_nop and fills in its length."""
        self._emit(bytes(-self._section.region.size % ALIGNMENT))
        length = self._section.region.size - start - 4
        self._section.region.data[start : start + 4] = length.to_bytes(4, "little")

    def _pointer(self, procedure: Procedure, pointer: Pointer) -> None:
        region, value = self._section.region, pointer.value
        if pointer.encoding & 0x70 == PE_PCREL:
            here = Symbol(".")
            here.region, here.offset = region, region.size
            value = Binary("-", value, Reference(here), 1)
        statement, end = procedure.statement, len(procedure.statement.text)
        self._section.add_fixup(Fixup(region.size, pointer.width, value, statement, 0, end))
        self._emit(bytes(pointer.width))


def _encoding(pointer: Pointer | None) -> int:
    return PE_OMIT if pointer is None else pointer.encoding


def _key(pointer: Pointer | None) -> object:
    return None if pointer is None else (pointer.encoding, pointer.value)


def _distance(first: Symbol, last: Symbol) -> int:
    """Bytes between two places of one section, which the layout has settled."""
    try:
        value = evaluate(Binary("-", Reference(last), Reference(first), 1), LayoutPlaces())
    except Unresolved:
        return 0
    return max(value.offset, 0)


def _advance(distance: int) -> bytes:
    """DW_CFA_advance_loc in its shortest form."""
    if distance < _ADVANCE:
        return bytes((_ADVANCE | distance,)) if distance else b""
    if distance < 1 << 8:
        return bytes((0x02, distance))
    if distance < 1 << 16:
        return b"\x03" + distance.to_bytes(2, "little")
    return b"\x04" + distance.to_bytes(4, "little")
