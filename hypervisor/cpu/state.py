"""The state of one processor while its guest does not execute: registers, segments, memory, code."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from paravane.cpu import fpu
from paravane.cpu.code import CodeGroup, TranslatedCode
from paravane.cpu.engine import numbers
from paravane.cpu.engine.library import Mmr, Msr
from paravane.cpu.geometry import PAGE_MASK, Geometry
from paravane.cpu.instructions import MAX_LENGTH, decode, is_undefined
from paravane.cpu.progress import Progress
from paravane.cpu.ram import Ram
from paravane.cpu.segment_registers import TASK_STATE, TSS_FLAGS, SegmentRegisters
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Cr0, Cr4, Dr6, Dr7, Eflags

if TYPE_CHECKING:
    from paravane.cpu.native_fill import InstalledFill
    from paravane.cpu.scanner import BlockScanner

_MSR_EFER: Final = 0xC0000080
_EFER_NXE: Final = 1 << 11
_CR0: Final = int(Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.PG)
_CR4: Final = int(Cr4.TSD | Cr4.OSFXSR | Cr4.OSXMMEXCPT)
# The engine reads CR4.PCE the wrong way round: set, RDPMC outside ring 0 is #GP.
_ENGINE_CR4: Final = int(Cr4.PCE)
# Beyond this many frames dropping every translated block is cheaper than picking.
_DROP_ALL: Final = 64


HOOK_BUCKETS: Final = 4096


def hook_bucket(address: int) -> int:
    """Where in `ProcessorState.hooked_map` an instruction at this linear address is."""
    return (address ^ address >> 12) & HOOK_BUCKETS - 1


class ProcessorState(SegmentRegisters):
    """What hooks, traps and entries read and write; `Cpu` is what runs it.

    Changes reach the engine when the guest resumes, or at once where only the engine's API gets them right.
    """

    def __init__(self, ram: Ram, geometry: Geometry, group: CodeGroup | None) -> None:
        super().__init__(ram, geometry)
        self._translated = TranslatedCode(ram, self._engine, group)
        self._stale: set[int] = set()
        self._drop_all = False
        self._stale_bytes: list[int] = []
        self.scanner: BlockScanner | None = None
        """Who looks at new blocks, if anybody does."""
        self._counted = False
        self.hooked_map = bytearray(HOOK_BUCKETS)
        """A byte that is not 0 wherever an instruction may have a code hook, by `hook_bucket`: for native
        code, as what a fault does to its flags is to be undone. (`Attention.HOOKED`: any may.)"""
        self._cr0 = self._cr4 = 0
        self._fill: InstalledFill | None = None
        self.passed_breakpoint: int | None = None
        """The linear address of the last instruction with an execution breakpoint that was begun all the
        same, RF being set: that is spent when the instruction begins, and lost to one that has to begin
        again. Whoever serves a trap may clear this."""
        self._stop_wanted = False
        self.progress = Progress(self._engine)

    def _reset(self) -> None:
        """Ring 1 with paging and null segments, which can do nothing until `enter`."""
        engine = self._engine
        paging = Cr4.PAE if self.geometry.pae else 0
        self._cr0, self._cr4 = _CR0, _CR4 | paging
        engine.write_register(numbers.UC_X86_REG_CR4, self._engine_cr4)
        engine.write_register(numbers.UC_X86_REG_CR0, _CR0)
        if self.geometry.pae:
            engine.write_structure(numbers.UC_X86_REG_MSR, Msr(rid=_MSR_EFER, value=_EFER_NXE))
        # Without a task register a call gate in a guest's table would make the engine abort the process; with
        # an empty task-state segment the stack it looks for is beyond the limit: #TS. An `iret` with NT set
        # does look into it, for the task to return to, and must not find a word that a guest wrote.
        engine.write_structure(numbers.UC_X86_REG_TR, Mmr(base=TASK_STATE, flags=TSS_FLAGS))
        engine.write_register(numbers.UC_X86_REG_EFLAGS, Eflags.FIXED | Eflags.IF)
        self._take()
        self._words[self._layout.eip] = 0  # not where the engine came to before there was a guest
        self._words[self._layout.old_exception] = 0xFFFFFFFF
        self._words[self._hflags_at] |= self._layout.io_break
        self._words[self._debug_slot(6)] = Dr6.FIXED
        self._words[self._debug_slot(7)] = Dr7.FIXED
        # The engine starts in ring 0.
        self._set_cpl(1)

    # Control registers

    @property
    def cr0(self) -> int:
        """CR0. PE and PG stay set whatever is written; a change of WP flushes the TLB."""
        return self._cr0 & ~Cr0.TS | self._words[self._layout.cr0] & Cr0.TS

    @cr0.setter
    def cr0(self, value: int) -> None:
        before, self._cr0 = self._cr0, value & 0xFFFFFFFF | Cr0.PE | Cr0.PG | Cr0.ET
        self._write_protect = self._cr0 & Cr0.WP != 0
        self._through_api(numbers.UC_X86_REG_CR0, self._cr0)
        if (before ^ self._cr0) & Cr0.WP:
            self._want_flush()  # TS has nothing to do with translations

    def set_task_switched(self, on: bool) -> None:
        """Set or clear CR0.TS. In place, for it has nothing to do with translations, and guests change it all
        day."""
        words, layout = self._words, self._layout
        if on:
            words[layout.cr0] |= int(Cr0.TS)
            words[layout.hflags] |= layout.task_switched
        else:
            words[layout.cr0] &= ~Cr0.TS & 0xFFFFFFFF
            words[layout.hflags] &= ~layout.task_switched & 0xFFFFFFFF
        self._dirty = True

    @property
    def cr3(self) -> int:
        """CR3: machine address of the top page table. A write flushes the TLB."""
        return self.cr3_cell[0]

    @cr3.setter
    def cr3(self, value: int) -> None:
        self.cr3_cell[0] = self._words[self._layout.cr3] = value & 0xFFFFFFFF
        self._want_flush()

    @property
    def cr4(self) -> int:
        """CR4. PAE follows the geometry whatever is written; a write flushes the TLB."""
        return self._cr4

    @cr4.setter
    def cr4(self, value: int) -> None:
        paging = Cr4.PAE if self.geometry.pae else 0
        self._cr4 = value & 0xFFFFFFFF & ~Cr4.PAE | paging
        self._large_pages = self.geometry.pae or self._cr4 & Cr4.PSE != 0
        self._through_api(numbers.UC_X86_REG_CR4, self._engine_cr4)
        self._want_flush()

    @property
    def _engine_cr4(self) -> int:
        """CR4 as the engine has it."""
        return self._cr4 | _ENGINE_CR4

    def flush_tlb(self) -> None:
        """Make edits of page tables visible to the guest before its next instruction."""
        self._want_flush()

    def flush_page(self, va: int) -> None:
        """As `flush_tlb`, for the page of linear `va` alone."""
        self._want_page_flush(va)

    def fpu_save(self) -> bytes:
        """The x87 and SSE state as a 512-byte FXSAVE image."""
        if self._dirty:
            self._put_back()
            self._dirty = True
        return fpu.save(self._engine)

    def fpu_load(self, image: bytes) -> None:
        """Load an FXSAVE image. ValueError when its size or its MXCSR is wrong; then nothing has changed."""
        if self._dirty:
            self._put_back()
        fpu.load(self._engine, image)
        self._take()
        self._dirty = True

    def read_xmm(self, number: int) -> bytes:
        """The 16 bytes of an XMM register."""
        return fpu.read_xmm(self._engine, number)

    def write_xmm(self, number: int, value: bytes) -> None:
        """Write the 16 bytes of an XMM register."""
        if self._dirty:
            self._put_back()
        fpu.write_xmm(self._engine, number, value)
        self._take()
        self._dirty = True

    # Code

    def drop_code(self, mfns: Sequence[int]) -> None:
        """Forget, before the guest's next instruction, what was translated from these frames.

        Most frames with code are others' alone: were they not told apart, a domain that goes would cost
        every other one its translated code.
        """
        own = self._translated.among(mfns)
        if own:
            self._stale.update(own)
            self._dirty = self._extra = True

    def drop_bytes(self, addresses: Sequence[int]) -> None:
        """Forget, before the guest's next instruction, the blocks that were translated from these bytes of
        machine memory, and no others of their frames."""
        self._stale_bytes += addresses
        self._dirty = self._extra = True

    def _finish_restore(self) -> None:
        super()._finish_restore()
        if self._stale_bytes:
            stale, self._stale_bytes = self._stale_bytes, []
            self._remove_code((address, 1) for address in stale)
        if self._drop_all:
            self._drop_all = False
            self._stale.clear()
            self._drop_everything()
        elif self._stale:
            self._drop_stale_code()

    def _drop_stale_code(self) -> None:
        stale, self._stale = self._stale, set()
        if len(stale) > _DROP_ALL:
            self._drop_everything()
            return
        self._translated.forget(stale)
        self._remove_code((mfn << PAGE_SHIFT, PAGE_SIZE) for mfn in stale)
        if self._fill is not None:
            self._fill.forget(stale)

    def _remove_code(self, pieces: Iterable[tuple[int, int]]) -> None:
        """Have the engine drop what it translated from these pieces of machine memory: addresses and sizes.
        It drops by linear address, so give it linear = machine for a moment."""
        engine, cr0 = self._engine, self.cr0
        engine.write_register(numbers.UC_X86_REG_CR0, cr0 & ~Cr0.PG)
        engine.flush_tlb()
        for address, size in pieces:
            engine.remove_code(address, size)
        engine.write_register(numbers.UC_X86_REG_CR0, cr0)
        engine.flush_tlb()

    def _drop_everything(self) -> None:
        self._translated.forget_all()
        self._engine.flush_code()
        if self._fill is not None:
            self._engine.flush_tlb()
            self._fill.forget_all()

    def note_code(self, va: int, size: int) -> bytes | None:
        """`size` bytes at linear `va` were translated: remember that their frames hold code.

        The bytes; None when they must not be executed, since code of the same frame has changed unseen.
        """
        code, changed = b"", False
        while size > 0:
            step = min(size, PAGE_SIZE - (va & PAGE_MASK))
            mfn = self.frame_at(va)
            if mfn is not None:
                start = (mfn << PAGE_SHIFT) + (va & PAGE_MASK)
                code += self._ram_bytes[start : start + step].tobytes()
                changed |= self._translated.note(start, step)
            va, size = va + step & 0xFFFFFFFF, size - step
        if self._translated.is_full:
            self._drop_all = self._extra = changed = True
        return None if changed else code

    def drop_block(self, va: int, size: int) -> None:
        """Forget the block of `size` bytes at linear `va`, and what else was translated from its frames."""
        frames = {self.frame_at(va), self.frame_at(va + size - 1 & 0xFFFFFFFF)}
        self.drop_code([mfn for mfn in frames if mfn is not None])

    @property
    def shadowed(self) -> bool:
        """The next instruction belongs to the last, which loaded SS, or has just set RF: nothing comes
        between the two."""
        return self._words[self._layout.hflags] & self._layout.inhibit != 0

    @shadowed.setter
    def shadowed(self, shadowed: bool) -> None:
        """For whoever executes an instruction in the processor's place."""
        hflags, inhibit = self._layout.hflags, self._layout.inhibit
        self._words[hflags] = self._words[hflags] & ~inhibit | (inhibit if shadowed else 0)
        self._dirty = True

    def fetch(self, va: int) -> bytes:
        """The bytes of the longest instruction there may be at linear `va`, fewer where a page is missing."""
        code = b""
        for at in (va, (va | PAGE_MASK) + 1 & 0xFFFFFFFF):
            mfn = self.frame_at(at)
            if mfn is None or len(code) >= MAX_LENGTH:
                break
            start = at & PAGE_MASK
            page = self.ram.bytes[mfn << PAGE_SHIFT : (mfn + 1) << PAGE_SHIFT]
            code += page[start : start + MAX_LENGTH - len(code)].tobytes()
        return code

    def at_undefined(self, va: int) -> bool:
        """The instruction at linear `va` is one that a processor refuses although the engine might run it."""
        try:
            return is_undefined(decode(self.fetch(va), big=self.has_big_code))
        except IndexError:
            return False
