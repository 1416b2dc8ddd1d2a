"""Reporting something else than the engine would: instructions that it executes although the guest may not,
breakpoints that it does not honour.

Their hook keeps the state at the instruction and arranges for a native fault before anything else executes;
that fault puts the kept state back and reports the exception that hardware would have raised.
"""

from collections.abc import Callable
from typing import Final

from paravane.classes import NamedTuple
from paravane.cpu.attention import Attention
from paravane.cpu.engine import numbers
from paravane.cpu.handler import TrapHandler
from paravane.cpu.hooked_flags import HookedFlags
from paravane.cpu.registers import EFLAGS_RF, NONE_IN_FLIGHT
from paravane.cpu.state import ProcessorState
from paravane.x86 import Vector

_VECTOR_DB: Final = int(Vector.DB)


class Redirect(NamedTuple):
    """What to report instead of the fault that was arranged for, and the state to report it in."""

    vector: int | None
    """None: nothing, the run is to end here, or `action` says."""
    state: bytes
    sets_rf: bool = True
    """For #DB: at an instruction that is not over, so that resuming there must not break at it."""
    action: Callable[[], None] | None = None
    """What to do in that state, where something is to be done."""


AFTER_ACCESS = Redirect(None, b"")
"""Nothing is arranged for: an access hit a data breakpoint, to be reported after its instruction."""


class Redirects:
    """What is arranged for on one processor: at most one thing at a time."""

    def __init__(self, cpu: ProcessorState, handler: TrapHandler, flags: HookedFlags, void_root: int) -> None:
        """`void_root` is a page-table root that maps nothing."""
        self._cpu = cpu
        self._handler = handler
        self._flags = flags
        self._void_root = void_root
        self._engine = cpu._engine
        self._layout = cpu._layout
        self._words = cpu._words
        self.pending: Redirect | None = None
        """To be changed by `arrange` only."""

    def arrange(self, redirect: Redirect | None) -> None:
        """This is pending from now on, or nothing is."""
        self.pending = redirect
        self._cpu.want_attention(Attention.REDIRECT, wanted=redirect is not None)

    def keep(self, vector: int) -> bool:
        """Keep the state at this instruction, to report `vector` there; not when something is pending."""
        if self.pending is not None:
            return False
        self._engine.save()
        self._flags.after_fault(vector, 0)
        self.arrange(Redirect(vector, self._engine.bytes.tobytes()))
        return True

    def leave(
        self, vector: int | None, *, sets_rf: bool = False, action: Callable[[], None] | None = None
    ) -> None:
        """From a code hook: report `vector`, or do `action`, in the state before this instruction."""
        eip = self._words[self._layout.eip]
        self.arrange(Redirect(vector, self._engine.bytes.tobytes(), sets_rf, action))
        self.disarm()
        self.go_nowhere()
        self._engine.leave_block(eip)

    def disarm(self) -> None:
        """With the state kept, this instruction and the rest of its block run to no effect. Have none be a
        comparison of strings with lengths that the engine dies of.
        """
        self._cpu.eax = self._cpu.edx = 0
        self._engine.restore()

    def go_nowhere(self) -> None:
        """Make the next fetch fault."""
        self._words[self._layout.cr3] = self._void_root
        self._engine.restore()
        self._engine.flush_tlb()

    def take(self) -> Redirect:
        """What is pending, which it no longer is then."""
        redirect = self.pending
        assert redirect is not None
        self.arrange(None)
        return redirect

    def report(self, redirect: Redirect) -> None:
        """Put the kept state back and report what there is to report in it."""
        self._engine.bytes[:] = redirect.state
        self._engine.restore()
        self._settle_flags()
        self._words[self._layout.old_exception] = NONE_IN_FLIGHT
        self._cpu._want_flush()
        if redirect.vector == _VECTOR_DB and redirect.sets_rf:
            # As hardware does: resuming must not break at the same instruction again (SDM 17.3.1.1).
            self._cpu.eflags |= EFLAGS_RF
        if redirect.vector is not None:
            self._handler.exception(redirect.vector, 0)
        if redirect.action is not None:
            redirect.action()

    def _settle_flags(self) -> None:
        """Have the flags stand in EFLAGS itself.

        Inside a run the engine keeps what it would compute them from. A run begins with those of EFLAGS,
        where a hook that asked for them earlier has left those of its own instruction.
        """
        flags = self._engine.read_register(numbers.UC_X86_REG_EFLAGS)
        self._engine.write_register(numbers.UC_X86_REG_EFLAGS, flags)
        self._engine.save()
        self._cpu._eflags = None
