"""`Cpu`: one virtual processor over machine memory, its traps served by a handler."""

import mmap
import threading
import warnings
from collections.abc import Sequence
from ctypes import addressof, c_char
from enum import Enum
from typing import Final, Protocol

from unicorn import x86_const

from paravane.cpu import fpu, segments
from paravane.cpu.code import CodeGroup, TranslatedCode
from paravane.cpu.engine import guard
from paravane.cpu.engine.context_offsets import SEGMENTS
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.engine.library import Mmr, Msr
from paravane.cpu.engine.stops import end_runs_between_blocks
from paravane.cpu.faults import SegmentFault
from paravane.cpu.geometry import PAE, PAGE_MASK, Geometry
from paravane.cpu.hooks import TASK_STATE, Hooks
from paravane.cpu.instructions import MAX_LENGTH, decode, is_undefined
from paravane.cpu.interrupts import DeferredSigint
from paravane.cpu.paging import GuestMemory
from paravane.cpu.ram import Ram
from paravane.cpu.registers import Registers
from paravane.cpu.segments import Descriptor, Table
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Cr0, Cr4, Dr6, Dr7, Eflags

_MSR_EFER = 0xC0000080
_EFER_NXE = 1 << 11
_LDT_FLAGS = 0x8200
_TSS_FLAGS = 0x8900
# A page of zeroes above all machine memory: as a page-table root it maps nothing.
VOID_ROOT = 0xFFFFF000
_CR0: Final = int(Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.PG)
# The engine reads CR4.PCE the wrong way round: set, RDPMC outside ring 0 is #GP.
_ENGINE_CR4: Final = int(Cr4.PCE)
_CR4: Final = int(Cr4.TSD | Cr4.OSFXSR | Cr4.OSXMMEXCPT)
# How often and how long stop() repeats itself while a run is just being entered.
_STOP_TRIES, _STOP_PAUSE = 20, 0.0005
_NO_BUDGET = 1 << 62
# Beyond this many frames dropping every translated block is cheaper than picking.
_DROP_ALL = 64


class TrapHandler(Protocol):
    """What the guest's traps are delivered to, inside the run, with the registers readable and writable."""

    def exception(self, vector: int, error_code: int) -> None:
        """A fault or trap. EIP is at the faulting instruction for faults; CR2 is in `cpu.cr2`."""

    def interrupt(self, vector: int) -> None:
        """`int n`, `int3` or `into`. EIP is the next instruction."""

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """The EAX, EBX, ECX, EDX that CPUID answers."""


class RunEnd(Enum):
    """Why `Cpu.run` returned."""

    STOPPED = "stopped"
    BUDGET = "budget"


