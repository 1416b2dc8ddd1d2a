"""The `.cfi_` directives: what a procedure does to its frame, for `.eh_frame` and `.debug_frame`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from paravane.asm.diagnostics import SourceError
from paravane.asm.directives.declaration import Handler, directive
from paravane.asm.expressions import parse
from paravane.asm.frames import DATA_ALIGNMENT, PE_OMIT, Operation, Pointer, Procedure
from paravane.asm.leb128 import sleb128, uleb128
from paravane.asm.reader import directive_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit

TABLE: dict[str, Handler] = {}

# DWARF's numbers of the registers (System V ABI, Intel386 supplement).
_REGISTERS = {
    "eax": 0, "ecx": 1, "edx": 2, "ebx": 3, "esp": 4, "ebp": 5, "esi": 6, "edi": 7, "eip": 8, "eflags": 9,
    **{f"st({n})": 11 + n for n in range(8)}, "st": 11,
    **{f"xmm{n}": 21 + n for n in range(8)},
    **{f"mm{n}": 29 + n for n in range(8)},
    "fcw": 37, "fsw": 38, "mxcsr": 39, "es": 40, "cs": 41, "ss": 42, "ds": 43, "fs": 44, "gs": 45,
    "tr": 48, "ldtr": 49,
}  # fmt: skip
_OFFSET, _RESTORE = 0x80, 0xC0  # DW_CFA_offset and DW_CFA_restore: the register is in the low six bits
_ESP, _EIP = 4, 8


def _procedure(unit: Unit) -> Procedure:
    if unit.frames.current is None:
        raise SourceError("a `.cfi_` directive outside `.cfi_startproc` and `.cfi_endproc`")
    return unit.frames.current


def _add(unit: Unit, operation: Operation) -> None:
    """An operation that holds from here on."""
    procedure, here = _procedure(unit), unit.here()
    last = procedure.last_place or procedure.start
    if (last.region, last.offset) != (here.region, here.offset):
        procedure.operations.append(Operation(place=here))
        procedure.last_place = here
    procedure.operations.append(operation)


def _register(unit: Unit, scanner: Scanner) -> int:
    """A register by name, with `%` or without, or by DWARF's number."""
    scanner.skip_space()
    start = scanner.pos
    scanner.accept("%")
    if scanner.peek().isalpha():
        name = (scanner.name() or "").lower()
        if name == "st" and scanner.accept("("):
            name = f"st({scanner.number()})"
            scanner.expect(")")
        if name in _REGISTERS:
            return _REGISTERS[name]
        scanner.pos = start
    number = unit.constant(scanner, "the register")
    if number < 0:
        raise scanner.error("expected a register", start)
    return number


def _number(unit: Unit, scanner: Scanner) -> int:
    return unit.constant(scanner, "the offset")


@directive(TABLE, "cfi_sections")
def _sections(unit: Unit, scanner: Scanner) -> None:
    names = set()
    while not scanner.at_end():
        names.add(scanner.expect_name("a section name"))
        if not scanner.accept(","):
            break
    unknown = names - {".eh_frame", ".debug_frame"}
    if unknown:
        raise SourceError(f"call frames are for `.eh_frame` and `.debug_frame`, not `{min(unknown)}`")
    unit.frames.in_eh_frame = ".eh_frame" in names
    unit.frames.in_debug_frame = ".debug_frame" in names


@directive(TABLE, "cfi_startproc")
def _startproc(unit: Unit, scanner: Scanner) -> None:
    """`.cfi_startproc [simple]`: a simple one does not say what a call has done."""
    if unit.frames.current is not None:
        raise SourceError("the `.cfi_startproc` before this has no `.cfi_endproc`")
    if unit.section.is_absolute:
        raise SourceError("a structure has no procedures")
    is_simple = not scanner.at_end()
    if is_simple and scanner.name() != "simple":
        raise scanner.error("expected `simple`")
    procedure = unit.frames.current = Procedure(unit.statement, unit.here())
    if not is_simple:
        _define_cfa(unit, _ESP, -DATA_ALIGNMENT)
        _save(unit, _EIP, DATA_ALIGNMENT)
    unit.frames.procedures.append(procedure)


