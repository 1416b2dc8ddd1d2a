"""Random page-table work of a guest: a kernel that carries out a script, and who writes the script.

The script is put into the guest's memory before it runs, when the numbers of its frames are known. A step is
a hypercall with given registers, a load and a store at an address, or a raw store; what came of it is written
over it, so that the guest's memory tells afterwards.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.hypercall import MULTICALL_ENTRY, Hypercall, MulticallEntry
from paravane.abi.memory import XEN_MEMORY_RESERVATION, MemoryOp, XenMemoryReservation
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, MmuextOp, UvmFlag
from paravane.x86 import PAGE_SIZE, Pte
from tests.support.prelude import prelude

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

POOL: Final = 12
"""Pages of data that entries map."""
TABLES: Final = 3
"""L1 tables; the first two are in use."""
TABLE_VA: Final = 0xD000_0000
SCRIPT_SIZE: Final = 128 << 10
ARENA_SIZE: Final = 256 << 10
_STEP: Final = struct.Struct("<8I")
_END, _CALL, _TOUCH, _STORE, _PEND = range(5)
_DATA: Final = int(Pte.PRESENT | Pte.RW | Pte.ACCESSED | Pte.DIRTY)
_READ_ONLY: Final = int(Pte.PRESENT | Pte.ACCESSED)
_ODD: Final = (Pte.PWT, Pte.PCD, Pte.PSE, Pte.GLOBAL, 1 << 52, 1 << 62, 1 << 63)
_NO_RESULT: Final = 0x5A5A_5A5A
_DEBRIS: Final = (0, 0, 0, 1 << 20, 0x60, 0xFFFF_FFFF_FFFF_FFFE)

Call = tuple[int, ...]
"""A hypercall: its number, and EBX, ECX and so on."""

KERNEL: Final = (
    prelude("paging", "shared", "events")
    + f"""
.globl script, arena, pool, tables

    .data
    .balign 4
trap_table:
    TRAP_GATE 14, 0, faulted
    TRAP_TABLE_END
resume: .long 0
resume_esp: .long 0
step:   .long script
upcalls: .long 0

    .bss
    .balign PAGE_SIZE
tables: .skip {TABLES} * PAGE_SIZE
pool:   .skip {POOL} * PAGE_SIZE
script: .skip {SCRIPT_SIZE}
arena:  .skip {ARENA_SIZE}

    .text
    .type main, @function
main:
    call events_init
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall_here, %ecx
    movl %ebx, %edx
    movl $faulted, %esi
    HYPERCALL set_callbacks
    movl $trap_table, %eax
    call set_trap_table
    movl $VMASST_CMD_enable, %ebx
    movl $VMASST_TYPE_writable_pagetables, %ecx
    HYPERCALL vm_assist
    movl $tables, %esi
    movl $({TABLE_VA} >> L2_SHIFT) & (ENTRIES - 1), %edi
1:  movl %esi, %eax
    call make_read_only
    MUST make_read_only
    cmpl $tables + ({TABLES} - 1) * PAGE_SIZE, %esi
    je run
    movl %esi, %eax
    call va_to_mfn
    movl %eax, %ebx
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, %edi, %ebx, $PTE_TABLE
    MUST mmu_update
    incl %edi
    addl $PAGE_SIZE, %esi
    jmp 1b
run:
    movl step, %ebp
    movl (%ebp), %eax
    cmpl ${_CALL}, %eax
    je call
    cmpl ${_TOUCH}, %eax
    je touch
    cmpl ${_STORE}, %eax
    je store
    cmpl ${_PEND}, %eax
    je pend
    movl upcalls, %eax
    SHOW_HEX "upcalls "
    ret

call:
    movl 4(%ebp), %eax
    movl 8(%ebp), %ebx
    movl 12(%ebp), %ecx
    movl 16(%ebp), %edx
    movl 20(%ebp), %esi
    movl 24(%ebp), %edi
    int $0x82
    movl step, %ebp
    movl %eax, 4(%ebp)
    movl %ebx, 8(%ebp)
    movl %ecx, 12(%ebp)
    movl %edx, 16(%ebp)
    movl %esi, 20(%ebp)
    jmp next

pend:                               # an upcall, if it is not masked, after the next trap
    movl $UPCALL_MASK - 1, %ecx
    movl 4(%ebp), %eax
    movb %al, (%ecx)
    movl 8(%ebp), %eax
    movb %al, 1(%ecx)
    jmp next