class Cpu(Registers, GuestMemory):
    """One virtual processor: rings 1 and 3 of 32-bit protected mode with paging, never ring 0.

    Registers may be read and written whenever the guest does not execute: before and after `run`, and inside
    the handler's methods. `run` raises whatever the handler raised. One thread runs a given processor at a
    time; `stop` alone may be called from others. Close it before its `Ram`.
    """

    def __init__(
        self, ram: Ram, handler: TrapHandler, geometry: Geometry = PAE, *, group: CodeGroup | None = None
    ) -> None:
        """One processor over `ram`. Processors that share guest code (vcpus of a domain) share a `group`."""
        Registers.__init__(self)
        GuestMemory.__init__(self, ram, geometry)
        self._translated = TranslatedCode(ram, self._engine, group)
        self._sigint = DeferredSigint(self.stop)
        self._handler = handler
        self._gdt = Table(0, None)
        self._ldt = Table(0, None)
        self.segments_due = False
        self._stale: set[int] = set()
        self._drop_all = False
        self._stop_wanted = False
        self._stop_lock = threading.RLock()
        self._counted = False
        self._running = False
        self._busy = threading.Lock()
        self._thread = 0
        self._void = mmap.mmap(-1, PAGE_SIZE)
        try:
            self._prepare_engine()
        except BaseException:
            self._engine.close()
            raise
        ram.attach(self)
        self._attached = True

    def _prepare_engine(self) -> None:
        engine = self._engine
        engine.map(0, self.ram.size, self.ram.host_address)
        engine.map(VOID_ROOT, PAGE_SIZE, addressof(c_char.from_buffer(self._void)), writable=False)
        end_runs_between_blocks(engine, True)
        self._prime()
        self._guard = guard.find()
        if self._guard is None or not self._guard.protect(engine, self._layout, self._at_undefined):
            self._guard = None
            guard.warn_once()
        self._hooks = Hooks(self, self._handler, VOID_ROOT)
        self._hooks.install()
        paging = Cr4.PAE if self.geometry.pae else 0
        engine.write_register(x86_const.UC_X86_REG_CR4, _CR4 | paging | _ENGINE_CR4)
        engine.write_register(x86_const.UC_X86_REG_CR0, _CR0)
        if self.geometry.pae:
            engine.write_structure(x86_const.UC_X86_REG_MSR, Msr(rid=_MSR_EFER, value=_EFER_NXE))
        # Without a task register a call gate in a guest's table would make the engine abort the process; with
        # an empty task-state segment the stack it looks for is beyond the limit: #TS. An `iret` with NT set
        # does look into it, for the task to return to, and must not find a word that a guest wrote.
        engine.write_structure(x86_const.UC_X86_REG_TR, Mmr(base=TASK_STATE, flags=_TSS_FLAGS))
        self._cr0, self._cr4 = _CR0, _CR4 | paging
        engine.write_register(x86_const.UC_X86_REG_EFLAGS, Eflags.FIXED | Eflags.IF)
        self._take()
        self._words[self._layout.old_exception] = 0xFFFFFFFF
        self._words[self._hflags_at] |= self._layout.io_break
        self._words[self._debug_slot(6)] = Dr6.FIXED
        self._words[self._debug_slot(7)] = Dr7.FIXED
        # The engine starts in ring 0; ring 1 with null segments can do nothing until `enter`.
        self._set_cpl(1)

    def _prime(self) -> None:
        """The engine reports new blocks only once some block has run to its end: run `jmp .+2; hlt`.

        This is the engine's first breath, in ring 0 without paging, before it has seen any guest.
        """
        self._void[:3] = b"\xeb\x00\xf4"
        self._engine.start(VOID_ROOT)
        self._void[:3] = bytes(3)

    # Control registers

    @property
    def cr0(self) -> int:
        """CR0. PE and PG stay set whatever is written; a write flushes the TLB."""
        return self._cr0

    @cr0.setter
    def cr0(self, value: int) -> None:
        self._cr0 = value & 0xFFFFFFFF | Cr0.PE | Cr0.PG | Cr0.ET
        self._write_protect = self._cr0 & Cr0.WP != 0
        self._through_api(x86_const.UC_X86_REG_CR0, self._cr0)
        self._want_flush()

    @property
    def cr3(self) -> int:
        """CR3: machine address of the top page table. A write flushes the TLB."""
        return self._cr3

    @cr3.setter
    def cr3(self, value: int) -> None:
        self._cr3 = value & 0xFFFFFFFF
        self._words[self._layout.cr3] = self._cr3
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
        self._through_api(x86_const.UC_X86_REG_CR4, self._cr4 | _ENGINE_CR4)
        self._want_flush()

    def set_dr(self, index: int, value: int) -> None:
        """Write debug register `index` (0-3, 6, 7). Execution and data breakpoints fire as #DB."""
        fixed = {6: Dr6.FIXED, 7: Dr7.FIXED}.get(index, 0)
        self._words[self._debug_slot(index)] = value & 0xFFFFFFFF | fixed
        self._dirty = True
        if index != 6:
            self._drop_all |= self._hooks.arm_breakpoints()
            self._extra = True

    def flush_tlb(self) -> None:
        """Make edits of page tables visible to the guest before its next instruction."""
        self._want_flush()

    def flush_page(self, va: int) -> None:
        """As `flush_tlb`: the engine offers no flush of a single page."""
        self.flush_tlb()

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

    # Segments

    def reload_segments(self) -> None:
        """A descriptor table changed: CS and SS are to be loaded anew before the guest goes on.

        Who returns to the guest looks at `segments_due` and does it: only there is a place to report that a
        descriptor is no good any more. Data segments keep what they have cached, as on hardware.
        """
        self.segments_due = True

    def set_gdt(self, base: int, limit: int) -> None:
        """Load GDTR: linear `base`, `limit` in bytes minus one."""
        self._gdt = Table(base & 0xFFFFFFFF, limit & 0xFFFF)
        self.segments_due = True
        self._through_api(x86_const.UC_X86_REG_GDTR, Mmr(base=self._gdt.base, limit=limit & 0xFFFF))

    def set_ldt(self, base: int, limit: int, selector: int = 8) -> None:
        """Load LDTR: linear `base`, `limit` in bytes minus one; (0, 0) is the empty LDT.

        `selector` is what SLDT reads; the descriptor it names is not looked at.
        """
        empty = not base and not limit
        self._ldt = Table(base & 0xFFFFFFFF, None if empty else limit)
        self.segments_due = True
        flags = 0 if empty else _LDT_FLAGS
        self._through_api(
            x86_const.UC_X86_REG_LDTR,
            Mmr(selector=0 if empty else selector, base=self._ldt.base, limit=limit, flags=flags),
        )

    def set_task_selector(self, selector: int) -> None:
        """What STR reads. The task-state segment stays the one that is not there."""
        self._through_api(x86_const.UC_X86_REG_TR, Mmr(selector=selector, base=TASK_STATE, flags=_TSS_FLAGS))

    def load_segment(self, name: str, selector: int, *, cpl: int | None = None) -> None:
        """Load DS, ES, FS, GS or SS as ring `cpl` (default: the current one) would, or SegmentFault."""
        selector &= 0xFFFF
        level = self.cpl if cpl is None else cpl
        if name not in SEGMENTS or name == "cs":
            raise ValueError(f"{name} is not a segment register that can be loaded")
        if selector & ~3 == 0:
            if name == "ss":
                raise SegmentFault(segments.VECTOR_GP, 0)
            self._cache_segment(name, selector, 0, 0, 0)
            return
        descriptor = segments.fetch(self, self._gdt, self._ldt, selector)
        if name == "ss":
            segments.check_stack(descriptor, level)
        else:
            segments.check_data(descriptor, level)
        self._load_descriptor(name, descriptor)

    def enter(
        self, *, cs: int, eip: int, eflags: int, cpl: int, ss: int | None = None, esp: int | None = None
    ) -> None:
        """Go to ring `cpl` (1-3) at `cs:eip` as an IRET from ring 0 would; nothing changes on SegmentFault.

        `ss` and `esp` default to the current ones. Data segments too privileged for the new ring become null.
        """
        cs, stack = cs & 0xFFFF, (self.ss if ss is None else ss) & 0xFFFF
        if cs & ~3 == 0 or stack & ~3 == 0:
            raise SegmentFault(segments.VECTOR_GP, 0)
        code = segments.fetch(self, self._gdt, self._ldt, cs)
        if cpl not in (1, 2, 3):
            raise SegmentFault(segments.VECTOR_GP, cs & ~3)
        segments.check_code(code, cpl)
        data = segments.fetch(self, self._gdt, self._ldt, stack)
        segments.check_stack(data, cpl)
        if eip & 0xFFFFFFFF > code.limit:
            raise SegmentFault(segments.VECTOR_GP, 0)
        self._load_descriptor("cs", code)
        self._load_descriptor("ss", data)
        self._set_cpl(cpl)
        self.drop_privileged_segments(cpl)
        self.eip, self.eflags = eip, eflags
        if esp is not None:
            self.esp = esp

    def jump(self, *, cs: int, eip: int) -> None:
        """Go on at `cs:eip` in the same ring, as a far transfer would; nothing changes on SegmentFault."""
        code = segments.fetch(self, self._gdt, self._ldt, cs)
        segments.check_code(code, self.cpl)
        if eip & 0xFFFFFFFF > code.limit:
            raise SegmentFault(segments.VECTOR_GP, 0)
        self._load_descriptor("cs", code)
        self.eip = eip

    def _load_descriptor(self, name: str, descriptor: Descriptor) -> None:
        marked = segments.mark_accessed(self, self._gdt, self._ldt, descriptor)
        self._cache_segment(name, marked.selector, marked.base, marked.limit, marked.flags)

    def drop_privileged_segments(self, cpl: int) -> None:
        """Make null the data segments that ring `cpl` may not have, as a return to it does."""
        for name in ("ds", "es", "fs", "gs"):
            flags = self._words[self._layout.segments[name].flags]
            cached = Descriptor(0, 0, 0, flags)
            if flags and cached.dpl < cpl and not cached.is_conforming:
                self._cache_segment(name, 0, 0, 0, 0)

    # Code

    def drop_code(self, mfns: Sequence[int]) -> None:
        """Forget, before the guest's next instruction, what was translated from these frames."""
        self._stale.update(mfns)
        self._dirty = self._extra = True

    def _finish_restore(self) -> None:
        Registers._finish_restore(self)
        if self._drop_all:
            self._drop_all = False
            self._stale.clear()
            self._translated.forget_all()
            self._engine.flush_code()
        elif self._stale:
            self._drop_stale_code()
        if self._hooks.watching:
            # Nothing but a trap or a stop can change where a linear address is.
            self._hooks.follow()
            self._extra = True
        if self._stop_wanted:
            self._engine.stop()

    def _drop_stale_code(self) -> None:
        """The engine drops code by linear address, so give it linear = machine for a moment."""
        stale, self._stale = self._stale, set()
        engine = self._engine
        if len(stale) > _DROP_ALL:
            self._translated.forget_all()
            engine.flush_code()
            return
        self._translated.forget(stale)
        engine.write_register(x86_const.UC_X86_REG_CR0, self._cr0 & ~Cr0.PG)
        engine.flush_tlb()
        for mfn in stale:
            engine.remove_code(mfn << PAGE_SHIFT, PAGE_SIZE)
        engine.write_register(x86_const.UC_X86_REG_CR0, self._cr0)
        engine.flush_tlb()

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

    def _at_undefined(self) -> bool:
        return self.at_undefined(self.eip + self.segment_base("cs") & 0xFFFFFFFF)

    # Running

    def run(self, *, instructions: int = 0) -> RunEnd:
        """Run the guest until `stop`, or for at most `instructions` instructions (0: no limit).

        A stop asked for before the run ends it at once. Raises what the handler raised, or EngineError.
        """
        if not self._busy.acquire(blocking=False):
            raise EngineError("this processor runs already: one thread at a time, and not from its own traps")
        try:
            return self._run(instructions)
        finally:
            self._busy.release()

    def _run(self, instructions: int) -> RunEnd:
        self._thread = threading.get_ident()
        if self._take_stop():
            return RunEnd.STOPPED
        if changed := self._translated.changed_since(self):
            self.drop_code(changed)
        if self._hooks.settle():
            self._drop_all = self._extra = True
        with self._sigint:
            self._put_back()
            self._execute(instructions)
            while self._hooks.restart and not self._stop_wanted and not instructions:
                self._hooks.restart = False
                self._put_back()
                self._execute(instructions)
        if self._take_stop() or self._hooks.restart:
            self._hooks.restart = False
            return RunEnd.STOPPED
        if instructions:
            return RunEnd.BUDGET
        raise EngineError(f"the engine stopped without being asked to ({self._describe()})")

    def _execute(self, instructions: int) -> None:
        # Blocks translated before the first budget do not count. And removing the counting hook
        # leaves a stray fault behind, so a processor that once ran on a budget keeps counting.
        if instructions and not self._counted:
            self._counted = self._hooks.code_hooked = True
            # A budget ends at any instruction, by a stop that comes before it: that one splits nothing.
            end_runs_between_blocks(self._engine, False)
            self._engine.flush_code()
        self._running = True
        if self._guard is not None:
            self._guard.ensure()
        try:
            if not self._stop_wanted:
                self._engine.start(self.eip, instructions or (_NO_BUDGET if self._counted else 0))
        except EngineError as error:
            self._take()
            raise EngineError(f"{error} ({self._describe()})") from None
        finally:
            self._running = False
        self._take()
        self._hooks.finish()

    def stop(self) -> None:
        """End the run soon: after the handler when called from one, else at the next block. Any thread."""
        with self._stop_lock:
            self._stop_wanted = True
            self._ask_to_stop()
        if threading.get_ident() == self._thread:
            return
        # A stop that arrives while the engine is being started would be lost there.
        acknowledged = threading.Event()
        for _ in range(_STOP_TRIES):
            acknowledged.wait(_STOP_PAUSE)
            with self._stop_lock:
                if not (self._running and self._stop_wanted):
                    return
                self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        if self._hooks.watching:
            self._hooks.stop_soon()
        else:
            self._engine.stop()

    def close(self) -> None:
        """Free the engine; idempotent. EngineError while the guest runs, as from one of its traps."""
        if self._busy.locked():
            raise EngineError("a processor cannot be closed while its guest runs")
        if self._engine.is_open:
            self.ram.detach(self)
            self._gprs.release()
            self._engine.close()
            self._hooks.close()
            self._void.close()

    def __del__(self) -> None:
        # An engine is megabytes that the collector does not see. Its memory outlives this: whatever is
        # unreachable together is finalised before any of it goes.
        if self.__dict__.get("_attached") and self._engine.is_open:
            warnings.warn("a Cpu was dropped without being closed", ResourceWarning, 1, self)
            self.close()

    def _take_stop(self) -> bool:
        # Under the lock a stop is either seen here or reaches the engine after: never half.
        with self._stop_lock:
            wanted, self._stop_wanted = self._stop_wanted, False
        return wanted

    def _describe(self) -> str:
        names = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
        values = " ".join(f"{name}={value:08x}" for name, value in zip(names, self.gprs(), strict=True))
        place = f"cpl={self.cpl} cs={self.cs:04x} eip={self.eip:08x}"
        return f"{place} cr2={self.cr2:08x} cr3={self.cr3:08x} {values}"
