"""The engine's hooks of one processor: every trap of the guest becomes one call of its handler."""

import ctypes
from collections.abc import Callable
from typing import Final

from paravane.cpu.attention import Attention
from paravane.cpu.debug_hooks import DebugHooks
from paravane.cpu.debuggers import Debuggers
from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.faults import PageFault, SegmentFault
from paravane.cpu.handler import TrapHandler
from paravane.cpu.hooked_flags import HookedFlags
from paravane.cpu.native_iret import NativeIrets, iret
from paravane.cpu.plain_code import PlainCode
from paravane.cpu.redirects import AFTER_ACCESS, Redirects
from paravane.cpu.registers import NONE_IN_FLIGHT
from paravane.cpu.segment_registers import TASK_STATE
from paravane.cpu.spins import Spins
from paravane.cpu.state import ProcessorState, hook_bucket
from paravane.cpu.states_before import StatesBefore
from paravane.cpu.suspects import suspects
from paravane.cpu.trap_entry import EntryHooks, TrapEntry
from paravane.x86 import Dr6, Eflags, Vector

_VECTOR_DB: Final = int(Vector.DB)
_VECTOR_UD: Final = int(Vector.UD)
_VECTOR_GP: Final = int(Vector.GP)
_VECTOR_PF: Final = int(Vector.PF)
_TRAP_FLAG: Final = int(Eflags.TF)
_VIRTUAL_8086: Final = int(Eflags.VM)
_NESTED_TASK: Final = int(Eflags.NT)
# DR7: breakpoint 0 enabled, on port access, one byte.
_BREAK_ON_PORT = 0x20402
_CPUID_REGISTERS: Final = (
    numbers.UC_X86_REG_EAX,
    numbers.UC_X86_REG_EBX,
    numbers.UC_X86_REG_ECX,
    numbers.UC_X86_REG_EDX,
)