@directive(TABLE, "cfi_endproc")
def _endproc(unit: Unit, _scanner: Scanner) -> None:
    procedure = _procedure(unit)
    procedure.end, unit.frames.current = unit.here(), None
    if procedure.end.region is None or procedure.start.region is None:
        raise SourceError("`.cfi_endproc` in another section than `.cfi_startproc`")
    if procedure.end.region.section is not procedure.start.region.section:
        raise SourceError("`.cfi_endproc` in another section than `.cfi_startproc`")


def _define_cfa(unit: Unit, register: int, offset: int) -> None:
    _procedure(unit).cfa_offset = offset
    if offset < 0:
        data = b"\x12" + uleb128(register) + sleb128(offset // DATA_ALIGNMENT)
    else:
        data = b"\x0c" + uleb128(register) + uleb128(offset)
    _add(unit, Operation(data))


def _define_offset(unit: Unit, offset: int) -> None:
    _procedure(unit).cfa_offset = offset
    data = b"\x13" + sleb128(offset // DATA_ALIGNMENT) if offset < 0 else b"\x0e" + uleb128(offset)
    _add(unit, Operation(data))


def _save(unit: Unit, register: int, offset: int) -> None:
    """The register is saved at CFA + offset."""
    if offset % DATA_ALIGNMENT:
        raise SourceError(f"a register is saved at a multiple of {-DATA_ALIGNMENT} bytes")
    factored = offset // DATA_ALIGNMENT
    if factored < 0:
        data = b"\x11" + uleb128(register) + sleb128(factored)
    elif register < 1 << 6:
        data = bytes((_OFFSET | register,)) + uleb128(factored)
    else:
        data = b"\x05" + uleb128(register) + uleb128(factored)
    _add(unit, Operation(data))


@directive(TABLE, "cfi_def_cfa")
def _def_cfa(unit: Unit, scanner: Scanner) -> None:
    register = _register(unit, scanner)
    scanner.expect(",")
    _define_cfa(unit, register, _number(unit, scanner))


@directive(TABLE, "cfi_def_cfa_offset")
def _def_cfa_offset(unit: Unit, scanner: Scanner) -> None:
    _define_offset(unit, _number(unit, scanner))


@directive(TABLE, "cfi_adjust_cfa_offset")
def _adjust_cfa_offset(unit: Unit, scanner: Scanner) -> None:
    _define_offset(unit, _procedure(unit).cfa_offset + _number(unit, scanner))


@directive(TABLE, "cfi_offset")
def _offset(unit: Unit, scanner: Scanner) -> None:
    register = _register(unit, scanner)
    scanner.expect(",")
    _save(unit, register, _number(unit, scanner))


@directive(TABLE, "cfi_rel_offset")
def _rel_offset(unit: Unit, scanner: Scanner) -> None:
    """The offset counts from the register that defines the CFA."""
    register = _register(unit, scanner)
    scanner.expect(",")
    _save(unit, register, _number(unit, scanner) - _procedure(unit).cfa_offset)


@directive(TABLE, "cfi_val_offset")
def _val_offset(unit: Unit, scanner: Scanner) -> None:
    register = _register(unit, scanner)
    scanner.expect(",")
    factored = _number(unit, scanner) // DATA_ALIGNMENT
    code, tail = (b"\x15", sleb128(factored)) if factored < 0 else (b"\x14", uleb128(factored))
    _add(unit, Operation(code + uleb128(register) + tail, shared=False))


@directive(TABLE, "cfi_register")
def _register_in(unit: Unit, scanner: Scanner) -> None:
    first = _register(unit, scanner)
    scanner.expect(",")
    _add(unit, Operation(b"\x09" + uleb128(first) + uleb128(_register(unit, scanner))))


def _each_register(unit: Unit, scanner: Scanner, encode: Callable[[int], bytes]) -> None:
    while True:
        _add(unit, Operation(encode(_register(unit, scanner))))
        if not scanner.accept(","):
            return


def _restore(register: int) -> bytes:
    return bytes((_RESTORE | register,)) if register < 1 << 6 else b"\x06" + uleb128(register)


TABLE[".cfi_restore"] = partial(_each_register, encode=_restore)
TABLE[".cfi_undefined"] = partial(_each_register, encode=lambda register: b"\x07" + uleb128(register))
TABLE[".cfi_same_value"] = partial(_each_register, encode=lambda register: b"\x08" + uleb128(register))
TABLE[".cfi_def_cfa_register"] = partial(_each_register, encode=lambda register: b"\x0d" + uleb128(register))


@directive(TABLE, "cfi_remember_state")
def _remember(unit: Unit, _scanner: Scanner) -> None:
    procedure = _procedure(unit)
    procedure.remembered.append(procedure.cfa_offset)
    _add(unit, Operation(b"\x0a", shared=False))


@directive(TABLE, "cfi_restore_state")
def _recall(unit: Unit, _scanner: Scanner) -> None:
    procedure = _procedure(unit)
    if not procedure.remembered:
        raise SourceError("`.cfi_restore_state` without `.cfi_remember_state`")
    procedure.cfa_offset = procedure.remembered.pop()
    _add(unit, Operation(b"\x0b"))


@directive(TABLE, "cfi_window_save", "cfi_negate_ra_state")
def _window_save(unit: Unit, _scanner: Scanner) -> None:
    _add(unit, Operation(b"\x2d"))


@directive(TABLE, "cfi_escape")
def _escape(unit: Unit, scanner: Scanner) -> None:
    """Bytes as they are."""
    data = bytearray()
    while True:
        data.append(unit.constant(scanner, "the byte") & 0xFF)
        if not scanner.accept(","):
            break
    _add(unit, Operation(bytes(data), shared=False))


@directive(TABLE, "cfi_signal_frame")
def _signal_frame(unit: Unit, _scanner: Scanner) -> None:
    _procedure(unit).is_signal_frame = True


@directive(TABLE, "cfi_return_column")
def _return_column(unit: Unit, scanner: Scanner) -> None:
    _procedure(unit).return_column = _register(unit, scanner)


def _pointer(unit: Unit, scanner: Scanner) -> Pointer | None:
    """`encoding[, expression]`; None for the encoding that omits the pointer."""
    scanner.skip_space()
    start = scanner.pos
    encoding = unit.constant(scanner, "the encoding")
    if encoding == PE_OMIT:
        return None
    if not 0 <= encoding < 1 << 8 or encoding & 0x0F not in (0, 2, 3, 4, 10, 11, 12) or encoding & 0x60:
        raise scanner.error("this encoding of a pointer is not supported", start)
    scanner.expect(",")
    return Pointer(encoding, parse(scanner, unit))


@directive(TABLE, "cfi_personality")
def _personality(unit: Unit, scanner: Scanner) -> None:
    _procedure(unit).personality = _pointer(unit, scanner)


@directive(TABLE, "cfi_lsda")
def _lsda(unit: Unit, scanner: Scanner) -> None:
    _procedure(unit).lsda = _pointer(unit, scanner)


@directive(TABLE, "cfi_val_encoded_addr")
def _val_encoded(unit: Unit, scanner: Scanner) -> None:
    """A register's value is an address: DW_CFA_val_expression with DW_OP_GNU_encoded_addr."""
    register = _register(unit, scanner)
    scanner.expect(",")
    pointer = _pointer(unit, scanner)
    if pointer is None:
        raise SourceError("this pointer cannot be omitted")
    expression = bytes((0xF1, pointer.encoding))
    head = b"\x16" + uleb128(register) + uleb128(len(expression) + pointer.width)
    _add(unit, Operation(head + expression, pointer=pointer, shared=False))


@directive(TABLE, "cfi_inline_lsda", "cfi_personality_id", "cfi_fde_data")
def _compact(_unit: Unit, scanner: Scanner) -> None:
    raise SourceError(
        f"`{directive_of(scanner.text)}` belongs to compact tables, which the i386 does not have"
    )


@directive(TABLE, "cfi_label")
def _label(unit: Unit, scanner: Scanner) -> None:
    raise SourceError("`.cfi_label` is not supported: nothing can refer into a table that the linker writes")
