"""Random hypercalls on page tables: their arguments, and what those point to."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.hypercall import MULTICALL_ENTRY, Hypercall, MulticallEntry
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, MmuextOp, UvmFlag
from paravane.x86 import PAGE_SIZE, Pte
from tests.support.page_table_kernel import ARENA_SIZE, POOL, TABLE_VA, TABLES

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

_DATA: Final = int(Pte.PRESENT | Pte.RW | Pte.ACCESSED | Pte.DIRTY)
_READ_ONLY: Final = int(Pte.PRESENT | Pte.ACCESSED)
_ODD: Final = (Pte.PWT, Pte.PCD, Pte.PSE, Pte.GLOBAL, 1 << 52, 1 << 62, 1 << 63)
_NO_RESULT: Final = 0x5A5A_5A5A
_DEBRIS: Final = (0, 0, 0, 1 << 20, 0x60, 0xFFFF_FFFF_FFFF_FFFE)
_DESCRIPTORS: Final = (
    *(0, 0x00CF_F300_0000_FFFF, 0x00CF_9B00_0000_FFFF, 0x5A40_F312_3456_0FFF, 0x0040_9212_0000_FFFF),
    *(0x00CF_F200_0000_0000, 0x0000_6612_3456_789A, 0x00AF_9B00_0000_FFFF, 0x0000_8C00_0008_1000),
    *(0x0000_8912_3456_0067, 0x000F_F300_0000_FFFF, 0x00C0_F300_0000_FFFF, 0x0000_8000_0000_0000),
)
"""Absent, flat, with a base, of ring 0, short, 64-bit, call gate, TSS."""

Call = tuple[int, ...]
"""A hypercall: its number, and EBX, ECX and so on."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the guest of a script has things: linear addresses, two roots by frame, and frames by linear
    address."""

    script: int
    arena: int
    pool: int
    tables: int
    gdt: int
    roots: tuple[int, int]
    entry_size: int
    frame_at: Callable[[int], int | None]

    def mfn(self, va: int) -> int:
        """The frame behind one of the kernel's own pages."""
        found = self.frame_at(va)
        assert found is not None
        return found


