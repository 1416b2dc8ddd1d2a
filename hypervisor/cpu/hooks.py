"""The engine's hooks of one processor: every trap of the guest becomes one call of its handler."""

import ctypes
from typing import TYPE_CHECKING

from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from hypervisor.cpu import engine as api
from hypervisor.cpu.breakpoints import Breakpoints
from hypervisor.cpu.geometry import PAGE_MASK
from hypervisor.cpu.registers import EFLAGS_NT, EFLAGS_RF

if TYPE_CHECKING:
    from hypervisor.cpu.processor import Cpu, TrapHandler

_NONE_IN_FLIGHT = 0xFFFFFFFF
_VECTOR_DB = 1
_VECTOR_UD = 6
_VECTOR_GP = 13
_VECTOR_PF = 14
TASK_STATE = 0xFFFFFF00
"""Linear address of a task-state segment that is not there, where no guest has a page."""
# DR7: breakpoint 0 enabled, on port access, one byte.
_BREAK_ON_PORT = 0x20402


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
        self._breakpoints = Breakpoints(self._engine, self._layout)
        self._redirect: tuple[int, bytes] | None = None
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

    def arm_breakpoints(self) -> bool:
        """Make the enabled execution breakpoints fire. True when translated code must be dropped for it."""
        return self._breakpoints.arm(self._on_code)

    def finish(self) -> None:
        """After a run: deliver a redirected instruction the stop overtook, raise what the handler raised."""
        if self._redirect is not None:
            self._deliver_redirect()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _make_trap_hook(self) -> api.HookFunction:
        cpu, words, engine = self._cpu, self._words, self._engine
        handle, context, in_place = engine.handle, engine.context, engine.in_place
        is_int, in_flight, hflags = self._layout.is_int, self._layout.old_exception, self._layout.hflags
        error_code, save = self._layout.error_code, api.context_save
        interrupt, exception, cr2 = self._handler.interrupt, self._handler.exception, self._layout.cr2

        def on_trap(_uc: int, vector: int, _user: int) -> None:
            if not in_place:
                save(handle, context)
            cpu._eflags = None
            try:
                if self._redirect is not None:
                    self._deliver_redirect()
                elif words[is_int]:
                    interrupt(vector)
                else:
                    # Left alone, the engine would take the next fault for a double fault.
                    words[in_flight] = _NONE_IN_FLIGHT
                    cpu._dirty = True
                    code = words[error_code]
                    if vector == _VECTOR_PF and words[cr2] == TASK_STATE and cpu.eflags & EFLAGS_NT:
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
            if self._words[self._layout.is_int]:
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
        pc = ctypes.c_uint64.from_address(block).value
        size = ctypes.c_uint16.from_address(block + 10).value
        self._cpu.note_code(pc)
        if (pc & PAGE_MASK) + size > PAGE_MASK + 1:
            self._cpu.note_code(pc + size - 1)

    def _on_port(self, port: int) -> int:
        """IN or OUT: an I/O breakpoint makes the engine leave right behind the instruction."""
        self._keep_state(_VECTOR_GP)
        dr = self._layout.dr
        self._words[dr], self._words[dr + 14] = port, _BREAK_ON_PORT
        self._engine.restore()
        return 0

    def _on_call(self, vector: int) -> None:
        """SYSCALL or SYSENTER: the next fetch must fault, so let the page tables map nothing."""
        self._keep_state(vector)
        self._go_nowhere()

    def _on_code(self, _uc: int, address: int, _size: int, _user: int) -> None:
        """An instruction with a breakpoint that was armed at some time."""
        self._engine.save()
        hits = self._breakpoints.matching(address)
        if not hits or self._breakpoints.resume_flag_spent():
            return
        dr6 = self._layout.dr + 12
        self._words[dr6] = self._words[dr6] & ~0xF | hits
        eip = self._words[self._layout.eip]
        self._redirect = _VECTOR_DB, self._engine.bytes.tobytes()
        self._go_nowhere()
        self._engine.leave_block(eip)

    def _go_nowhere(self) -> None:
        self._words[self._layout.cr3] = self._void_root
        self._engine.restore()
        self._engine.flush_tlb()

    def _keep_state(self, vector: int) -> None:
        self._engine.save()
        self._redirect = vector, self._engine.bytes.tobytes()

    def _deliver_redirect(self) -> None:
        assert self._redirect is not None
        (vector, state), self._redirect = self._redirect, None
        self._engine.bytes[:] = state
        self._words[self._layout.old_exception] = _NONE_IN_FLIGHT
        self._cpu.flush_tlb()
        if vector == _VECTOR_DB:
            # As hardware does: resuming must not break at the same instruction again (SDM 17.3.1.1).
            self._cpu.eflags |= EFLAGS_RF
        self._handler.exception(vector, 0)

    def _on_cpuid(self, _uc: int, _user: int) -> int:
        engine = self._engine
        try:
            self._cpu._take()
            answer = self._handler.cpuid(self._cpu.eax, self._cpu.ecx)
            # The rest of this block goes on with the engine's registers, not with the context's.
            self._cpu._eflags_written = False
        except BaseException as failure:
            self._fail(failure)
            return 1
        numbers = (x86.UC_X86_REG_EAX, x86.UC_X86_REG_EBX, x86.UC_X86_REG_ECX, x86.UC_X86_REG_EDX)
        for number, value in zip(numbers, answer, strict=True):
            engine.write_register(number, value & 0xFFFFFFFF)
        return 1