touch:                              # the first word of a page: what is there, and whether it can be written
    call catch_faults
    movl $3f, resume
    movl 4(%ebp), %ecx
    movl $1, 28(%ebp)
    movl (%ecx), %eax
    movl %eax, 8(%ebp)
    movl $2, 28(%ebp)
    movl %ecx, (%ecx)
    movl $3, 28(%ebp)
3:  movl step, %ebp
    jmp next

store:                              # ECX where EBX points
    call catch_faults
    movl $3b, resume
    movl 4(%ebp), %ebx
    movl 8(%ebp), %ecx
    movl $1, 28(%ebp)
    movl %ecx, (%ebx)
    movl $2, 28(%ebp)

next:
    addl ${_STEP.size}, step
    jmp run

catch_faults:                       # anew: a list that reads zeroes for an entry has no trap table set
    movl $trap_table, %eax
    call set_trap_table
    movl step, %ebp
    leal 4(%esp), %eax
    movl %eax, resume_esp
    ret

faulted:
    movl resume_esp, %esp
    jmp *resume

# An upcall is only counted: what was pending is not any more.
upcall_here:
    pushl %eax
    incl upcalls
    movl $UPCALL_MASK - 1, %eax
    movb $0, (%eax)
    movb $0, 1(%eax)
    popl %eax
    iret
"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the guest of a script has things: linear addresses, and frames by linear address."""

    script: int
    arena: int
    pool: int
    tables: int
    entry_size: int
    frame_at: Callable[[int], int | None]

    def mfn(self, va: int) -> int:
        """The frame behind one of the kernel's own pages."""
        found = self.frame_at(va)
        assert found is not None
        return found


