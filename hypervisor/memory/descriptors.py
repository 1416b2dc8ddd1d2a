"""Segment descriptors: what may stand in a guest's GDT or LDT.

The processor loads these descriptors itself, so this is a security boundary: nothing here may lead to CPL
0. The rules are Xen's for a 32-bit guest, and they hold on a processor that executes the tables natively:

- Code and data segments get a DPL of at least 1. At CPL 1 or 3 a segment of DPL 0 could not be reached
  anyway, but a data segment of DPL 0 would be one that only the hypervisor should have.
- A call gate keeps its target but gets DPL 0, so that using it raises #GP with its selector, and the
  hypervisor emulates it. Its own DPL waits in the RPL bits of its target selector.
- Task gates, TSSs, LDT descriptors, interrupt and trap gates are refused when present. Without a TSS
  descriptor IRET with NT set ends in #TS.
- What is not present always faults and is left alone.

Accessed bits are the processor's: it sets one as it loads the segment. The tables are read-only to it here,
so it faults at that, and the bit is set for it (`VcpuPaging.descriptor_fault`).

Layout of a descriptor: Intel SDM volume 3, section 3.4.5. Below `a` is the low word, `b` the high one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.arch import FIRST_RESERVED_GDT_ENTRY, KERNEL_RING, FlatSelector
from paravane.abi.errno import Errno
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu.ram import Ram
    from paravane.memory.frames import FrameTable
    from paravane.memory.owner import Owner

_ACCESSED: Final = 1 << 8
_TYPE: Final = 15 << 8
_CALL_GATE: Final = 0xC00
_S: Final = 1 << 12
_DPL: Final = 3 << 13
_PRESENT: Final = 1 << 15
_LONG: Final = 1 << 21
_GRANULAR: Final = 1 << 23

FLAT_DESCRIPTORS: Final = {
    FlatSelector.RING1_CS: 0x00CFBB00_0000FFFF,
    FlatSelector.RING1_DS: 0x00CFB300_0000FFFF,
    FlatSelector.RING3_CS: 0x00CFFB00_0000FFFF,
    FlatSelector.RING3_DS: 0x00CFF300_0000FFFF,
}
"""Base 0, limit 4 GiB, accessed: the segments Xen gives every guest."""


def reserved_gdt_page() -> bytes:
    """The page of every GDT that is the hypervisor's: its flat segments and nothing else."""
    page = bytearray(PAGE_SIZE)
    for selector, raw in FLAT_DESCRIPTORS.items():
        page[(selector & 0xFF8) : (selector & 0xFF8) + 8] = raw.to_bytes(8, "little")
    return bytes(page)


def check_descriptor(raw: int, hole: int) -> int | None:
    """The descriptor as it may be stored, or None if it may not. `hole` is where the hypervisor's area
    starts.
    """
    a, b = raw & 0xFFFF_FFFF, raw >> 32
    if not b & _PRESENT:
        return raw
    dpl = max(b >> 13 & 3, KERNEL_RING)
    if b & _S:
        return None if b & _LONG else _extended(a, b & ~_DPL | dpl << 13, hole)
    kind = b & _TYPE
    if kind == 0:
        # Harmless: nothing loads it. 64-bit Xen has such halves of call gates, and leaves them as they are.
        return raw
    if kind != _CALL_GATE or not gate_selector_okay(a >> 16) or b & 0xE0:
        return None
    target = a >> 16 & ~3 | dpl
    return (b & ~_DPL) << 32 | target << 16 | a & 0xFFFF


def _extended(a: int, b: int, hole: int) -> int:
    """A flat segment that reaches into the hypervisor's area reaches all of it: it may hold a larger m2p
    table.
    """
    base = b & 0xFF00_0000 | (b & 0xFF) << 16 | a >> 16
    size = (b & 0xF_0000 | a & 0xFFFF) + 1
    if b & _GRANULAR:
        size <<= 12
    if base == 0 and size > hole:
        a, b = a | 0xFFFF, b | 0xF_0000
    return b << 32 | a


def gate_selector_okay(selector: int) -> bool:
    """Whether a gate may lead to `selector`: a guest's own segment, or the flat kernel code segment."""
    return selector >> 3 < FIRST_RESERVED_GDT_ENTRY or selector == FlatSelector.RING1_CS or bool(selector & 4)


def used(raw: int) -> int | None:
    """The descriptor as a processor leaves it that has just loaded it: with its Accessed bit.

    None if it has it already, or names no present segment, so that nothing would be loaded.
    """
    present_segment = raw >> 32 & (_PRESENT | _S) == _PRESENT | _S
    return raw | _ACCESSED << 32 if present_segment and not raw >> 32 & _ACCESSED else None


def validate_descriptors(ram: Ram, mfn: int, hole: int, describe: Callable[[int], str]) -> None:
    """Check and correct a frame that is to be part of a GDT or LDT. Raises Refusal (-EINVAL), changing
    nothing.
    """
    first = mfn << 9
    table = ram.quads[first : first + 512]
    changed: dict[int, int] = {}
    for slot, raw in enumerate(table.tolist()):
        if not raw:
            continue
        stored = check_descriptor(raw, hole)
        if stored is None:
            raise Refusal(
                Errno.EINVAL,
                f"{describe(mfn)} cannot be a descriptor table: entry {slot} is {raw:#018x}, {explain(raw)}",
            )
        if stored != raw:
            changed[slot] = stored
    for slot, stored in changed.items():
        table[slot] = stored
    if changed:
        ram.code_changed(mfn)


class DescriptorPages:
    """The contents of frames that are descriptor tables. They refer to nothing, so there is nothing to let
    go of.
    """

    def __init__(self, ram: Ram, frames: FrameTable) -> None:
        self._ram = ram
        self._frames = frames

    def promote(self, mfn: int, domain: Owner, *, xen_l2: bool = False) -> None:
        """Check and correct every descriptor. Raises Refusal."""
        validate_descriptors(self._ram, mfn, domain.space.hole, self._frames.describe)

    def demote(self, mfn: int, domain: Owner) -> None:
        """Nothing to do: the contents stay good, as nobody can write them before the type changes."""


def explain(raw: int) -> str:
    """Why `check_descriptor` does not take a descriptor, for refusals."""
    a, b = raw & 0xFFFF_FFFF, raw >> 32
    if b & _S:
        return "a 64-bit code segment"
    if b & _TYPE != _CALL_GATE:
        return f"a present system descriptor of type {b >> 8 & 15:#x}; only call gates may be present"
    if not gate_selector_okay(a >> 16):
        return f"a call gate to selector {a >> 16:#x}, which is the hypervisor's"
    return "a call gate with reserved bits set"
