"""The engine's hooks of one processor: every trap of the guest becomes one call of its handler."""

import ctypes
from typing import TYPE_CHECKING, Final, NamedTuple

from unicorn import unicorn_const as uc_const
from unicorn import x86_const

from paravane.cpu.breakpoints import Breakpoints
from paravane.cpu.engine import library as api
from paravane.cpu.faults import PageFault, SegmentFault
from paravane.cpu.geometry import PAGE_MASK
from paravane.cpu.instructions import IRET, instructions, is_undefined, may_hold_undefined
from paravane.cpu.native_iret import NativeIrets, iret
from paravane.cpu.registers import EFLAGS_ARITHMETIC, EFLAGS_RF
from paravane.cpu.watchpoints import Watchpoints, armed
from paravane.x86 import Dr6, Eflags, PageFaultCode, Vector

if TYPE_CHECKING:
    from paravane.cpu.processor import Cpu, TrapHandler

_NONE_IN_FLIGHT = 0xFFFFFFFF
_VECTOR_DB: Final = int(Vector.DB)
_VECTOR_UD: Final = int(Vector.UD)
_VECTOR_GP: Final = int(Vector.GP)
_VECTOR_PF: Final = int(Vector.PF)
_TRAP_FLAG: Final = int(Eflags.TF)
_VIRTUAL_8086: Final = int(Eflags.VM)
_NESTED_TASK: Final = int(Eflags.NT)
TASK_STATE = 0xFFFFFF00
"""Linear address of a task-state segment that is not there, where no guest has a page."""
_IRET_CODE: Final = bytes((IRET,))
# DR7: breakpoint 0 enabled, on port access, one byte.
_BREAK_ON_PORT = 0x20402
_FETCH: Final = int(PageFaultCode.insn_fetch)
_WRITE: Final = int(PageFaultCode.write_access)

_CPUID_REGISTERS: Final = (
    x86_const.UC_X86_REG_EAX,
    x86_const.UC_X86_REG_EBX,
    x86_const.UC_X86_REG_ECX,
    x86_const.UC_X86_REG_EDX,
)


class Redirect(NamedTuple):
    """What to report instead of the fault that was arranged for, and the state to report it in."""

    vector: int | None
    """None: nothing, the run is to end here."""
    state: bytes
    fault: bool = True
    """For #DB: before its instruction, so that RF must let that one pass."""


_BEHIND_ACCESS = Redirect(None, b"")
"""Nothing is arranged for: an access hit a data breakpoint, to be reported behind its instruction."""


