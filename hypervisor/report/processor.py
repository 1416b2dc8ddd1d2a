"""The processor in a report: registers, the code around EIP, the walk of an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import PageFault
from paravane.report.disassembler import disassembler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from capstone import Cs

    from paravane.cpu import Cpu
    from paravane.place import Places

CODE_BEFORE, CODE_AFTER = 24, 48
"""Bytes of code looked at around EIP."""

INSTRUCTIONS_BEFORE, INSTRUCTIONS_AFTER = 6, 8
"""Instructions shown of them, EIP's own counted with those that follow."""

_FLAGS: Final = (
    *((0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF")),
)


def registers(cpu: Cpu) -> Iterator[str]:
    """Ring, EIP, flags, general, segment and control registers, as lines of text."""
    flags = cpu.eflags
    yield f"  ring {cpu.cpl}  eip {cpu.eip:08x}  eflags {flags_text(flags)} iopl {flags >> 12 & 3}"
    yield f"  eax {cpu.eax:08x}  ebx {cpu.ebx:08x}  ecx {cpu.ecx:08x}  edx {cpu.edx:08x}"
    yield f"  esi {cpu.esi:08x}  edi {cpu.edi:08x}  ebp {cpu.ebp:08x}  esp {cpu.esp:08x}"
    selectors = ("cs", "ss", "ds", "es", "fs", "gs")
    yield "  " + "  ".join(f"{name} {getattr(cpu, name):04x}" for name in selectors)
    yield f"  cr0 {cpu.cr0:08x}  cr2 {cpu.cr2:08x}  cr3 {cpu.cr3:08x}  cr4 {cpu.cr4:08x}"


def flags_text(flags: int) -> str:
    """EFLAGS as `00000246 [PF ZF IF]`."""
    return f"{flags:08x} [{' '.join(name for bit, name in _FLAGS if flags >> bit & 1)}]"


def code(cpu: Cpu, places: Places) -> Iterator[str]:
    """Instructions that lead to EIP and follow it, at their linear addresses; EIP's own is marked."""
    at = linear_eip(cpu)
    before, after = (
        _readable(cpu, at - CODE_BEFORE, at),
        _readable(cpu, at, at + CODE_AFTER),
    )
    if not after:
        yield f"  {at:08x}{places.at(at).names}: not readable"
        return
    decoder = disassembler(big=cpu.has_big_code)
    start = _synchronised(decoder, before, at)
    leading = before[len(before) - (at - start) :] if start < at else b""
    shown = list(decoder.disasm(leading, start))[-INSTRUCTIONS_BEFORE:]
    shown += decoder.disasm(after, at, INSTRUCTIONS_AFTER)
    for instruction in shown:
        here = instruction.address == at
        text = f"{instruction.mnemonic} {instruction.op_str}".strip()
        where = places.at(instruction.address).names if here else ""
        raw = instruction.bytes.hex(" ")
        yield f" {'=>' if here else '  '} {instruction.address:08x}: {raw:<24} {text}{where}"
    if not any(instruction.address == at for instruction in shown):
        yield f" => {at:08x}: {after[:15].hex(' ')} is no instruction{places.at(at).names}"


def linear_eip(cpu: Cpu) -> int:
    """Where EIP is, whatever the base of its segment."""
    return cpu.segment_base("cs") + cpu.eip & 0xFFFF_FFFF


def walk(cpu: Cpu, address: int) -> Iterator[str]:
    """The page-table entries that linear `address` meets; with a modelled TLB, in what that holds, and in the
    tables that it is refilled from."""
    for where, steps in cpu.walks(address):
        yield f"page walk of {address:#010x}{where and f' in {where}'}:"
        for step in steps:
            present = "present" if step.entry & 1 else "not present"
            bits = "".join(
                name if step.entry >> bit & 1 else "-"
                for bit, name in ((1, "W"), (2, "U"), (5, "A"), (6, "D"))
            )
            yield f"  l{step.level} entry {step.entry:#018x} at {step.maddr:#x}: {present} {bits}"


def _synchronised(decoder: Cs, before: bytes, eip: int) -> int:
    """The earliest start from which decoding runs exactly into EIP; variable-length code has several."""
    for skip in range(len(before)):
        end = eip - len(before) + skip
        for _, size, _, _ in decoder.disasm_lite(before[skip:], end):
            end += size
        if end == eip:
            return eip - len(before) + skip
    return eip


def _readable(cpu: Cpu, start: int, end: int) -> bytes:
    """What of start..end can be read: the whole, or the part on EIP's side of an unmapped page."""
    start = max(start, 0)
    for cut in (start, (start | 0xFFF) + 1):
        try:
            return cpu.read(cut, max(0, end - cut))
        except PageFault as fault:
            if fault.va > start:
                try:
                    return cpu.read(start, fault.va - start)
                except PageFault:
                    continue
    return b""
