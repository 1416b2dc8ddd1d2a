"""Writable page tables: a guest's plain stores to its L1 tables, carried out as checked updates.

A guest maps its page tables read-only. If it asked for that with vm_assist, a store to an L1 table does not
fault to it: the store is decoded, the entry it makes is checked like any other, and the guest goes on
behind it. Stores to L2 and L3 tables are the guest's own #PF, as in Xen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from paravane.cpu.faults import PageFault
from paravane.memory.frames import L1
from paravane.memory.instruction import ARITHMETIC, BIT, MAX_INSTRUCTION, SINGLE, Store, compute
from paravane.refusal import Refusal
from paravane.x86 import Eflags, PageFaultCode

if TYPE_CHECKING:
    from paravane.cpu import Cpu
    from paravane.memory.vcpu_paging import VcpuPaging

KERNEL_CPL: Final = 1
_NAMES: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
_EAX, _ECX, _EDX, _EBX, _ESI, _EDI = 0, 1, 2, 3, 6, 7
_WRITE_PRESENT: Final = PageFaultCode.page_present | PageFaultCode.write_access
_NOT_A_STORE: Final = PageFaultCode.reserved_bit | PageFaultCode.insn_fetch
_PAGE: Final = 0xFFFF_F000


class _NotEmulated(Exception):
    """The store is not one that is carried out here: the fault is the guest's."""


def store_to_page_table(paging: VcpuPaging, va: int, error_code: int) -> bool:
    """Carry out the store that faulted at `va` if it changes an own L1 table; whether it was done."""
    if error_code & _WRITE_PRESENT != _WRITE_PRESENT or error_code & _NOT_A_STORE:
        return False
    domain = paging.domain
    if not domain.writable_page_tables or paging.cpu.cpl != KERNEL_CPL:
        return False
    entry = paging.read_l1_entry(va)
    if entry & 3 != 1:
        return False
    mfn = (entry & domain.space.geometry.address_mask) >> 12
    if not domain.machine.frames.in_use_as(mfn, domain.domid, L1):
        return False
    try:
        return _Emulation(paging, va, mfn).run()
    except _NotEmulated:
        return False