class Hooks:
    """Raw hooks over one engine.

    Instructions the engine would execute by itself although the guest may not (IN, OUT, SYSCALL, SYSENTER)
    are *redirected*: their hook keeps the state at the instruction and arranges for a native fault before
    anything else executes; that fault puts the kept state back and reports the exception that the hardware
    would have raised.
    """

    def __init__(self, cpu: "Cpu", handler: "TrapHandler", void_root: int) -> None:
        self._cpu = cpu
        self._handler = handler
        self._void_root = void_root
        self._engine = cpu._engine
        self._layout = cpu._layout
        self._words = cpu._words
        self._cs_base = cpu._layout.segments["cs"].base
        self._eip_at = cpu._layout.eip
        self._breakpoints = Breakpoints(self._engine, self._layout)
        self._watchpoints = Watchpoints(self._engine, cpu.frame_at, self._on_access, self._on_gate)
        self._irets = NativeIrets(cpu)
        self.code_hooked = False
        """Instructions have, or had, hooks: a budget or a breakpoint was set at some time."""
        self.restart = False
        """The run ended only for its code to be translated anew."""
        self._hits = 0
        self._hit_eip = 0
        self._redirect: Redirect | None = None
        self._failure: BaseException | None = None

    def install(self) -> None:
        """Hook everything. Must precede the first run."""
        engine = self._engine
        engine.hook(uc_const.UC_HOOK_INTR, api.INTERRUPT_HOOK, self._make_trap_hook())
        engine.hook(uc_const.UC_HOOK_INSN_INVALID, api.INVALID_HOOK, self._on_invalid)
        engine.hook(uc_const.UC_HOOK_EDGE_GENERATED, api.EDGE_HOOK, self._on_block)
        engine.hook_instruction("in", lambda uc, port, size, user: self._on_port(port))
        engine.hook_instruction("out", lambda uc, port, size, value, user: self._on_port(port))
        engine.hook_instruction("syscall", lambda uc, user: self._on_call(_VECTOR_UD))
        engine.hook_instruction("sysenter", lambda uc, user: self._on_call(_VECTOR_GP))
        engine.hook_instruction("cpuid", self._on_cpuid)

    @property
    def watching(self) -> bool:
        """Data breakpoints are armed: `follow` before each return to the guest, and stop by `stop_soon`."""
        return self._watchpoints.watching

    def arm_breakpoints(self) -> bool:
        """Make the enabled breakpoints fire. True when translated code must be dropped for it."""
        execution = self._breakpoints.arm(self._on_code)
        dr = self._layout.dr
        addresses = [self._words[dr + 2 * index] for index in range(4)]
        new = self._watchpoints.arm(armed(addresses, self._words[dr + 14])) or execution
        self.code_hooked |= new
        return new

    def follow(self) -> None:
        """Data breakpoints are linear: look up where their bytes are now."""
        self._watchpoints.follow()

    def close(self) -> None:
        """Free what the hooks need. The engine must be closed."""
        self._irets.close()

    def settle(self) -> bool:
        """Before a run: drop hooks that are not needed. True when translated code must be dropped."""
        return self._watchpoints.settle()

    def stop_soon(self) -> None:
        """End the run before the next instruction. Any thread.

        The engine's own stop would let the rest of a block run, and that without its hooks.
        """
        self._watchpoints.open_gate()

    def finish(self) -> None:
        """After a run: deliver what the stop overtook, raise what the handler raised."""
        if self._redirect is not None and not self._overtakes(_VECTOR_DB):
            self._words[self._layout.old_exception] = _NONE_IN_FLIGHT
            self._cpu._dirty = True
            self._handler.exception(_VECTOR_DB, 0)
        if self._irets.in_virtual_8086:
            self._leave_virtual_8086()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _make_trap_hook(self) -> api.HookFunction:
        cpu, words, engine = self._cpu, self._words, self._engine
        handle, context, in_place = engine.handle, engine.context, engine.in_place
        is_int, in_flight, hflags = self._layout.is_int, self._layout.old_exception, self._layout.hflags
        eflags = self._layout.eflags
        error_code, save = self._layout.error_code, api.context_save
        interrupt, exception, cr2 = self._handler.interrupt, self._handler.exception, self._layout.cr2

        def on_trap(_uc: int, vector: int, _user: int) -> None:
            if not in_place:
                save(handle, context)
            cpu._eflags = None
            try:
                if words[eflags] & _VIRTUAL_8086:
                    self._leave_virtual_8086()
                elif self._redirect is not None and self._overtakes(vector):
                    pass
                elif words[is_int]:
                    interrupt(vector)
                else:
                    code = words[error_code]
                    if self.code_hooked:
                        self._restore_flags(vector, code)
                    # Left alone, the engine would take the next fault for a double fault.
                    words[in_flight] = _NONE_IN_FLIGHT
                    cpu._dirty = True
                    if vector == _VECTOR_PF and words[cr2] == TASK_STATE and cpu.eflags & _NESTED_TASK:
                        # `iret` with NT set returns to another task; a 64-bit hypervisor has none: #GP(0).
                        vector, code = _VECTOR_GP, 0
                    exception(vector, code)
            except BaseException as failure:
                self._fail(failure)
            # The ring is looked at on every way back, whatever the handler did or did not do.
            if not in_place or cpu._extra or not words[hflags] & 3:
                self._resume()
            cpu._dirty = False

        return on_trap

    def _resume(self) -> None:
        try:
            self._cpu._put_back()
        except BaseException as failure:
            self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        """End the run; `finish` raises `failure` there. One that left a hook would only be printed."""
        if self._failure is None:
            self._failure = failure
        self._engine.stop()

    def _on_invalid(self, _uc: int, _user: int) -> bool:
        cpu = self._cpu
        cpu._take()
        cpu._dirty = True
        self._words[self._layout.old_exception] = _NONE_IN_FLIGHT
        try:
            if self._irets.in_virtual_8086:
                self._leave_virtual_8086()
            elif self._redirect is not None and self._overtakes(_VECTOR_UD):
                pass
            elif self._words[self._layout.is_int]:
                # `int $6` takes the same way out of the engine as an invalid opcode, with EIP still on it.
                cpu.eip += 2
                self._handler.interrupt(_VECTOR_UD)
            else:
                self._handler.exception(_VECTOR_UD, 0)
        except BaseException as failure:
            self._fail(failure)
        self._resume()
        return True

    def _on_block(self, _uc: int, block: int, _previous: int, _user: int) -> None:
        try:
            pc = ctypes.c_uint64.from_address(block).value
            size = ctypes.c_uint16.from_address(block + 10).value
            self._note_block(pc, size)
        except BaseException as failure:
            self._fail(failure)

    def _note_block(self, pc: int, size: int) -> None:
        """A block was translated and is about to be executed. Not before it can be trusted."""
        cpu = self._cpu
        code = cpu.note_code(pc, size)
        self._engine.save()
        if code is None or self._irets.in_virtual_8086:
            self._translate_again(pc, size)
            return
        if code[-1:] != _IRET_CODE and not may_hold_undefined(code):
            return
        found = list(instructions(code, big=cpu.has_big_code))
        undefined = {pc + at.offset for at in found if is_undefined(at)}
        irets = {pc + at.offset for at in found if at.opcode == IRET}
        if self._breakpoints.suspect(undefined, self._on_code) | self._irets.watch(irets):
            self.code_hooked = True
            self._translate_again(pc, size)

    def _translate_again(self, pc: int, size: int) -> None:
        """Do not execute the block that was translated: end the run, drop it, and run from here once more.

        The engine looks at its stop flag between the two.
        """
        self.restart = True
        self._cpu.drop_block(pc, size)
        self._engine.stop()

    def _on_port(self, port: int) -> int:
        """IN or OUT: an I/O breakpoint makes the engine leave right behind the instruction."""
        if self._keep_state(_VECTOR_GP):
            dr = self._layout.dr
            self._words[dr], self._words[dr + 14] = port, _BREAK_ON_PORT
            self._engine.restore()
        return 0

    def _on_call(self, vector: int) -> None:
        """SYSCALL or SYSENTER: the next fetch must fault, so let the page tables map nothing."""
        if self._keep_state(vector):
            self._go_nowhere()

    def _on_code(self, _uc: int, address: int, _size: int, _user: int) -> None:
        """An instruction with a breakpoint that was armed at some time."""
        if self._redirect is not None:
            # Already on the way out, or about to be: a trap behind the last instruction comes first.
            return
        breakpoints = self._breakpoints
        self._engine.save()
        hits = breakpoints.matching(address)
        if hits and not self._breakpoints.resume_flag_spent():
            self._report_hits(hits)
            self._leave(_VECTOR_DB, fault=True)
        elif breakpoints.is_suspect(address) and self._cpu.at_undefined(address):
            self._leave(_VECTOR_UD)

    def _on_access(self, hits: int) -> None:
        """Memory is about to be accessed in or near a watched range."""
        self._engine.save()
        self._write_computed_flags()
        if hits:
            self._hits |= hits
            self._hit_eip = self._words[self._layout.eip]
            self._redirect = _BEHIND_ACCESS
            self._watchpoints.open_gate()

    def _on_gate(self, _uc: int, _address: int, _size: int, _user: int) -> None:
        """The instruction behind one that hit a data breakpoint, or where a stop is wanted."""
        if self._redirect is not None and self._redirect is not _BEHIND_ACCESS:
            return
        cpu, words = self._cpu, self._words
        self._engine.save()
        if self._redirect is None:
            self._watchpoints.close_gate()
            if cpu._stop_wanted:
                self._leave(None)
                self._engine.stop()
            return
        if words[self._layout.eip] == self._hit_eip and not cpu.ecx:
            # A repeated string instruction looks at its count once more: it is over behind that.
            return
        self._watchpoints.close_gate()
        self._report_hits(self._take_hits())
        self._leave(_VECTOR_DB)

    def _take_hits(self) -> int:
        hits, self._hits = self._hits, 0
        return hits

    def _report_hits(self, hits: int) -> None:
        dr6 = self._layout.dr + 12
        self._words[dr6] = self._words[dr6] & ~0xF | hits

    def _leave(self, vector: int | None, *, fault: bool = False) -> None:
        """From a code hook: report `vector` in the state before this instruction."""
        eip = self._words[self._layout.eip]
        self._redirect = Redirect(vector, self._engine.bytes.tobytes(), fault)
        self._go_nowhere()
        self._engine.leave_block(eip)

    def _go_nowhere(self) -> None:
        self._words[self._layout.cr3] = self._void_root
        self._engine.restore()
        self._engine.flush_tlb()

    def _keep_state(self, vector: int) -> bool:
        """Keep the state at this instruction, to report `vector` there; not when already on the way out."""
        if self._redirect is not None:
            return False
        self._engine.save()
        self._restore_flags(vector, 0)
        self._redirect = Redirect(vector, self._engine.bytes.tobytes())
        return True

    def _overtakes(self, vector: int) -> bool:
        """A trap arrived, or the run ended, with something else to report first: that is done, or False."""
        redirect, self._redirect = self._redirect, None
        assert redirect is not None
        if redirect is _BEHIND_ACCESS:
            return self._report_access(vector)
        self._engine.bytes[:] = redirect.state
        self._engine.restore()
        self._words[self._layout.old_exception] = _NONE_IN_FLIGHT
        self._cpu.flush_tlb()
        if redirect.vector == _VECTOR_DB and redirect.fault:
            # As hardware does: resuming must not break at the same instruction again (SDM 17.3.1.1).
            self._cpu.eflags |= EFLAGS_RF
        if redirect.vector is not None:
            self._handler.exception(redirect.vector, 0)
        return True

    def _leave_virtual_8086(self) -> None:
        """An IRET set VM: it should not have. Do what it should have done."""
        cpu = self._cpu
        self._irets.take_back()
        self._words[self._layout.old_exception] = _NONE_IN_FLIGHT
        cpu._dirty = True
        stepping = cpu.eflags & _TRAP_FLAG
        try:
            iret(cpu)
        except PageFault as fault:
            cpu.cr2 = fault.va
            self._handler.exception(_VECTOR_PF, fault.error_code)
        except SegmentFault as fault:
            self._handler.exception(fault.vector, fault.error_code)
        else:
            if stepping:
                self._words[self._layout.dr + 12] |= Dr6.BS
                self._handler.exception(_VECTOR_DB, 0)

    def _report_access(self, vector: int) -> bool:
        """A trap arrived behind an access that hit: as `_overtakes`."""
        self._watchpoints.close_gate()
        words, hits = self._words, self._take_hits()
        if vector == _VECTOR_DB:
            # A single step of that instruction: one #DB tells both.
            words[self._layout.dr + 12] |= hits
            self._cpu._dirty = True
            return False
        if words[self._layout.eip] == self._hit_eip:
            # The instruction itself faulted: it did not complete.
            return False
        self._report_hits(hits)
        words[self._layout.old_exception] = _NONE_IN_FLIGHT
        self._cpu._dirty = True
        self._handler.exception(_VECTOR_DB, 0)
        return True

    def _restore_flags(self, vector: int, error_code: int) -> None:
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
        self._write_computed_flags()

    def _is_hooked(self, eip: int) -> bool:
        return (
            self._breakpoints.hooked(eip)
            or self._irets.watched(eip)
            or self._cpu._counted
            or self._watchpoints.instrumented
        )

    def _is_fetch(self, eip: int, error_code: int) -> bool:
        if self._cpu.geometry.pae:
            return error_code & _FETCH != 0
        # Two-level tables have no NX and no such bit; and the engine fetches a whole block, perhaps into the
        # next page, before it runs any of it.
        cr2 = self._words[self._layout.cr2]
        next_page = (eip | PAGE_MASK) + 1
        return not error_code & _WRITE and cr2 in {eip, next_page}

    def _write_computed_flags(self) -> None:
        flags = self._engine.read_register(x86_const.UC_X86_REG_EFLAGS) & ~EFLAGS_ARITHMETIC
        computed = self._words[self._layout.flags] & EFLAGS_ARITHMETIC
        self._engine.write_register(x86_const.UC_X86_REG_EFLAGS, flags | computed)
        self._engine.save()

    def _on_cpuid(self, _uc: int, _user: int) -> int:
        engine = self._engine
        if self._redirect is not None:
            return 1
        try:
            self._cpu._take()
            self._restore_flags(_VECTOR_UD, 0)
            answer = self._handler.cpuid(self._cpu.eax, self._cpu.ecx)
            # The rest of this block goes on with the engine's registers, not with the context's.
            self._cpu._eflags_written = False
        except BaseException as failure:
            self._fail(failure)
            return 1
        numbers = (
            x86_const.UC_X86_REG_EAX,
            x86_const.UC_X86_REG_EBX,
            x86_const.UC_X86_REG_ECX,
            x86_const.UC_X86_REG_EDX,
        )
        for number, value in zip(numbers, answer, strict=True):
            engine.write_register(number, value & 0xFFFFFFFF)
        return 1
