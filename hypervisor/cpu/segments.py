"""Descriptor tables and the checks a segment load makes (SDM volume 3, chapters 3 and 5)."""

from typing import Final

from paravane.classes import NamedTuple
from paravane.cpu.faults import PageFault, SegmentFault
from paravane.cpu.paging import GuestMemory
from paravane.x86 import DescriptorFlags, Selector, Vector

VECTOR_NP: Final = int(Vector.NP)
VECTOR_SS: Final = int(Vector.SS)
VECTOR_GP: Final = int(Vector.GP)

_TABLE_LDT: Final = int(Selector.LDT)
_RPL: Final = int(Selector.RPL)
_WRITABLE: Final = int(DescriptorFlags.NOT_SYSTEM | DescriptorFlags.WRITABLE_OR_READABLE)


class Descriptor(NamedTuple):
    """A code or data descriptor as the processor caches it. `flags` is its high word; `limit` is in bytes."""

    selector: int
    base: int
    limit: int
    flags: int

    @property
    def dpl(self) -> int:
        return self.flags >> 13 & 3

    def has(self, flags: int) -> bool:
        """All of `flags` are set."""
        return self.flags & flags == flags

    @property
    def is_present(self) -> bool:
        return self.has(DescriptorFlags.PRESENT)

    @property
    def is_writable(self) -> bool:
        """A writable data segment."""
        return self.has(_WRITABLE) and not self.is_code

    @property
    def is_readable(self) -> bool:
        """Any data segment, or a readable code segment."""
        if not self.has(DescriptorFlags.NOT_SYSTEM):
            return False
        return not self.is_code or self.has(DescriptorFlags.WRITABLE_OR_READABLE)

    @property
    def expands_down(self) -> bool:
        return not self.is_code and self.has(DescriptorFlags.CONFORMING_OR_DOWN)

    @property
    def bits(self) -> int:
        """Default operand and address size of a code segment; of a stack segment, the bits of ESP
        that count."""
        return 32 if self.has(DescriptorFlags.BIG) else 16

    def contains(self, offset: int, size: int) -> bool:
        """Whether `size` bytes at `offset` are within the limit; as in Xen, also if it expands down."""
        return offset + size - 1 <= self.limit

    @property
    def is_code(self) -> bool:
        return self.has(DescriptorFlags.NOT_SYSTEM | DescriptorFlags.CODE)

    @property
    def is_conforming(self) -> bool:
        return self.is_code and self.has(DescriptorFlags.CONFORMING_OR_DOWN)


class Table(NamedTuple):
    """A descriptor table: linear base, and limit in bytes minus one (or None when there is none)."""

    base: int
    limit: int | None


def unpack(selector: int, raw: int) -> Descriptor:
    """The parts of the 64-bit descriptor `raw`."""
    low, high = raw & 0xFFFFFFFF, raw >> 32
    base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000
    limit = low & 0xFFFF | high & 0xF0000
    if high & DescriptorFlags.GRANULARITY:
        limit = limit << 12 | 0xFFF
    return Descriptor(selector, base, limit, high)


def fetch(memory: GuestMemory, gdt: Table, ldt: Table, selector: int) -> Descriptor:
    """The descriptor `selector` names. #GP(selector) outside the tables or where they are unmapped."""
    refusal = SegmentFault(VECTOR_GP, selector & ~_RPL)
    table = ldt if selector & _TABLE_LDT else gdt
    offset = selector & ~7
    if table.limit is None or offset + 7 > table.limit:
        raise refusal
    try:
        raw = memory.read(table.base + offset, 8)
    except PageFault:
        raise refusal from None
    return unpack(selector, int.from_bytes(raw, "little"))


def mark_accessed(memory: GuestMemory, gdt: Table, ldt: Table, descriptor: Descriptor) -> Descriptor:
    """Set the accessed bit in the table, as a segment load does (also where the guest sees it read-only)."""
    if descriptor.has(DescriptorFlags.ACCESSED):
        return descriptor
    table = ldt if descriptor.selector & _TABLE_LDT else gdt
    maddr = memory.translate(table.base + (descriptor.selector & ~7) + 5)
    memory.ram.bytes[maddr] |= 1
    return descriptor._replace(flags=descriptor.flags | DescriptorFlags.ACCESSED)


def check_code(descriptor: Descriptor, cpl: int) -> None:
    """May ring `cpl` be entered through this code segment? (SDM 5.8.1 as IRET applies it.)"""
    refusal = SegmentFault(VECTOR_GP, descriptor.selector & ~_RPL)
    if not descriptor.is_code or descriptor.selector & _RPL != cpl:
        raise refusal
    if descriptor.dpl > cpl if descriptor.is_conforming else descriptor.dpl != cpl:
        raise refusal
    if not descriptor.has(DescriptorFlags.PRESENT):
        raise SegmentFault(VECTOR_NP, descriptor.selector & ~_RPL)


def check_stack(descriptor: Descriptor, cpl: int) -> None:
    """May ring `cpl` use this as its stack segment?"""
    writable = descriptor.has(DescriptorFlags.NOT_SYSTEM | DescriptorFlags.WRITABLE_OR_READABLE)
    if not writable or descriptor.is_code or descriptor.selector & _RPL != cpl or descriptor.dpl != cpl:
        raise SegmentFault(VECTOR_GP, descriptor.selector & ~_RPL)
    if not descriptor.has(DescriptorFlags.PRESENT):
        raise SegmentFault(VECTOR_SS, descriptor.selector & ~_RPL)


def check_data(descriptor: Descriptor, cpl: int) -> None:
    """May ring `cpl` load this into DS, ES, FS or GS?"""
    refusal = SegmentFault(VECTOR_GP, descriptor.selector & ~_RPL)
    if not descriptor.has(DescriptorFlags.NOT_SYSTEM):
        raise refusal
    if descriptor.is_code and not descriptor.has(DescriptorFlags.WRITABLE_OR_READABLE):
        raise refusal
    if not descriptor.is_conforming and max(cpl, descriptor.selector & _RPL) > descriptor.dpl:
        raise refusal
    if not descriptor.has(DescriptorFlags.PRESENT):
        raise SegmentFault(VECTOR_NP, descriptor.selector & ~_RPL)