class Calls:
    """Makes up hypercalls. What they point to goes into the arena, in order."""

    def __init__(self, place: Place, source: random.Random) -> None:
        self._place = place
        self._source = source
        self._arena = bytearray()
        self._entries = PAGE_SIZE // place.entry_size
        self._pool = [place.mfn(place.pool + at * PAGE_SIZE) for at in range(POOL)]
        self._tables = [place.mfn(place.tables + at * PAGE_SIZE) for at in range(TABLES)]

    @property
    def tables(self) -> int:
        """The linear address of the first table."""
        return self._place.tables

    @property
    def arena(self) -> bytes:
        assert len(self._arena) <= ARENA_SIZE
        return bytes(self._arena)

    def maps(self, slots: Iterable[int]) -> Call:
        """An mmu_update: these slots of the second table map pages of data."""
        first, size = self._tables[1] << 12, self._place.entry_size
        requests = [
            struct.pack("<QQ", first + slot % self._entries * size, self._pool[-1 - slot % 4] << 12 | _DATA)
            for slot in slots
        ]
        return Hypercall.mmu_update, self.put(b"".join(requests)), len(requests), 0, DomId.SELF

    def list(self, calls: Sequence[Call]) -> Call:
        """A multicall of them."""
        entries = (
            MulticallEntry(number, _NO_RESULT, (*arguments, *[0] * (6 - len(arguments))))
            for number, *arguments in calls
        )
        return Hypercall.multicall, self.put(b"".join(map(MULTICALL_ENTRY.pack, entries))), len(calls)

    def map_again(self, va: int, at: int = 0) -> Call:
        """An update_va_mapping: slot 100 * `at` of the first table maps the page of `va` as well."""
        entry = self._place.mfn(va & -PAGE_SIZE) << 12 | _DATA
        return Hypercall.update_va_mapping, TABLE_VA + at * 100 * PAGE_SIZE, entry, 0, UvmFlag.INVLPG

    def put(self, data: bytes) -> int:
        """Data in the arena, mostly somewhere and now and then across the end of a page; its address."""
        source = self._source
        offset = len(self._arena) + 4 * source.randrange(4)
        if len(data) > 4 and not source.randrange(4):
            end = -(-(offset + len(data)) // PAGE_SIZE) * PAGE_SIZE
            offset = end - 4 * source.randrange(1, len(data) // 4)
        self._arena += bytes(offset - len(self._arena)) + data
        return self._place.arena + offset

    def entry(self) -> int:
        """A page-table entry: of a page of data, or something worse."""
        source = self._source
        kind = source.randrange(20)
        if kind < 4:
            return source.choice(_DEBRIS)
        frame = source.choice(self._pool)
        if kind == 4:
            frame = source.choice((*self._tables, 0, 0xFFFFF, self._place.mfn(self._place.script)))
        flags = source.choice((_DATA, _DATA, _READ_ONLY, int(Pte.PRESENT), int(Pte.PRESENT | Pte.RW)))
        flags |= source.choice((0, 0, int(Pte.USER), 1 << 9))
        if kind == 5:
            flags |= int(source.choice(_ODD))
        return frame << 12 | flags

    def address(self) -> int:
        """A linear address that a table maps; few, so that they meet again."""
        return TABLE_VA + self._source.randrange(6) * PAGE_SIZE * 100 + self._source.choice((0, 0, 0xFFC))

    def operation(self, command: int, argument: int, pdone: int = 0) -> Call:
        """An mmuext_op of one operation."""
        place = self.put(MMUEXT_OP.pack(MmuextOp(command, argument, 0)))
        return Hypercall.mmuext_op, place, 1, pdone, DomId.SELF

    def flush_local(self, count: int) -> Call:
        """An mmuext_op of flushes of this vcpu's own TLB."""
        place = self.put(MMUEXT_OP.pack(MmuextOp(MmuextCmd.TLB_FLUSH_LOCAL, 0, 0)) * count)
        return Hypercall.mmuext_op, place, count, 0, DomId.SELF

    def mapping(self) -> Call:
        """An update_va_mapping."""
        source, entry = self._source, self.entry()
        flags = source.choice((UvmFlag.NONE, UvmFlag.INVLPG, UvmFlag.INVLPG, UvmFlag.TLB_FLUSH))
        scope = source.choice((0, 0, UvmFlag.ALL, self._place.arena))
        va = source.choice((self.address(), self.address(), 0, 0xF580_0000, 0x4000_0000))
        return Hypercall.update_va_mapping, va, entry & 0xFFFF_FFFF, entry >> 32, flags | scope

    def flushes(self) -> Call:
        """An mmuext_op of flushes."""
        source = self._source
        commands = (
            *(MmuextCmd.TLB_FLUSH_LOCAL, MmuextCmd.INVLPG_LOCAL, MmuextCmd.TLB_FLUSH_ALL),
            *(MmuextCmd.INVLPG_ALL, MmuextCmd.INVLPG_MULTI, MmuextCmd.FLUSH_CACHE, 99),
        )
        weights = (6, 6, 3, 3, 1, 1, 1)
        chosen = source.choices(commands, weights, k=source.choice((1, 1, 2, 5)))
        place = self.put(b"".join(MMUEXT_OP.pack(MmuextOp(c, self.address(), 0)) for c in chosen))
        return Hypercall.mmuext_op, place, len(chosen), self.pdone(), DomId.SELF

    def batch(self) -> Call:
        """An mmu_update."""
        source = self._source
        size = source.choice((0, 1, 1, 1, 1, 2, 3, 8, 40))
        spoiled = not source.randrange(4)
        requests = b"".join(self._request(spoiled=spoiled and at == size - 1) for at in range(size))
        whose = source.choice((DomId.SELF,) * 12 + (1, DomId.IO, DomId.SELF | 1 << 16))
        return Hypercall.mmu_update, self.put(requests), size, self.pdone(), whose

    def _request(self, *, spoiled: bool) -> bytes:
        """`spoiled`: for a table that is not in use, a frame that does not exist, or of no kind."""
        source, size = self._source, self._place.entry_size
        table = self._tables[source.randrange(TABLES - 1)]
        command = source.choice((0, 0, 2))
        if spoiled:
            table = source.choice((self._tables[-1], self._pool[0], 1 << 30))
            command = source.choice((0, 1, 2, 3))
        slot = source.randrange(6) * 100 % self._entries
        return struct.pack("<QQ", (table << 12) + slot * size + command, self.entry() & (1 << 64) - 1)

    def pdone(self) -> int:
        """Where the number of what was done is to be told, mostly nowhere."""
        source = self._source
        if source.randrange(3):
            return 0
        place = self.put(bytes(4))
        return source.choice((place, place, place + 2, self._place.tables, self.address(), 0xFFFF_FFF0))

    def base(self) -> Call:
        """Another root, or what can be none."""
        source = self._source
        spoiled = source.choice((0, 1 << 20, 0xFFFF_FFFF, self._pool[0], self._tables[0]))
        frame = source.choice((*self._place.roots, *self._place.roots, *self._place.roots, spoiled))
        return self.operation(MmuextCmd.NEW_BASEPTR, frame, self.pdone())

    def pin(self) -> Call:
        """Pin or unpin a table, or what is none: mostly the one that is not in use."""
        source = self._source
        commands = (
            MmuextCmd.PIN_L1_TABLE,
            MmuextCmd.UNPIN_TABLE,
            MmuextCmd.PIN_L2_TABLE,
            MmuextCmd.PIN_L3_TABLE,
        )
        command = source.choices(commands, (6, 6, 1, 1))[0]
        others = (*self._tables, *self._place.roots, self._pool[0], 0, 1 << 20)
        frame = self._tables[-1] if source.randrange(3) else source.choice(others)
        return self.operation(command, frame, self.pdone())

    def switch_base(self, at: int) -> Call:
        """To the first or the second root."""
        return self.operation(MmuextCmd.NEW_BASEPTR, self._place.roots[at])

    def pin_unused(self, *, pinned: bool = True) -> Call:
        """Pin or unpin the table that is not in use."""
        return self.operation(MmuextCmd.PIN_L1_TABLE if pinned else MmuextCmd.UNPIN_TABLE, self._tables[-1])

    def set_descriptor(self, slot: int, raw: int) -> Call:
        """An update_descriptor of the GDT."""
        maddr = (self._place.mfn(self._place.gdt) << 12) + 8 * slot
        return Hypercall.update_descriptor, maddr, 0, raw & 0xFFFF_FFFF, raw >> 32

    def ldt(self) -> Call:
        """The page of the GDT is the LDT as well, or nothing is."""
        va, entries = self._source.choice(((self._place.gdt, 512), (0, 0)))
        place = self.put(MMUEXT_OP.pack(MmuextOp(MmuextCmd.SET_LDT, va, entries)))
        return Hypercall.mmuext_op, place, 1, 0, DomId.SELF

    def descriptor(self) -> Call:
        """A descriptor of the GDT, or what is none; slot 3 might be the kernel's own."""
        source = self._source
        maddr = (self._place.mfn(self._place.gdt) << 12) + 8 * source.choice((1, 1, 2, 3, 6, 7, 511))
        if not source.randrange(8):
            maddr = source.choice((maddr + 4, self._pool[0] << 12, self._tables[0] << 12, 1 << 40, 1 << 63))
        raw = source.choice(_DESCRIPTORS)
        if not source.randrange(4):
            raw ^= 1 << source.randrange(64)
        halves = (maddr & 0xFFFF_FFFF, maddr >> 32, raw & 0xFFFF_FFFF, raw >> 32)
        return Hypercall.update_descriptor, *halves

    def version(self) -> Call:
        """What is answered without a look at memory."""
        stack = Hypercall.stack_switch, 0xE021, self._place.arena
        task = Hypercall.fpu_taskswitch, self._source.randrange(2)
        return self._source.choice(
            ((Hypercall.xen_version, 0, 0), (Hypercall.xen_version, 99, 0), stack, task)
        )

    def unserved(self) -> Call:
        """What is refused, or is not served by native code."""
        choices = ((Hypercall.multicall, self._place.arena, 1), (Hypercall.set_timer_op, 1, 0), (99,))
        return self._source.choice(choices)
