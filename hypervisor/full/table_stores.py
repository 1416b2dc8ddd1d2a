"""Stores that the engine cannot make: to page tables that are write-protected, carried out so that the shadow
follows each at once, and to where there is no memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu.instructions import MAX_LENGTH
from paravane.memory.instruction import STRINGS, StoreDecoder
from paravane.memory.store_emulation import NotEmulated, StoreEmulation
from paravane.x86 import PAGE_SIZE, Eflags

if TYPE_CHECKING:
    from paravane.full.processor import VirtualProcessor
    from paravane.memory.instruction import Store

_ENTRY_SIZES: Final = (4, 8)
_TF: Final = int(Eflags.TF)
_STACK: Final = frozenset(("push", "pushf", "pusha", "call", "enter"))


class TableStores:
    """Those of one processor."""

    def __init__(self, processor: VirtualProcessor) -> None:
        self._processor = processor
        self._decoder = StoreDecoder()

    def emulate(self, va: int, address: int) -> bool:
        """Carry out the store that faulted at linear `va`, physical `address`, in a protected table. Whether
        it was done: otherwise the frame is loose now, since it is no table any more, as it seems, or being
        filled. PageFault of another page that the instruction needs."""
        processor = self._processor
        cpu, op = processor.cpu, self._store()
        seen = cpu.eflags & _TF or processor.debug.watching  # by the guest, as the engine shows it
        if processor.shadow.is_busy(address) or op is None or not _is_of_an_entry(op) or seen:
            processor.shadow.loosen(address)
            return False
        page = _Page(processor, va)
        try:
            StoreEmulation(cpu, page, op, page.read).run()
        except NotEmulated:
            processor.shadow.loosen(address)
            return False
        cpu.shadowed = False
        return True

    def lose(self) -> bool:
        """Carry out the store that faulted, of which a part at least goes to where there is no memory, and is
        lost. Whether it was done: strings and pushes are not. PageFault of another page that the instruction
        needs."""
        cpu, op = self._processor.cpu, self._store()
        if op is None or op.name in _STACK or op.name in STRINGS:
            return False
        self._processor.debug.begin()
        memory = _Memory(self._processor)
        StoreEmulation(cpu, memory, op, memory.read).run()
        cpu.shadowed = False
        return True

    def _store(self) -> Store | None:
        """The instruction at EIP, if it is one that is known to store."""
        processor = self._processor
        code = processor.memory.fetch(processor.linear("cs", processor.cpu.eip), MAX_LENGTH)
        return self._decoder.decode(code, big=processor.cpu.has_big_code)


class _Memory:
    """All linear memory (`paravane.memory.store_emulation.TablePage`)."""

    def __init__(self, processor: VirtualProcessor) -> None:
        self._memory, self._user = processor.memory, processor.user

    def holds(self, address: int) -> bool:
        return True

    def store(self, address: int, value: int, size: int, *, plain: bool = True) -> None:
        self._memory.write(address, value.to_bytes(size, "little"), user=self._user)

    def read(self, va: int, size: int) -> bytes:
        """Linear memory, as the instruction reads it."""
        return self._memory.read(va, size, user=self._user)


class _Page(_Memory):
    """The page of `va`, and no store that reaches beyond."""

    def __init__(self, processor: VirtualProcessor, va: int) -> None:
        super().__init__(processor)
        self._va = va

    def holds(self, address: int) -> bool:
        return (address ^ self._va) & -PAGE_SIZE == 0

    def store(self, address: int, value: int, size: int, *, plain: bool = True) -> None:
        if not (self.holds(address) and self.holds(address + size - 1)):
            raise NotEmulated
        super().store(address, value, size, plain=plain)


def _is_of_an_entry(op: Store) -> bool:
    """What writes a table, as a rule; pushes, strings and odd sizes write something else."""
    return op.size in _ENTRY_SIZES and not op.repeated and op.name not in _STACK