class _Emulation:
    """One instruction that stores to L1 table `mfn`, mapped read-only at the page of `va`."""

    def __init__(self, paging: VcpuPaging, va: int, mfn: int) -> None:
        # Only a real processor faults, so here it has all its registers.
        self._cpu = cast("Cpu", paging.cpu)
        self._domain = paging.domain
        self._va = va
        self._mfn = mfn
        self._registers = list(self._cpu.gprs())

    def run(self) -> bool:
        cpu = self._cpu
        try:
            code = self._fetch()
            instruction = self._domain.store_decoder.decode(code)
            if instruction is None:
                return False
            self._execute(instruction)
        except PageFault:
            # Another page the instruction uses is gone, or was never there. Without what the processor
            # remembers of it, it will fault on that page by itself.
            cpu.flush_tlb()
        return True

    def _fetch(self) -> bytes:
        address = self._cpu.segment_base("cs") + self._cpu.eip & 0xFFFF_FFFF
        try:
            return self._cpu.read(address, MAX_INSTRUCTION)
        except PageFault as fault:
            return self._cpu.read(address, fault.va - address & 0xFFFF_FFFF)

    def _execute(self, op: Store) -> None:
        if op.name in ("movs", "stos"):
            self._string(op)
            return
        address = self._address(op)
        if op.name == "cmpxchg8b":
            self._compare_exchange_8(op, address)
        elif op.name in ("mov", "movnti"):
            self._update(address, self._source(op), op.size, plain=True)
        elif op.name in BIT:
            self._bit(op, address)
        else:
            self._read_modify_write(op, address)
        self._cpu.eip = self._cpu.eip + op.length & 0xFFFF_FFFF

    def _address(self, op: Store) -> int:
        address = op.displacement + self._cpu.segment_base(op.segment)
        address += self._registers[op.base] if op.base >= 0 else 0
        address += self._registers[op.index] * op.scale if op.index >= 0 else 0
        return address & 0xFFFF_FFFF

    def _source(self, op: Store) -> int:
        if op.selector:
            return self._cpu.selector(op.selector)
        if op.source is None:
            return op.immediate & (1 << 8 * op.size) - 1
        number, shift = op.source
        return self._registers[number] >> shift & (1 << 8 * op.size) - 1

    def _set_register(self, number: int, value: int) -> None:
        setattr(self._cpu, _NAMES[number], value & 0xFFFF_FFFF)
        self._registers[number] = value & 0xFFFF_FFFF

    def _set_source(self, op: Store, value: int) -> None:
        """Put a value of the operand's size into the source register, keeping the rest of it."""
        assert op.source is not None
        number, shift = op.source
        mask = (1 << 8 * op.size) - 1 << shift
        self._set_register(number, self._registers[number] & ~mask | value << shift & mask)

    def _read_modify_write(self, op: Store, address: int) -> None:
        cpu = self._cpu
        old, flags = int.from_bytes(cpu.read(address, op.size), "little"), cpu.eflags
        if op.name == "cmpxchg":
            self._compare_exchange(op, address, old)
            return
        operand = 0 if op.name in SINGLE else self._source(op)
        if op.name == "xchg":
            new, after = operand, flags
        else:
            new, after = compute("add" if op.name == "xadd" else op.name, old, operand, op.size, flags)
        self._update(address, new, op.size, plain=not op.locked)
        if op.name in ARITHMETIC or op.name in SINGLE or op.name == "xadd":
            cpu.eflags = after
        if op.name in ("xchg", "xadd"):
            self._set_source(op, old)

    def _compare_exchange(self, op: Store, address: int, old: int) -> None:
        mask = (1 << 8 * op.size) - 1
        accumulator = self._registers[_EAX] & mask
        _, flags = compute("cmp", accumulator, old, op.size, self._cpu.eflags)
        if accumulator == old:
            self._update(address, self._source(op), op.size, plain=not op.locked)
        else:
            self._set_register(_EAX, self._registers[_EAX] & ~mask | old)
        self._cpu.eflags = flags

    def _compare_exchange_8(self, op: Store, address: int) -> None:
        old = int.from_bytes(self._cpu.read(address, 8), "little")
        registers, flags = self._registers, self._cpu.eflags
        if registers[_EDX] << 32 | registers[_EAX] == old:
            self._update(address, registers[_ECX] << 32 | registers[_EBX], 8, plain=not op.locked)
            self._cpu.eflags = flags | Eflags.ZF
        else:
            self._set_register(_EAX, old & 0xFFFF_FFFF)
            self._set_register(_EDX, old >> 32)
            self._cpu.eflags = flags & ~Eflags.ZF

    def _bit(self, op: Store, address: int) -> None:
        """A bit number in a register reaches beyond the operand, both ways; an immediate does not."""
        bits = 8 * op.size
        number = self._source(op)
        if op.source is not None:
            signed = number - (1 << bits) if number >> bits - 1 else number
            address = address + (signed // bits) * op.size & 0xFFFF_FFFF
        bit = 1 << number % bits
        old = int.from_bytes(self._cpu.read(address, op.size), "little")
        new = {"bts": old | bit, "btr": old & ~bit, "btc": old ^ bit}[op.name]
        flags = self._cpu.eflags & ~Eflags.CF | (Eflags.CF if old & bit else 0)
        self._update(address, new, op.size, plain=not op.locked)
        self._cpu.eflags = flags

    def _string(self, op: Store) -> None:
        """Elements until the page or the count ends. The instruction goes on by itself where this stops."""
        step = -op.size if self._cpu.eflags & Eflags.DF else op.size
        base, done = self._cpu.segment_base("es"), 0
        while not op.repeated or self._registers[_ECX]:
            address = base + self._registers[_EDI] & 0xFFFF_FFFF
            if (address ^ self._va) & _PAGE and done:
                return
            try:
                self._string_element(op, address)
            except (_NotEmulated, PageFault):
                if done:
                    return
                raise
            done += 1
            self._set_register(_EDI, self._registers[_EDI] + step)
            if op.name == "movs":
                self._set_register(_ESI, self._registers[_ESI] + step)
            if not op.repeated:
                break
            self._set_register(_ECX, self._registers[_ECX] - 1)
        self._cpu.eip = self._cpu.eip + op.length & 0xFFFF_FFFF

    def _string_element(self, op: Store, address: int) -> None:
        if op.name == "movs":
            source = self._cpu.segment_base(op.segment) + self._registers[_ESI] & 0xFFFF_FFFF
            value = int.from_bytes(self._cpu.read(source, op.size), "little")
        else:
            value = self._registers[_EAX] & (1 << 8 * op.size) - 1
        self._update(address, value, op.size, plain=True)

    def _update(self, address: int, value: int, size: int, *, plain: bool) -> None:
        """Store `size` bytes at `address`, checked as the whole entry they make. Raises _NotEmulated.

        A store to the upper half of a PAE entry that makes it wrong is taken for the first of two in the
        wrong order: the entry stays not present until its lower half is written.
        """
        domain, tables = self._domain, self._domain.machine.tables
        space, entry_size = domain.space, 1 << domain.space.entry_shift
        if (address ^ self._va) & _PAGE or address & size - 1 or size > entry_size:
            raise _NotEmulated
        index = (self._mfn << space.table_shift) + ((address & 0xFFF) >> space.entry_shift)
        shift = 8 * (address & entry_size - 1)
        old: int = domain.entries[index]
        new = old & ~((1 << 8 * size) - 1 << shift) | value << shift
        if new & 1:
            try:
                new = tables.l1.get_entry(new, domain, domain.domid)
            except Refusal:
                if not plain or not (size == 4 and entry_size == 8 and address & 4):
                    raise _NotEmulated from None
                new &= ~1
        tables.store(domain, index, new)
        tables.l1.put_entry(old, domain)
