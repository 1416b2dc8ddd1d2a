"""`Cpu`: one virtual processor over machine memory, its traps served by a handler."""

import mmap
import threading
import warnings
from collections.abc import Callable
from ctypes import addressof, c_char
from enum import Enum

from paravane.cpu.attention import Attention
from paravane.cpu.code import CodeGroup
from paravane.cpu.debuggers import Debuggers
from paravane.cpu.engine import guard
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.engine.exits import block_exit
from paravane.cpu.engine.progress import counter_place
from paravane.cpu.engine.stops import end_runs_between_blocks
from paravane.cpu.geometry import PAE, Geometry
from paravane.cpu.handler import TrapHandler
from paravane.cpu.hooks import Hooks
from paravane.cpu.interrupts import DeferredSigint
from paravane.cpu.native_fill import NativeFill
from paravane.cpu.native_fill import install as install_fill
from paravane.cpu.ram import Ram
from paravane.cpu.state import ProcessorState
from paravane.cpu.trap_entry import TrapEntry
from paravane.x86 import PAGE_SIZE, Dr6, Dr7

# A page of zeroes above all machine memory: as a page-table root it maps nothing.
VOID_ROOT = 0xFFFFF000
# How often and how long stop() repeats itself while a run is just being entered.
_STOP_TRIES, _STOP_PAUSE = 20, 0.0005
_NO_BUDGET = 1 << 62

RESTART_COST = 10_000
"""What a restart takes of a budget, in instructions. It takes the host most of a millisecond: were it free, a
guest that causes one after the other would make a slice of a million instructions last a minute."""


class RunEnd(Enum):
    """Why `Cpu.run` returned."""

    STOPPED = "stopped"
    BUDGET = "budget"
    PAUSED = "paused"