class Writer:
    """Writes one script. What its hypercalls point to goes into the arena, in order."""

    def __init__(self, place: Place, source: random.Random) -> None:
        self._place = place
        self._source = source
        self._steps: list[bytes] = []
        self._arena = bytearray()
        self._entries = PAGE_SIZE // place.entry_size
        self._pool = [place.mfn(place.pool + at * PAGE_SIZE) for at in range(POOL)]
        self._doomed = list(range(POOL // 2))
        self._tables = [place.mfn(place.tables + at * PAGE_SIZE) for at in range(TABLES)]

    @property
    def script(self) -> bytes:
        """All steps, and the end."""
        done = b"".join(self._steps) + _STEP.pack(*[_END] * 8)
        assert len(done) <= SCRIPT_SIZE
        return done

    @property
    def arena(self) -> bytes:
        assert len(self._arena) <= ARENA_SIZE
        return bytes(self._arena)

    def write(self, steps: int) -> None:
        """`steps` random ones."""
        kinds = (
            *(self._touch, self._store, self._pend, self._give_away),
            *(self._mapping, self._flushes, self._batch, self._list),
        )
        for _ in range(steps):
            self._source.choices(kinds, (4, 2, 1, 1, 4, 1, 5, 4))[0]()

    def call(self, number: int, *arguments: int) -> None:
        """A hypercall of one's choice."""
        self._step(_CALL, number, *arguments)

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

    def _step(self, kind: int, *words: int) -> None:
        padded = [word & 0xFFFF_FFFF for word in words] + [0] * (7 - len(words))
        self._steps.append(_STEP.pack(kind, *padded))

    def _touch(self) -> None:
        """See where an address is mapped now, without what the processor remembers of it."""
        va = self.address() & -PAGE_SIZE
        self.call(*self._flush(MmuextCmd.INVLPG_LOCAL, va))
        self._step(_TOUCH, va)

    def _store(self) -> None:
        """Half an entry, as a guest with writable page tables stores it."""
        source, table = self._source, self._place.tables + self._source.randrange(TABLES) * PAGE_SIZE
        half = source.choice((0, 0, 4)) if self._place.entry_size == 8 else 0
        self._step(_STORE, table + source.randrange(6) * 100 * self._place.entry_size + half, self.entry())

    def _pend(self) -> None:
        """An upcall, mostly one that is not masked."""
        self._step(_PEND, 1, self._source.choice((0, 0, 1)))

    def _give_away(self) -> None:
        """A page of data, which is free when no table maps it any more."""
        if not self._doomed:
            return
        at = self._doomed.pop()
        self.call(Hypercall.update_va_mapping, self._place.pool + at * PAGE_SIZE, 0, 0, UvmFlag.INVLPG)
        extent = self.put(struct.pack("<I", self._pool[at]))
        request = XenMemoryReservation(extent, 1, 0, 0, DomId.SELF)
        place = self.put(XEN_MEMORY_RESERVATION.pack(request))
        self.call(Hypercall.memory_op, MemoryOp.decrease_reservation, place)

    def _flush(self, command: int, argument: int) -> Call:
        place = self.put(MMUEXT_OP.pack(MmuextOp(command, argument, 0)))
        return Hypercall.mmuext_op, place, 1, 0, DomId.SELF

    def _mapping(self) -> None:
        self.call(*self._mapping_call())

    def _mapping_call(self) -> Call:
        source, entry = self._source, self.entry()
        flags = source.choice((UvmFlag.NONE, UvmFlag.INVLPG, UvmFlag.INVLPG, UvmFlag.TLB_FLUSH))
        scope = source.choice((0, 0, UvmFlag.ALL, self._place.arena))
        va = source.choice((self.address(), self.address(), 0, 0xF580_0000, 0x4000_0000))
        return Hypercall.update_va_mapping, va, entry & 0xFFFF_FFFF, entry >> 32, flags | scope

    def _flushes(self) -> None:
        self.call(*self._flushes_call())

    def _flushes_call(self) -> Call:
        source = self._source
        commands = (
            *(MmuextCmd.TLB_FLUSH_LOCAL, MmuextCmd.INVLPG_LOCAL, MmuextCmd.TLB_FLUSH_ALL),
            *(MmuextCmd.INVLPG_ALL, MmuextCmd.INVLPG_MULTI, MmuextCmd.FLUSH_CACHE, 99),
        )
        weights = (6, 6, 3, 3, 1, 1, 1)
        chosen = source.choices(commands, weights, k=source.choice((1, 1, 2, 5)))
        place = self.put(b"".join(MMUEXT_OP.pack(MmuextOp(c, self.address(), 0)) for c in chosen))
        return Hypercall.mmuext_op, place, len(chosen), self._pdone(), DomId.SELF

    def _batch(self) -> None:
        self.call(*self._batch_call())

    def _batch_call(self) -> Call:
        source = self._source
        size = source.choice((0, 1, 1, 1, 1, 2, 3, 8, 40))
        spoiled = not source.randrange(4)
        requests = b"".join(self._request(spoiled=spoiled and at == size - 1) for at in range(size))
        whose = source.choice((DomId.SELF,) * 12 + (1, DomId.IO, DomId.SELF | 1 << 16))
        return Hypercall.mmu_update, self.put(requests), size, self._pdone(), whose

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

    def _pdone(self) -> int:
        source = self._source
        if source.randrange(3):
            return 0
        place = self.put(bytes(4))
        return source.choice((place, place, place + 2, self._place.tables, self.address(), 0xFFFF_FFF0))

    def _list(self) -> None:
        """A multicall, sometimes where the tables under change map it."""
        source = self._source
        calls = (self._mapping_call, self._flushes_call, self._batch_call, self._version, self._unserved)
        chosen = [source.choices(calls, (4, 1, 4, 3, 1))[0]() for _ in range(source.choice((0, 1, 2, 5, 12)))]
        number, place, count = self.list(chosen)
        if place % PAGE_SIZE + count * MULTICALL_ENTRY.size <= PAGE_SIZE and not source.randrange(3):
            at = source.randrange(2)
            self.call(*self.map_again(place, at))
            place = TABLE_VA + at * 100 * PAGE_SIZE + place % PAGE_SIZE
        self.call(number, place, count)

    def _version(self) -> Call:
        """What is answered without a look at memory."""
        stack = Hypercall.stack_switch, 0xE021, self._place.arena
        task = Hypercall.fpu_taskswitch, self._source.randrange(2)
        return self._source.choice(
            ((Hypercall.xen_version, 0, 0), (Hypercall.xen_version, 99, 0), stack, task)
        )

    def _unserved(self) -> Call:
        """What is refused, or is not served by native code."""
        choices = ((Hypercall.multicall, self._place.arena, 1), (Hypercall.set_timer_op, 1, 0), (99,))
        return self._source.choice(choices)


def results(steps: bytes) -> list[tuple[int, ...]]:
    """What came of each step of a script that ran: its kind, and the words that were written over it."""
    found = []
    for words in _STEP.iter_unpack(steps):
        if words[0] == _END:
            break
        found.append(words)
    return found
