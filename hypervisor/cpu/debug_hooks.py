"""Code and memory hooks: breakpoints of the guest and of debuggers, and instructions to be looked at whenever
they are reached."""

from typing import Final

from paravane.cpu.breakpoints import Breakpoints
from paravane.cpu.debuggers import GUESTS_BITS, Debuggers
from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.bounds import MovableHook
from paravane.cpu.handler import TrapHandler
from paravane.cpu.hooked_flags import HookedFlags
from paravane.cpu.moving_breakpoints import MovingBreakpoints
from paravane.cpu.redirects import AFTER_ACCESS, Redirects
from paravane.cpu.registers import NONE_IN_FLIGHT
from paravane.cpu.spins import Spins
from paravane.cpu.state import ProcessorState
from paravane.cpu.string_hooks import StringCompares
from paravane.cpu.watchpoints import Watchpoints, armed
from paravane.x86 import Vector

_VECTOR_DB: Final = int(Vector.DB)
_VECTOR_UD: Final = int(Vector.UD)


class DebugHooks:
    """The breakpoints of one processor, and what of its instructions is suspect."""

    def __init__(
        self,
        cpu: ProcessorState,
        handler: TrapHandler,
        redirects: Redirects,
        flags: HookedFlags,
        debuggers: Debuggers,
        spins: Spins,
    ) -> None:
        self._debuggers = debuggers
        self._spins = spins
        self._cpu = cpu
        self._handler = handler
        self._redirects = redirects
        self._flags = flags
        self._engine = cpu._engine
        self._layout = cpu._layout
        self._words = cpu._words
        self._compares = StringCompares(cpu, handler)
        self._breakpoints = Breakpoints(self._engine, self._layout)
        self._moving = MovingBreakpoints(self._engine, self._on_moving)
        self._watchpoints = Watchpoints(self._engine, cpu.frame_at, self._on_access, self._on_gate)
        self._blocks: MovableHook | None = None
        self.blocks_hooked = False
        """Each block calls on us before it is executed, and a stop is taken there: one that came between that
        call and the block would have it told of twice."""
        self._hits = 0
        self._hit_eip = 0
        self._told_at: int | None = None
        """The instruction that a debugger was told of as the next: no stop must come between."""
        self._untold: int | None = None
        """The instruction with a hook of its own that was reached with an access to report first."""
        self.access_reported = False
        """The #DB being served is also that of a data breakpoint."""
        self.suspect_due = False
        """A block was translated in which an instruction is to be looked at, and no hook was called since.

        Where only the engine's own stop can be had, one from another thread is to wait a little: between the
        engine's look for one and its first hook it would have the hook left out, and a thread that waits for
        the interpreter lock while the block is looked at comes just then."""

    @property
    def watching(self) -> bool:
        """Data breakpoints are armed: `follow` before each return to the guest, and stop by `stop_soon`."""
        return self._watchpoints.watching

    @property
    def breaks_on_execution(self) -> bool:
        """Execution breakpoints are armed."""
        return self._breakpoints.enabled

    @property
    def takes_stops(self) -> bool:
        """Every instruction has a hook, and the guest is stopped by `stop_soon`: what an access has hit is
        told of before the run ends."""
        return self.watching or self._watchpoints.following or self._breakpoints.everywhere

    def hooked(self, address: int) -> bool:
        """The instruction at linear `address` was translated with a hook."""
        return (
            self._breakpoints.hooked(address)
            or self._watchpoints.instrumented
            or self._moving.placed(address)
        )

    @property
    def everywhere(self) -> bool:
        """Any instruction may have a hook."""
        return self._breakpoints.everywhere or self._watchpoints.instrumented

    def arm(self) -> bool:
        """Make the enabled breakpoints fire. True when translated code must be dropped for it."""
        debuggers = self._debuggers
        moved = (
            self._moving.place(debuggers.breakpoints()) if debuggers.attached else self._moving.remove_all()
        )
        execution = self._breakpoints.arm(self._on_code) or moved
        dr = self._layout.dr
        addresses = [self._words[dr + 2 * index] for index in range(4)]
        watches = armed(addresses, self._words[dr + 14]) + debuggers.watches()
        blocks = self._arm_blocks(debuggers.watches_blocks)
        return self._watchpoints.arm(watches, debuggers.followed) or execution or blocks

    def _arm_blocks(self, wanted: bool) -> bool:
        """Have each block call on us, or none. True as for `arm`."""
        if wanted == self.blocks_hooked:
            return False
        if self._blocks is None:
            entered = api.CODE_HOOK(self._debuggers.block_entered)
            self._blocks = MovableHook(self._engine, numbers.UC_HOOK_BLOCK, entered)
        if wanted:
            self._blocks.everywhere()
        else:
            self._blocks.nowhere()
        self.blocks_hooked = wanted
        return True

    def suspect(self, addresses: set[int]) -> bool:
        """Look at what is at linear `addresses` whenever they are reached. What is undefined then is #UD; a
        comparison of strings that the engine gets wrong is done by `StringCompares`. True as for `arm`.
        """
        return self._breakpoints.suspect(addresses, self._on_code)

    def places(self) -> tuple[set[int], set[int]]:
        """As `Breakpoints.places`."""
        return self._breakpoints.places()

    def restore(self, hooked: set[int], suspects: set[int], *, everywhere: bool) -> None:
        """As `Breakpoints.restore`."""
        self._breakpoints.restore(hooked, suspects, self._on_code, everywhere=everywhere)

    @property
    def breaks_everywhere(self) -> bool:
        """Every instruction has the hook of a breakpoint."""
        return self._breakpoints.everywhere

    def follow(self) -> None:
        """Data breakpoints are linear: look up where their bytes are now."""
        self._watchpoints.follow()

    def settle(self) -> bool:
        """Before a run: drop hooks that are not needed. True when translated code must be dropped."""
        return self._watchpoints.settle()

    def stop_soon(self) -> None:
        """End the run before the next instruction. Any thread."""
        if self.watching or self._watchpoints.following:
            self._watchpoints.open_gate()

    def report_access(self, vector: int) -> bool:
        """Trap `vector` arrived after an access that hit: report the access first, or False."""
        self._watchpoints.close_gate()
        words, hits = self._words, self._take_hits()
        single_step = vector == _VECTOR_DB
        if not single_step and words[self._layout.eip] == self._hit_eip:
            # The instruction itself faulted: it did not complete.
            return False
        stops = hits > GUESTS_BITS and self._debuggers.accessed(hits)
        if stops:
            self._cpu._stop_wanted = self._cpu._extra = True
        if single_step:
            # Of that instruction: one #DB tells both.
            self.access_reported = hits & GUESTS_BITS != 0
            words[self._layout.dr + 12] |= hits & GUESTS_BITS
            self._cpu._dirty = True
            return False
        if hits & GUESTS_BITS:
            self._report_hits(hits)
        elif not stops:
            return False
        words[self._layout.old_exception] = NONE_IN_FLIGHT
        self._cpu._dirty = True
        if hits & GUESTS_BITS:
            self._handler.exception(_VECTOR_DB, 0)
        # Nothing is lost of the trap that arrived: its instruction is executed again.
        return True

    def _on_code(self, _uc: int, address: int, _size: int, _user: int) -> None:
        """An instruction with a breakpoint that was armed at some time."""
        self.suspect_due = False
        if self._redirects.pending is not None:
            # Something is to be reported already, or about to be: a trap after the last instruction comes
            # first.
            if self._redirects.pending is not AFTER_ACCESS:
                self._redirects.disarm()
            else:
                self._untold = address
            return
        breakpoints = self._breakpoints
        if breakpoints.everywhere and self._cpu._stop_wanted:
            self._engine.save()
            self._redirects.leave(None, action=self._engine.stop)
            return
        self._look(address)

    def _look(self, address: int) -> None:
        """Do what there is to do before the instruction at linear `address`, one that has a hook."""
        self._tell(address)
        breakpoints = self._breakpoints
        if self._redirects.pending is not None or not breakpoints.hooked(address):
            return
        self._engine.save()
        hits = breakpoints.matching(address)
        passed = hits and breakpoints.resume_flag_spent()
        if passed:
            self._cpu.passed_breakpoint = address
        if hits and not passed:
            self._report_hits(hits)
            self._redirects.leave(_VECTOR_DB, sets_rf=True)
        elif breakpoints.is_suspect(address):
            if self._spins.reached(address):
                if self._cpu._stop_wanted and self._cpu._counted and self.takes_stops:
                    # A counted run that nobody watches ends before PAUSE; the gate would end it after that.
                    self._redirects.leave(None)
                    self._engine.stop()
            elif self._cpu.at_undefined(address):
                self._redirects.leave(_VECTOR_UD)
            elif self._compares.due(address):
                self._redirects.leave(None, action=self._compares.carry_out)

    def _on_moving(self, _uc: int, address: int, _size: int, _user: int) -> None:
        """An instruction with a debugger's breakpoint, or one that was not needed elsewhere yet."""
        # Where the guest has had one as well, its hook asks: that must not spend RF before a debugger stops.
        if self._breakpoints.hooked(address):
            return
        if self._redirects.pending is None:
            self._tell(address)
        elif self._redirects.pending is AFTER_ACCESS:
            self._untold = address

    def _tell(self, address: int) -> None:
        """Tell debuggers that the instruction at linear `address` is the next."""
        self._told_at = address
        self._debuggers.reached(address)

    def _on_access(self, hits: int) -> None:
        """Memory is about to be accessed in or near a watched range."""
        self._engine.save()
        self._flags.write_computed()
        if hits:
            self._hits |= hits
            self._hit_eip = self._words[self._layout.eip]
            self._redirects.arrange(AFTER_ACCESS)
            self._watchpoints.open_gate()

    def _on_gate(self, _uc: int, address: int, _size: int, _user: int) -> None:
        """The instruction after one that hit a data breakpoint, where a stop is wanted, or one that somebody
        follows."""
        if self._redirects.pending is not None and self._redirects.pending is not AFTER_ACCESS:
            return
        cpu, words = self._cpu, self._words
        self._engine.save()
        if self._redirects.pending is None:
            told, self._told_at = self._told_at, None
            self._set_gate(address)
            if not cpu._stop_wanted:
                self._debuggers.at_instruction(address)
            elif told == address:
                # Told again of the same instruction, a debugger would take it for another.
                self._debuggers.at_instruction(address)
                self._watchpoints.open_gate()
            else:
                cpu.progress.mark()
                self._redirects.leave(None)
                self._engine.stop()
            return
        half_done = words[self._layout.eip] == self._hit_eip
        if half_done and not cpu.ecx:
            # A repeated string instruction looks at its count once more: it is over after that.
            return
        self._set_gate(address)
        cpu._eflags = None
        untold, self._untold = self._untold, None
        hits = self._take_hits()
        if hits > GUESTS_BITS and self._debuggers.accessed(hits):
            cpu._stop_wanted = True
        if hits & GUESTS_BITS:
            self._report_hits(hits)
            self._redirects.leave(_VECTOR_DB, sets_rf=half_done)
        elif cpu._stop_wanted:
            cpu.progress.mark()
            self._redirects.leave(None)
        else:
            self._redirects.arrange(None)
            if untold == address:
                self._look(address)
            if self._redirects.pending is None:
                self._debuggers.at_instruction(address)
        if cpu._stop_wanted:
            self._engine.stop()

    def _set_gate(self, address: int) -> None:
        """Open it for the next instruction if this one is followed: what it did is seen there."""
        if address in self._watchpoints.followed:
            self._watchpoints.open_gate()
        else:
            self._watchpoints.close_gate()

    def _take_hits(self) -> int:
        hits, self._hits = self._hits, 0
        return hits

    def _report_hits(self, hits: int) -> None:
        dr6 = self._layout.dr + 12
        self._words[dr6] = self._words[dr6] & ~0xF | hits & 0xF