class Cpu(ProcessorState):
    """One virtual processor: rings 1 and 3 of 32-bit protected mode with paging, never ring 0.

    Registers may be read and written whenever the guest does not execute: before and after `run`, and inside
    the handler's methods. `run` raises whatever the handler raised. One thread runs a given processor at a
    time; `stop` alone may be called from others. Close it before its `Ram`.
    """

    def __init__(
        self,
        ram: Ram,
        handler: TrapHandler,
        geometry: Geometry = PAE,
        *,
        group: CodeGroup | None = None,
        spins: Callable[[], None] | None = None,
        sigint: DeferredSigint | None = None,
        trap_entry: TrapEntry | None = None,
        tlb_fill: NativeFill | None = None,
    ) -> None:
        """One processor over `ram`. Processors that share guest code (vcpus of a domain) share a `group`.

        `spins` is called when the guest waits in a loop of PAUSEs, as for another processor. It is called in
        the middle of the run and may `stop` that, or leave it alone. `sigint` is who keeps Ctrl-C away from
        the engine, for processors that run one after the other. `trap_entry` has every trap before Python
        does, where the engine's state is seen in place. `tlb_fill` fills the TLB instead of the engine, where
        that is possible and the page tables are PAE ones.
        """
        super().__init__(ram, geometry, group)
        self._sigint = sigint or DeferredSigint()
        self._handler = handler
        self._spins = spins
        self._trap_entry = trap_entry if self._engine.in_place else None
        self._native_fill = tlb_fill
        self._stop_lock = threading.RLock()
        self._running = False
        self._busy = threading.Lock()
        self._thread = 0
        self._stopper: threading.Lock | None = None
        self._stop_asked = False
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
        self._block_exit = block_exit(engine, lambda: self._stop_wanted)
        self._guard = guard.find()
        if self._guard is None or not self._guard.protect(engine, self._layout, self._at_undefined):
            self._guard = None
            guard.warn_once()
        self._hooks = Hooks(self, self._handler, VOID_ROOT, self._rearm, self._spins, self._trap_entry)
        self._hooks.install()
        self._reset()
        if self._native_fill is not None and self.geometry.pae:
            self._fill = install_fill(engine, self._layout, self.ram, self._engine_cr4, self._native_fill)
            self._translated.misses_no_store = self._fill is not None

    def _prime(self) -> None:
        """The engine reports new blocks only once some block has run to its end: run `jmp .+2; hlt`.

        This is the engine's first breath, in ring 0 without paging, before it has seen any guest.
        """
        self._void[:3] = b"\xeb\x00\xf4"
        self._engine.start(VOID_ROOT)
        self._void[:3] = bytes(3)

    def set_dr(self, index: int, value: int) -> None:
        """Write debug register `index` (0-3, 6, 7). Execution and data breakpoints fire as #DB."""
        fixed = {6: Dr6.FIXED, 7: Dr7.FIXED}.get(index, 0)
        self._words[self._debug_slot(index)] = value & 0xFFFFFFFF | fixed
        self._dirty = True
        if index != 6:
            self._rearm()

    @property
    def debuggers(self) -> Debuggers:
        """Debuggers outside the guest."""
        return self._hooks.debuggers

    def _rearm(self) -> None:
        """Breakpoints have changed."""
        self._drop_all |= self._hooks.arm_breakpoints()
        self._dirty = self._extra = True

    def _finish_restore(self) -> None:
        super()._finish_restore()
        if self._hooks.debug.watching:
            # Nothing but a trap or a stop can change where a linear address is.
            self._hooks.debug.follow()
            if self._running:
                self._hooks.debuggers.look_for_stores()
        if self._hooks.debug.takes_stops:
            # Whoever was asked to stop in a trap may find an instruction next that calls no hook.
            self._extra = True
        if self._hooks.debuggers.stepping:
            if self._running:
                self._hooks.debuggers.trap_served()
            self._extra = True  # to be asked again at the next trap
        if self._stop_wanted:
            self._engine.stop()

    def _at_undefined(self) -> bool:
        return self.at_undefined(self.eip + self.segment_base("cs") & 0xFFFFFFFF)

    # Running

    @property
    def executed(self) -> int:
        """How much of its budget the last run has used, in instructions, if it had one."""
        return self.progress.executed

    def run(self, *, instructions: int = 0) -> RunEnd:
        """Run the guest until `stop`, or for at most `instructions` instructions (0: no limit), fewer by
        `RESTART_COST` whenever code that was translated already must be translated again.

        A stop asked for before the run ends it at once. Raises what the handler raised, or EngineError.
        """
        self.progress.begin(instructions)
        return self.go_on()

    def go_on(self) -> RunEnd:
        """What is left of a run that is PAUSED (`Progress.pauses`): as if it had not been. Raises as
        `run`."""
        if not self._busy.acquire(blocking=False):
            raise EngineError("this processor runs already: one thread at a time, and not from its own traps")
        try:
            return self._run()
        finally:
            self._busy.release()

    def _run(self) -> RunEnd:
        self._thread = threading.get_ident()
        if self._take_stop()[0]:
            return RunEnd.STOPPED
        if changed := self._translated.changed_since(self):
            self.drop_code(changed)
        if self._hooks.debug.settle():
            self._drop_all = self._extra = True
        self._hooks.note_debugging()
        debuggers = self._hooks.debuggers
        executes = debuggers.begin_run()
        if executes:
            self._sigint.during(self._execute_and_restart, self.stop)
        debuggers.end_run()
        stopped, asked = self._take_stop()
        stopped |= not executes
        progress = self.progress
        if progress.pauses and not asked and not progress.used_up and (stopped or progress.at_pause):
            return RunEnd.PAUSED
        if stopped:
            return RunEnd.STOPPED
        if progress.budget:
            return RunEnd.BUDGET
        raise EngineError(f"the engine stopped without being asked to ({self._describe()})")

    def _execute_and_restart(self) -> None:
        """Execute, and go on where that ended only for code to be translated again, with what is left of the
        budget: without one, whoever else runs would never have a turn, or time would never pass for them."""
        progress = self.progress
        while True:
            limit = progress.next()
            if progress.budget and not limit:
                return
            self._put_back()
            self._execute(limit)
            if not self._hooks.restart or self._stop_wanted:
                return
            if progress.budget:
                progress.charge(RESTART_COST)

    def _execute(self, instructions: int) -> None:
        # Blocks translated before the first budget do not count. And removing the counting hook
        # leaves a stray fault behind, so a processor that once ran on a budget keeps counting.
        if instructions and not self._counted:
            counter_place()  # an engine that does not tell is refused now, not in the middle of a run
            self._counted = self._hooks.code_hooked = True
            self.want_attention(Attention.COUNTED, wanted=True)
            # A budget ends at any instruction, by a stop that comes before it: that one splits nothing.
            end_runs_between_blocks(self._engine, False)
            self._engine.flush_code()
        self._hooks.debug.suspect_due = self._hooks.restart
        self._hooks.restart = False
        self._running = True
        if self._guard is not None:
            self._guard.ensure()
        try:
            if not self._stop_wanted:
                self._engine.start(self.eip, instructions or (_NO_BUDGET if self._counted else 0))
                if instructions:
                    self.progress.account(instructions)
        except EngineError as error:
            self._take()
            raise EngineError(f"{error} ({self._describe()})") from None
        finally:
            self._running = False
        self._take()
        self._hooks.finish()

    def stop(self) -> None:
        """End the run soon: after the handler when called from one, else at the next block. Any thread.

        No breakpoint on the way there is passed over, except where `BlockExit` cannot be had.
        """
        if threading.get_ident() == self._thread:
            with self._stop_lock:
                self._stop_wanted = self._stop_asked = True
                self._ask_to_stop(in_block=self._hooks.debuggers.telling)
            return
        # Whoever runs the processor may be about to wait for us: return as soon as the stop is taken. A bare
        # lock, as its release is one step that no signal handler comes into. Of several who stop at a time
        # the last one is told; the others look for themselves.
        taken = threading.Lock()
        taken.acquire()
        with self._stop_lock:
            self._stop_wanted = self._stop_asked = True
            self._stopper = taken
            if self._block_exit is not None or not self._hooks.debug.suspect_due:  # or else below
                self._ask_to_stop(in_block=True)
        # A stop that arrives while the engine is being started would be lost there.
        for _ in range(_STOP_TRIES):
            if taken.acquire(timeout=_STOP_PAUSE):
                return
            with self._stop_lock:
                if not (self._running and self._stop_wanted):
                    return
                self._ask_to_stop(in_block=True)

    def _ask_to_stop(self, *, in_block: bool) -> None:
        """`in_block`: instructions may follow in this block, with hooks that are not to be left out."""
        if self._hooks.debug.takes_stops:
            self._hooks.debug.stop_soon()
        elif in_block and self._hooks.debug.blocks_hooked:
            pass  # the next block asks
        elif in_block and self._block_exit is not None:
            self._block_exit.ask()
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
            if self._fill is not None:
                self._fill.close()
            self._void.close()

    def __del__(self) -> None:
        # An engine is megabytes that the collector does not see. Its memory outlives this: whatever is
        # unreachable together is finalised before any of it goes.
        if self.__dict__.get("_attached") and self._engine.is_open:
            warnings.warn("a Cpu was dropped without being closed", ResourceWarning, 1, self)
            self.close()

    def _take_stop(self) -> tuple[bool, bool]:
        """Whether the run is to end, and whether that is by `stop`; else it is for a debugger."""
        # Under the lock a stop is either seen here or reaches the engine after: never half.
        with self._stop_lock:
            wanted, self._stop_wanted = self._stop_wanted, False
            asked, self._stop_asked = self._stop_asked, False
            stopper, self._stopper = self._stopper, None
            if stopper is not None:
                stopper.release()
        return wanted, asked

    def _describe(self) -> str:
        names = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
        values = " ".join(f"{name}={value:08x}" for name, value in zip(names, self.gprs(), strict=True))
        place = f"cpl={self.cpl} cs={self.cs:04x} eip={self.eip:08x}"
        return f"{place} cr2={self.cr2:08x} cr3={self.cr3:08x} {values}"
