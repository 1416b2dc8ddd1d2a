"""From units to a program: sections placed at addresses, symbols resolved across units, values filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.asm.emission import line_rows, section_bytes
from paravane.asm.entry import find_entry
from paravane.asm.evaluation import Unresolved, evaluate
from paravane.asm.frames import write_frames
from paravane.asm.model import UnitSection
from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_NOTE,
    STB_LOCAL,
    STT_FILE,
    Program,
    Section,
)
from paravane.asm.program import Symbol as ProgramSymbol
from paravane.asm.relaxation import lay_out, section_size
from paravane.asm.resolution import LinkedPlaces, evaluate_symbol, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.asm.diagnostics import Reporter
    from paravane.asm.model import Symbol
    from paravane.asm.unit import Unit

DEFAULT_BASE = 0xC0100000  # one MiB above the usual VIRT_BASE: pfn 0 stays unused
PAGE_SIZE = 4096
_LINKED_FLAGS = SHF_ALLOC | SHF_EXECINSTR | SHF_WRITE  # the others are for the linker


@dataclass(slots=True)
class Output:
    """One output section: the same-named sections of all units, one after the other."""

    name: str
    flags: int
    kind: int
    align: int = 1
    address: int = 0
    size: int = 0
    pieces: list[tuple[UnitSection, int]] = field(default_factory=list)

    def add(self, section: UnitSection, size: int, align: int) -> None:
        offset = self.size + -self.size % align
        self.pieces.append((section, offset))
        self.size = offset + size
        self.align = max(self.align, align)

    @property
    def order(self) -> tuple[int, bool]:
        """Text, read-only data, what is writable and executable, data; zeros after the bytes of each."""
        permissions = (bool(self.flags & SHF_EXECINSTR), bool(self.flags & SHF_WRITE))
        rank = {(True, False): 0, (False, False): 1, (True, True): 2, (False, True): 3}[permissions]
        return rank, self.kind == SHT_NOBITS


def link(units: Sequence[Unit], base: int, reporter: Reporter) -> Program:
    """Places, resolves and fills in. Raises AssemblyError through the reporter."""
    for unit in units:
        lay_out(list(unit.sections.values()), reporter)
        _write_frames(unit, reporter)
    places = LinkedPlaces()
    resolve(units, places, reporter)
    reporter.raise_errors()
    outputs = _gather(units, places)
    _place_common(units, places, outputs)
    _assign_addresses(outputs, base, reporter)
    reporter.raise_errors()
    for output in outputs:
        for section, offset in output.pieces:
            places.section_addresses[id(section)] = output.address + offset
    return _program(units, outputs, places, reporter)


def _write_frames(unit: Unit, reporter: Reporter) -> None:
    """Adds the call frame sections, whose contents are the distances that the layout has found."""
    frames = unit.frames
    if not frames.procedures or reporter.errors:
        return
    if frames.in_eh_frame:
        section = unit.open_section(".eh_frame", SHF_ALLOC)
        write_frames(frames.procedures, section, is_eh=True)
        lay_out([section], reporter)
    if frames.in_debug_frame:
        section = unit.open_section(".debug_frame", 0)
        write_frames(frames.procedures, section, is_eh=False)
        lay_out([section], reporter)


def _gather(units: Sequence[Unit], places: LinkedPlaces) -> list[Output]:
    """The output sections in placement order; empty ones only where a symbol needs them."""
    outputs: dict[tuple[str, int, int], Output] = {}
    for unit in units:
        for section in unit.sections.values():
            if id(section) in places.discarded or (
                section_size(section) == 0 and not _has_symbols(section, unit)
            ):
                continue
            flags = section.flags & _LINKED_FLAGS | (SHF_ALLOC if section.kind == SHT_NOTE else 0)
            key = (section.name, flags, section.kind)
            output = outputs.setdefault(key, Output(section.name, flags, section.kind))
            output.add(section, section_size(section), section.align)
    return sorted(outputs.values(), key=_placement)


def _placement(output: Output) -> tuple[bool, tuple[int, bool], bool, bool]:
    """Memory before the rest; in a group notes first, then the section everybody knows, then the others."""
    known = output.name in (".text", ".rodata", ".data", ".bss")
    return not output.flags & SHF_ALLOC, output.order, output.kind != SHT_NOTE, not known


def _has_symbols(section: UnitSection, unit: Unit) -> bool:
    symbols = (*unit.symbols.by_name.values(), *unit.symbols.numeric)
    return any(symbol.region is not None and symbol.region.section is section for symbol in symbols)


def _place_common(units: Sequence[Unit], places: LinkedPlaces, outputs: list[Output]) -> None:
    """Gives common storage its place at the end of .bss."""
    commons = [symbol for symbol in places.globals.values() if symbol.common is not None]
    commons += [
        symbol
        for unit in units
        for symbol in unit.symbols.by_name.values()
        if symbol.common is not None and symbol.binding == STB_LOCAL
    ]
    if not commons:
        return
    flags = SHF_ALLOC | SHF_WRITE
    bss = next((o for o in outputs if (o.name, o.flags, o.kind) == (".bss", flags, SHT_NOBITS)), None)
    if bss is None:
        bss = Output(".bss", flags, SHT_NOBITS)
        outputs.append(bss)
        outputs.sort(key=_placement)
    for symbol in commons:
        size, align = symbol.common or (0, 1)
        section = UnitSection(".bss", flags, SHT_NOBITS, units[0].session.budget, align)
        section.region.nobits_size = size
        symbol.region, symbol.common = section.region, None
        bss.add(section, size, align)


def _assign_addresses(outputs: list[Output], base: int, reporter: Reporter) -> None:
    """Puts sections one after the other, each group of permissions on a fresh page."""
    address, group = base, None
    for output in outputs:
        if not output.flags & SHF_ALLOC:
            continue
        if group is not None and output.order != group:
            address += -address % PAGE_SIZE
        group = output.order
        address += -address % output.align
        output.address = address
        address += output.size
    if not base >= 0 or address > 1 << 32:
        reporter.error(f"the program does not fit between 0x{base:x} and 4 GiB", None)


def _program(
    units: Sequence[Unit], outputs: list[Output], places: LinkedPlaces, reporter: Reporter
) -> Program:
    sections = []
    relocations = [relocation for unit in units for relocation in unit.relocations]
    for output in outputs:
        data = section_bytes(output, relocations, places, reporter)
        size = output.size
        sections.append(
            Section(output.name, output.kind, output.flags, output.align, output.address, data, size)
        )
    reporter.raise_errors()
    symbols = _symbols(units, outputs, places, reporter)
    files, rows = line_rows(outputs)
    entry = find_entry(sections, symbols, reporter)
    reporter.raise_errors()
    warnings = tuple(str(diagnostic) for diagnostic in reporter.diagnostics)
    return Program(entry, tuple(sections), tuple(symbols), files, rows, warnings)


def _symbols(
    units: Sequence[Unit], outputs: list[Output], places: LinkedPlaces, reporter: Reporter
) -> list[ProgramSymbol]:
    """The symbol table: the locals of every unit after its file's name, then the globals."""
    index = {id(section): n for n, output in enumerate(outputs) for section, _ in output.pieces}
    local: list[ProgramSymbol] = []
    for unit in units:
        local.append(ProgramSymbol(unit.name.rpartition("/")[2], 0, 0, None, STB_LOCAL, STT_FILE))
        for symbol in unit.symbols.by_name.values():
            if symbol.binding == STB_LOCAL and _is_listed(symbol) and not places.is_discarded(symbol):
                local.append(_symbol(symbol, index, places, reporter))
    shared = [_symbol(symbol, index, places, reporter) for symbol in places.globals.values()]
    return local + shared


def _is_listed(symbol: Symbol) -> bool:
    """Labels, and numbers that something refers to; the constants of an include file stay out."""
    if symbol.region is None and symbol.referenced_at is None:
        return False
    return symbol.defined and not symbol.is_temporary


def _symbol(symbol: Symbol, index: dict[int, int], places: LinkedPlaces, reporter: Reporter) -> ProgramSymbol:
    value, size = 0, 0
    try:
        found = evaluate_symbol(symbol, places) if symbol.expression is not None else places.place(symbol)
        value = 0 if found is None else found.offset
        size = 0 if symbol.size is None else evaluate(symbol.size, places).offset
    except Unresolved as reason:
        reporter.error(f"symbol `{symbol.name}` has no value: {reason}", symbol.defined_at)
    section = None if symbol.region is None else index.get(id(symbol.region.section))
    return ProgramSymbol(
        symbol.name, value & 0xFFFFFFFF, size & 0xFFFFFFFF, section, symbol.binding, symbol.kind
    )