class Hooks:
    """Raw hooks over one engine."""

    def __init__(
        self,
        cpu: ProcessorState,
        handler: TrapHandler,
        void_root: int,
        rearm: Callable[[], None],
        spins: Callable[[], None] | None,
        trap_entry: TrapEntry | None,
    ) -> None:
        """`void_root` is a page-table root that maps nothing; `rearm` has breakpoints armed anew; for `spins`
        see `paravane.cpu.spins`. `trap_entry` has first what it has hooks for, if there is one."""
        self._cpu = cpu
        self._handler = handler
        self._engine = cpu._engine
        self._layout = cpu._layout
        self._words = cpu._words
        self._before = StatesBefore(cpu)
        self._irets = NativeIrets(cpu, self._before)
        self._flags = HookedFlags(cpu, self._is_hooked, self._before)
        self._redirects = Redirects(cpu, handler, self._flags, void_root)
        self.debuggers = Debuggers(cpu, self._redirects, self._fail, rearm)
        self._spins = Spins(cpu, spins)
        self._plain = PlainCode()
        self.debug = DebugHooks(cpu, handler, self._redirects, self._flags, self.debuggers, self._spins)
        self.code_hooked = False
        """Instructions have, or had, hooks: a budget or a breakpoint was set at some time."""
        self.restart = False
        """The run ended only for its code to be translated anew."""
        self._failure: BaseException | None = None
        self._trap_entry = trap_entry

    def install(self) -> None:
        """Hook everything. Must precede the first run."""
        engine = self._engine
        self._install_entries()
        engine.hook(numbers.UC_HOOK_EDGE_GENERATED, api.EDGE_HOOK, self._on_block)
        engine.hook_instruction("syscall", api.SYSCALL_HOOK(lambda uc, user: self._on_call(_VECTOR_UD)))
        engine.hook_instruction("sysenter", api.SYSCALL_HOOK(lambda uc, user: self._on_call(_VECTOR_GP)))

    def _install_entries(self) -> None:
        """Those that native code may have before Python."""
        hooks, user = self._entries(), 0
        if (entry := self._trap_entry) is not None:
            entry.fall_back(hooks)
            hooks, user = EntryHooks._make(map(ctypes.c_void_p, entry.hooks)), entry.user
        engine = self._engine
        engine.add_hook(numbers.UC_HOOK_INTR, hooks.trap, user=user)
        engine.add_hook(numbers.UC_HOOK_INSN_INVALID, hooks.invalid, user=user)
        engine.hook_instruction("cpuid", hooks.cpuid, user=user)
        engine.hook_instruction("in", hooks.port_in, user=user)
        engine.hook_instruction("out", hooks.port_out, user=user)

    def _entries(self) -> EntryHooks:
        """Python's own."""
        return EntryHooks(
            api.INTERRUPT_HOOK(self._make_trap_hook()),
            api.INVALID_HOOK(self._on_invalid),
            api.CPUID_HOOK(self._on_cpuid),
            api.IN_HOOK(lambda uc, port, size, user: self._on_port(port)),
            api.OUT_HOOK(lambda uc, port, size, value, user: self._on_port(port)),
        )

    def arm_breakpoints(self) -> bool:
        """Make the enabled breakpoints fire. True when translated code must be dropped for it."""
        new = self.debug.arm()
        self.note_debugging()
        self._before.run_next_alone(self.debug.breaks_on_execution)
        if new:
            self._note_hooks(None)
        return new

    def note_debugging(self) -> None:
        """Say whether anything that has to do with debugging is to see every trap."""
        debug = self.debug
        wanted = debug.breaks_on_execution or debug.takes_stops or self.debuggers.busy
        self._cpu.want_attention(Attention.DEBUGGED, wanted=wanted)

    def close(self) -> None:
        """Free what the hooks need. The engine must be closed."""
        self._before.close()

    def finish(self) -> None:
        """After a run: deliver what the stop overtook, raise what the handler raised."""
        if self._redirects.pending is not None and not self._overtakes(_VECTOR_DB):
            # An access that only a debugger watches is none of the guest's business.
            reported, self.debug.access_reported = self.debug.access_reported, False
            if reported:
                self._words[self._layout.old_exception] = NONE_IN_FLIGHT
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
        eflags, redirects = self._layout.eflags, self._redirects
        error_code, save = self._layout.error_code, api.context_save
        interrupt, exception, cr2 = self._handler.interrupt, self._handler.exception, self._layout.cr2

        def on_trap(_uc: int, vector: int, _user: int) -> None:
            if not in_place:
                save(handle, context)
            cpu._eflags = None
            try:
                if words[eflags] & _VIRTUAL_8086:
                    self._leave_virtual_8086()
                elif redirects.pending is not None and self._overtakes(vector):
                    pass
                elif words[is_int]:
                    interrupt(vector)
                else:
                    code = words[error_code]
                    if self.code_hooked:
                        self._flags.after_fault(vector, code)
                    # Left alone, the engine would take the next fault for a double fault.
                    words[in_flight] = NONE_IN_FLIGHT
                    cpu._dirty = True
                    if vector == _VECTOR_DB and self._is_debuggers_step():
                        pass
                    elif vector == _VECTOR_PF and words[cr2] == TASK_STATE and cpu.eflags & _NESTED_TASK:
                        # `iret` with NT set returns to another task; a 64-bit hypervisor has none: #GP(0).
                        exception(_VECTOR_GP, 0)
                    else:
                        exception(vector, code)
            except BaseException as failure:
                self._fail(failure)
            # The ring is looked at on every return to the guest, whatever the handler did or did not do.
            if not in_place or cpu._extra or not words[hflags] & 3:
                self._resume()
            cpu._dirty = False

        return on_trap

    def _is_debuggers_step(self) -> bool:
        """#DB arrived, and tells a debugger's step only."""
        reported, self.debug.access_reported = self.debug.access_reported, False
        return self.debuggers.stepping and self.debuggers.single_step(access_reported=reported)

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
        self._words[self._layout.old_exception] = NONE_IN_FLIGHT
        try:
            if self._irets.in_virtual_8086:
                self._leave_virtual_8086()
            elif self._redirects.pending is not None and self._overtakes(_VECTOR_UD):
                pass
            elif self._words[self._layout.is_int]:
                # `int $6` leaves the engine the same way as an invalid opcode, with EIP still on it.
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
            self._note_block(pc, size, ctypes.c_uint16.from_address(block + 8).value)
        except BaseException as failure:
            self._fail(failure)

    def _note_block(self, pc: int, size: int, instructions: int) -> None:
        """A block was translated and is about to be executed. Not before it can be trusted."""
        cpu = self._cpu
        scanner = cpu.scanner
        if scanner is not None:
            scanner.translated()
        code = cpu.note_code(pc, size)
        self._engine.save()
        if instructions == 1 and self.code_hooked and code is not None:
            self._flags.after_restart(pc, code)
        if code is None or self._irets.in_virtual_8086:
            self._translate_again(pc, size)
            return
        if scanner is not None and (changed := scanner.scan(pc, code)):
            self.restart = True
            cpu.drop_bytes(changed)
            self._engine.stop()
            return
        found = suspects(code, pc, big=cpu.has_big_code, plain=self._plain.tells)
        if found is None:
            return
        hooked = found.looked_at | self._spins.wanted(found.pauses)
        if self.debug.suspect(hooked) | self._before.copy_at(found.copied_before):
            everywhere = self._before.everywhere or self.debug.everywhere
            self._note_hooks(None if everywhere else hooked | found.copied_before)
            if self.debug.takes_stops:
                # Nothing may run any more that has no hook to stop it.
                cpu._drop_all = cpu._extra = True
            self._translate_again(pc, size)
        else:
            self.debug.suspect_due = bool(found.looked_at)

    def _note_hooks(self, addresses: set[int] | None) -> None:
        """Instructions at these linear addresses have code hooks from now on; None: any may have."""
        self.code_hooked = True
        if addresses is None:
            self._cpu.want_attention(Attention.HOOKED, wanted=True)
            return
        for address in addresses:
            self._cpu.hooked_map[hook_bucket(address)] = 1

    def _translate_again(self, pc: int, size: int) -> None:
        """Do not execute the block that was translated: end the run, drop it, and run from here once more.

        The engine looks at its stop flag between the two.
        """
        self.restart = True
        self._cpu.drop_block(pc, size)
        self._engine.stop()

    def _on_port(self, port: int) -> int:
        """IN or OUT: an I/O breakpoint makes the engine leave right after the instruction."""
        if self._redirects.keep(_VECTOR_GP):
            dr = self._layout.dr
            self._words[dr], self._words[dr + 14] = port, _BREAK_ON_PORT
            self._engine.restore()
        return 0

    def _on_call(self, vector: int) -> None:
        """SYSCALL or SYSENTER: the next fetch must fault, so let the page tables map nothing."""
        if self._redirects.keep(vector):
            self._redirects.go_nowhere()

    def _overtakes(self, vector: int) -> bool:
        """A trap arrived, or the run ended, with something else to report first: that is done, or False."""
        redirect = self._redirects.take()
        if redirect is AFTER_ACCESS:
            return self.debug.report_access(vector)
        self._redirects.report(redirect)
        return True

    def _leave_virtual_8086(self) -> None:
        """An IRET set VM: it should not have. Do what it should have done."""
        cpu = self._cpu
        self._irets.take_back()
        self._words[self._layout.old_exception] = NONE_IN_FLIGHT
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

    def _is_hooked(self, eip: int) -> bool:
        return self.debug.hooked(eip) or self._before.copied_at(eip) or self._cpu._counted

    def _on_cpuid(self, _uc: int, _user: int) -> int:
        engine = self._engine
        if self._redirects.pending is not None:
            return 1
        try:
            self._cpu._take()
            self._flags.after_fault(_VECTOR_UD, 0)
            answer = self._handler.cpuid(self._cpu.eax, self._cpu.ecx)
            # The rest of this block goes on with the engine's registers, not with the context's.
            self._cpu._eflags_written = False
        except BaseException as failure:
            self._fail(failure)
            return 1
        for number, value in zip(_CPUID_REGISTERS, answer, strict=True):
            engine.write_register(number, value & 0xFFFFFFFF)
        return 1
