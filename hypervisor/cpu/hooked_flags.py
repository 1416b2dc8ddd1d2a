"""The flags of an instruction that has a code hook, where the engine forgets that it computed them."""

from collections.abc import Callable
from typing import Final

from paravane.cpu.engine import numbers
from paravane.cpu.geometry import PAGE_MASK
from paravane.cpu.instructions import instructions, stores_and_goes_on
from paravane.cpu.registers import EFLAGS_ARITHMETIC
from paravane.cpu.state import ProcessorState
from paravane.cpu.states_before import StatesBefore
from paravane.x86 import Eflags, PageFaultCode, Vector

_VECTOR_DB: Final = int(Vector.DB)
_VECTOR_PF: Final = int(Vector.PF)
_FETCH: Final = int(PageFaultCode.insn_fetch)
_WRITE: Final = int(PageFaultCode.write_access)
_NEXT_PAGE: Final = 32
"""So close to the next page the engine ends each block."""


class HookedFlags:
    """Undoes what a fault, or a hook that looks, does to the flags of a hooked instruction."""

    def __init__(self, cpu: ProcessorState, is_hooked: Callable[[int], bool], before: StatesBefore) -> None:
        """`is_hooked` tells whether the instruction at a linear address was translated with a hook."""
        self._cpu = cpu
        self._before = before
        self._engine = cpu._engine
        self._layout = cpu._layout
        self._words = cpu._words
        self._is_hooked = is_hooked
        self._eip_at = cpu._layout.eip
        self._cs_base = cpu._layout.segments["cs"].base

    def after_fault(self, vector: int, error_code: int) -> None:
        """Undo what a fault does to the flags of an instruction with a code hook.

        The engine computes the flags for such a hook, and when the instruction faults forgets that it did: it
        would compute others from them.
        """
        words = self._words
        eip = words[self._eip_at] + words[self._cs_base] & 0xFFFFFFFF
        if not self._is_hooked(eip) or vector == _VECTOR_DB:
            return
        if vector == _VECTOR_PF and self._is_fetch(eip, error_code):
            return
        if self._before.is_of(eip):
            # Not even what was computed is left of the flags where the instruction has changed them.
            self._engine.write_register(numbers.UC_X86_REG_EFLAGS, self._before.eflags())
            self._engine.save()
        else:
            self.write_computed()

    def after_restart(self, pc: int, code: bytes) -> None:
        """Undo the same where a hooked instruction stored into the block that it is in: the engine leaves
        that block and begins anew with one that is this instruction alone, `code` at linear `pc`.

        Blocks of one instruction that end there for another reason are those near the end of a page, single
        steps, and those whose instruction ends a block.
        """
        words, layout = self._words, self._layout
        alone = words[layout.eflags] & Eflags.TF or words[layout.hflags] & layout.inhibit
        near = (pc & PAGE_MASK) + len(code) > PAGE_MASK - _NEXT_PAGE
        if alone or near or not self._is_hooked(pc):
            return
        found = next(iter(instructions(code, big=self._cpu.has_big_code)), None)
        if found is not None and stores_and_goes_on(found):
            self.write_computed()

    def write_computed(self) -> None:
        """Make the flags that were computed for a hook those of the processor."""
        flags = self._engine.read_register(numbers.UC_X86_REG_EFLAGS) & ~EFLAGS_ARITHMETIC
        computed = self._words[self._layout.flags] & EFLAGS_ARITHMETIC
        self._engine.write_register(numbers.UC_X86_REG_EFLAGS, flags | computed)
        self._engine.save()

    def _is_fetch(self, eip: int, error_code: int) -> bool:
        if self._cpu.geometry.pae:
            return error_code & _FETCH != 0
        # Two-level tables have no NX and no such bit; and the engine fetches a whole block, perhaps into the
        # next page, before it runs any of it.
        cr2 = self._words[self._layout.cr2]
        next_page = (eip | PAGE_MASK) + 1
        return not error_code & _WRITE and cr2 in {eip, next_page}
