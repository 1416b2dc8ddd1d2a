"""One store to a page table, carried out for the guest as the processor would have done it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.memory.arithmetic import COUNT_MASK, compute, condition, double_shift, shift
from paravane.memory.instruction import (
    ARITHMETIC,
    BIT,
    BY_CL,
    DOUBLE_SHIFTS,
    SHIFTS,
    SINGLE,
    STRINGS,
    Store,
)
from paravane.x86 import Eflags

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu import Cpu

_NAMES: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_LINEAR: Final = 0xFFFF_FFFF
_TF: Final = int(Eflags.TF)


class NotEmulated(Exception):
    """The store is not one that is carried out here: the fault is the guest's."""


class TablePage(Protocol):
    """The page that is stored to."""

    def holds(self, address: int) -> bool:
        """Whether a linear address lies in it."""

    def store(self, address: int, value: int, size: int, *, plain: bool = True) -> None:
        """Store `size` bytes at a linear address. Raises NotEmulated, having changed nothing."""


class StoreEmulation:
    """Carries out `op` on `page`. Registers and flags change in copies, which `run` gives to the processor
    once nothing can fail any more.
    """

    def __init__(
        self, cpu: Cpu, page: TablePage, op: Store, read: Callable[[int, int], bytes] | None = None
    ) -> None:
        """`read` reads linear memory, size in bytes, as `Cpu.read` does, which is asked without it."""
        self._cpu = cpu
        self._read_bytes = cpu.read if read is None else read
        self._page = page
        self._op = op
        self._before = cpu.gprs()
        self._registers = list(self._before)
        self._eip = cpu.eip + op.length & _LINEAR
        self._eflags: int | None = None

    def run(self) -> bool:
        """Do it; whether the processor was single-stepping. Raises NotEmulated and PageFault; then registers
        are as they were, but for the elements of a string that are done.
        """
        stepping = self._cpu.system_eflags & _TF != 0
        _OPERATIONS[self._op.name](self)
        self._commit()
        return stepping

    def _commit(self) -> None:
        cpu = self._cpu
        registers = tuple(self._registers)
        if registers != self._before:
            for number, (old, new) in enumerate(zip(self._before, registers, strict=True)):
                if old != new:
                    setattr(cpu, _NAMES[number], new)
            self._before = cpu.gprs()
        if self._eflags is not None and self._eflags != cpu.eflags:
            cpu.eflags = self._eflags
        cpu.eip = self._eip

    @property
    def _flags(self) -> int:
        """EFLAGS, as far as it has come: a MOV, which is nearly every store, does without."""
        if self._eflags is None:
            self._eflags = self._cpu.eflags
        return self._eflags

    @_flags.setter
    def _flags(self, value: int) -> None:
        self._eflags = value

    # Operands

    def _read(self, address: int, size: int) -> int:
        return int.from_bytes(self._read_bytes(address, size), "little")

    def _linear(self, segment: str, offset: int) -> int:
        return self._cpu.segment_base(segment) + (offset & self._op.address_mask) & _LINEAR

    def _address(self) -> int:
        """Linear address of the memory operand."""
        op = self._op
        assert op.memory is not None
        return self._cpu.segment_base(op.segment) + op.memory.offset(self._registers) & _LINEAR

    def _source(self) -> int:
        op = self._op
        mask = (1 << 8 * op.size) - 1
        if op.source is None:
            return op.immediate & mask
        number, shift_by = op.source
        return self._registers[number] >> shift_by & mask

    def _set_register(self, number: int, value: int, size: int = 4, shift_by: int = 0) -> None:
        """Put a value of `size` bytes into a register, keeping the rest of it."""
        mask = (1 << 8 * size) - 1 << shift_by
        self._registers[number] = self._registers[number] & ~mask | value << shift_by & mask

    def _set_flag(self, flag: Eflags, on: bool) -> None:
        self._flags = self._flags | flag if on else self._flags & ~flag

    # Instructions with one operand in memory

    def _move(self) -> None:
        self._page.store(self._address(), self._source(), self._op.size)

    def _move_swapped(self) -> None:
        swapped = int.from_bytes(self._source().to_bytes(self._op.size, "little"), "big")
        self._page.store(self._address(), swapped, self._op.size)

    def _set(self) -> None:
        self._page.store(self._address(), int(condition(self._op.code, self._flags)), 1)

    def _pop(self) -> None:
        """The address counts from ESP as it is after the pop."""
        value = self._pop_value()
        self._page.store(self._address(), value, self._op.size)

    def _arpl(self) -> None:
        address = self._address()
        old, rpl = self._read(address, 2), self._source() & 3
        self._set_flag(Eflags.ZF, rpl > old & 3)
        if rpl > old & 3:
            self._page.store(address, old & ~3 | rpl, 2)

    def _arithmetic(self) -> None:
        name = self._op.name
        operand = 0 if name in SINGLE else self._source()
        self._update(lambda old: compute(name, old, operand, self._op.size, self._flags))

    def _shift(self) -> None:
        count = self._source() & COUNT_MASK
        if count:
            self._update(lambda old: shift(self._op.name, old, count, self._op.size, self._flags))

    def _double_shift(self) -> None:
        op, filler = self._op, self._source()
        count = (self._registers[_ECX] if op.immediate == BY_CL else op.immediate) & COUNT_MASK
        if count:
            self._update(lambda old: double_shift(op.name, old, filler, count, op.size, self._flags))

    def _update(self, change: Callable[[int], tuple[int, int]]) -> None:
        """Read, change, write; a value that stays as it is is not written."""
        op, address = self._op, self._address()
        old = self._read(address, op.size)
        new, self._flags = change(old)
        if new != old:
            self._page.store(address, new, op.size, plain=not op.locked)

    def _exchange(self) -> None:
        """XCHG and XADD: the old value goes to the source register."""
        op, address = self._op, self._address()
        old, new = self._read(address, op.size), self._source()
        if op.name == "xadd":
            new, self._flags = compute("add", old, new, op.size, self._flags)
        self._page.store(address, new, op.size, plain=not op.locked)
        assert op.source is not None
        self._set_register(op.source[0], old, op.size, op.source[1])

    def _compare_exchange(self) -> None:
        op, address = self._op, self._address()
        old, accumulator = self._read(address, op.size), self._registers[_EAX] & (1 << 8 * op.size) - 1
        _, self._flags = compute("cmp", accumulator, old, op.size, self._flags)
        if accumulator == old:
            self._page.store(address, self._source(), op.size, plain=not op.locked)
        else:
            self._set_register(_EAX, old, op.size)

    def _compare_exchange_8(self) -> None:
        address, registers = self._address(), self._registers
        old = self._read(address, 8)
        equal = registers[_EDX] << 32 | registers[_EAX] == old
        if equal:
            self._page.store(address, registers[_ECX] << 32 | registers[_EBX], 8, plain=not self._op.locked)
        else:
            self._set_register(_EAX, old & _LINEAR)
            self._set_register(_EDX, old >> 32)
        self._set_flag(Eflags.ZF, equal)

    def _bit(self) -> None:
        """A bit number in a register reaches beyond the operand, both ways; an immediate does not."""
        op, address = self._op, self._address()
        bits, number = 8 * op.size, self._source()
        if op.source is not None:
            signed = number - (1 << bits) if number >> bits - 1 else number
            address = address + (signed // bits) * op.size & _LINEAR
        bit = 1 << number % bits
        old = self._read(address, op.size)
        new = {"bts": old | bit, "btr": old & ~bit, "btc": old ^ bit}[op.name]
        self._page.store(address, new, op.size, plain=not op.locked)
        self._set_flag(Eflags.CF, bool(old & bit))

    # The stack

    def _stack(self, offset: int) -> int:
        """Linear address of an offset in the stack segment, of which one that uses SP sees 16 bits."""
        mask = _LINEAR if self._cpu.has_big_stack else 0xFFFF
        return self._cpu.segment_base("ss") + (offset & mask) & _LINEAR

    def _move_stack(self, by: int) -> None:
        """Add to ESP, or to SP alone where the stack segment uses that."""
        self._set_register(_ESP, self._registers[_ESP] + by, 4 if self._cpu.has_big_stack else 2)

    def _push_value(self, value: int) -> None:
        size = self._op.size
        self._move_stack(-size)
        self._page.store(self._stack(self._registers[_ESP]), value & (1 << 8 * size) - 1, size)

    def _pop_value(self) -> int:
        value = self._read(self._stack(self._registers[_ESP]), self._op.size)
        self._move_stack(self._op.size)
        return value

    def _operand(self) -> int:
        """What a push or an indirect call names."""
        return self._source() if self._op.memory is None else self._read(self._address(), self._op.size)

    def _push(self) -> None:
        self._push_value(self._operand())

    def _push_flags(self) -> None:
        self._push_value(self._flags & ~int(Eflags.VM | Eflags.RF))

    def _push_all(self) -> None:
        before = list(self._registers)
        for value in before:
            self._push_value(value)

    def _call(self) -> None:
        op = self._op
        relative = op.source is None and op.memory is None
        target = self._eip + op.immediate if relative else self._operand()
        self._push_value(self._eip)
        self._eip = target & (1 << 8 * op.size) - 1

    def _enter(self) -> None:
        op, mask = self._op, (1 << 8 * self._op.size) - 1
        base = self._registers[_EBP]
        self._push_value(base)
        frame = self._registers[_ESP]
        for level in range(1, op.code):
            self._push_value(self._read(self._stack(base - level * op.size), op.size))
        if op.code:
            self._push_value(frame)
        self._set_register(_EBP, frame & mask, op.size)
        self._move_stack(-op.immediate)

    # Strings

    def _string(self) -> None:
        """Elements until the page or the count ends, or one under a single step. The instruction goes on by
        itself where this stops: EIP moves on only past the last element.
        """
        op, cpu = self._op, self._cpu
        past, self._eip = self._eip, cpu.eip
        step = -op.size if self._flags & Eflags.DF else op.size
        size = 2 if op.address_mask == 0xFFFF else 4
        begun = False
        while not op.repeated or self._registers[_ECX] & op.address_mask:
            try:
                self._page.store(self._linear("es", self._registers[_EDI]), self._element(), op.size)
            except NotEmulated:
                # Tried again as the first element, it is a fault with its own address.
                if begun:
                    return
                raise
            begun = True
            self._set_register(_EDI, self._registers[_EDI] + step, size)
            if op.name == "movs":
                self._set_register(_ESI, self._registers[_ESI] + step, size)
            if not op.repeated:
                break
            self._set_register(_ECX, self._registers[_ECX] - 1, size)
            self._commit()
            if not self._registers[_ECX] & op.address_mask:
                break
            if self._flags & Eflags.TF or not self._page.holds(self._linear("es", self._registers[_EDI])):
                return
        self._eip = past

    def _element(self) -> int:
        if self._op.name == "movs":
            return self._read(self._linear(self._op.segment, self._registers[_ESI]), self._op.size)
        return self._registers[_EAX] & (1 << 8 * self._op.size) - 1


_OPERATIONS: Final[dict[str, Callable[[StoreEmulation], None]]] = {
    "mov": StoreEmulation._move,
    "movnti": StoreEmulation._move,
    "movbe": StoreEmulation._move_swapped,
    "set": StoreEmulation._set,
    "pop": StoreEmulation._pop,
    "arpl": StoreEmulation._arpl,
    "xchg": StoreEmulation._exchange,
    "xadd": StoreEmulation._exchange,
    "cmpxchg": StoreEmulation._compare_exchange,
    "cmpxchg8b": StoreEmulation._compare_exchange_8,
    "push": StoreEmulation._push,
    "pushf": StoreEmulation._push_flags,
    "pusha": StoreEmulation._push_all,
    "call": StoreEmulation._call,
    "enter": StoreEmulation._enter,
    **dict.fromkeys(ARITHMETIC | SINGLE, StoreEmulation._arithmetic),
    **dict.fromkeys(SHIFTS, StoreEmulation._shift),
    **dict.fromkeys(DOUBLE_SHIFTS, StoreEmulation._double_shift),
    **dict.fromkeys(BIT, StoreEmulation._bit),
    **dict.fromkeys(STRINGS, StoreEmulation._string),
}
