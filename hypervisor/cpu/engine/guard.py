"""What lets this process survive the engine's deaths: aborts and crashes inside the library while a guest
runs.

A handler of the five signals that end a process runs in the thread that died, on top of the dying call.
When that is an engine's run, it changes the interrupted context so that the thread goes on in one of the
library's own functions that leave translated code, as the engine's helpers call them to report a fault:
from there the engine takes its usual way back into its loop, and nothing of it is left half done. Anything
else goes to the action that was there before (faulthandler's, or death).

- While *translating*: again, one instruction at a time. Only what cannot be translated on its own is
  guilty; where a processor has #UD for it so has the guest, otherwise the run ends.
- In a *helper*, of SIGFPE: a division overflowed, #DE. The library tells the exact EIP.
- In a helper, of anything else: the run ends, EIP at the instruction.

For Linux on x86-64 with glibc and a library that exports what is needed. Elsewhere the engine's death is the
process's, and `why_not` says what is missing.
"""

import atexit
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Final

from paravane.cpu.engine import host_signals, library
from paravane.cpu.engine.context_offsets import ContextLayout
from paravane.cpu.engine.library import Engine, Patient
from paravane.x86 import Vector

SIGNALS: Final = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)

_RAISE, _LEAVE = "raise_exception_x86_64", "cpu_loop_exit_noexc_x86_64"
_RESTORE_STATE, _TRANSLATE = "cpu_restore_state_x86_64", "tb_gen_code_x86_64"
_log: Final = logging.getLogger(__name__)
# The engine takes this off a return address, to be within the call.
_PAST_THE_CALL: Final = 2


class Guard:
    """The handler. One serves all engines of the process, in whatever threads."""

    def __init__(self) -> None:
        self._library = ctypes.PyDLL(library.PATH)
        self._raise, self._leave = (host_signals.address(getattr(self._library, f)) for f in (_RAISE, _LEAVE))
        self._handler = host_signals.HANDLER(self._on_signal)
        self._action = host_signals.action_for(self._handler)
        self._previous: dict[int, host_signals.Action] = {}
        host_signals.load_unwinder()
        # When the interpreter is gone nobody can run the handler.
        atexit.register(self.remove)

    def ensure(self) -> None:
        """Install the handler, also where somebody replaced it since (as `faulthandler.enable` does, for all
        five: one look at one of them is enough)."""
        if host_signals.get_action(signal.SIGSEGV).handler == self._action.handler:
            return
        for number in SIGNALS:
            there = host_signals.get_action(number)
            if there.handler != self._action.handler:
                self._previous[number] = there
                host_signals.set_action(number, self._action)

    def protect(self, engine: Engine, layout: ContextLayout, is_undefined: Callable[[], bool]) -> bool:
        """Survive the deaths of `engine` from now on. False when it is not laid out as it should be.

        `is_undefined` is asked, inside the handler and with EIP there, about an instruction that cannot be
        translated.
        """
        place = engine.place
        if place is None:
            return False
        state = engine.state_address(place)
        env = state + 4 * layout.regs
        processor = engine.processor
        # The object knows where its state is: so much for what the place found by content means.
        if ctypes.string_at(processor, place.state).count(env.to_bytes(8, "little")) != 1:
            return False
        engine.patient = Patient(processor, env, state + 4 * layout.hflags, layout.inhibit, is_undefined)
        return True

    def remove(self) -> None:
        """Put back what was there."""
        while self._previous:
            host_signals.set_action(*self._previous.popitem())

    def _on_signal(self, number: int, info: int, context: int) -> None:
        try:
            if not self._survive(number, info, context, sys._getframe(1)):
                host_signals.take(self._previous[number], number, info, context)
        except BaseException:
            # What died dies again on return: this time without us, or it would go on for ever.
            self.remove()
            raise

    def _survive(self, number: int, info: int, context: int, interrupted: FrameType) -> bool:
        """Arrange for the engine to go on. False when it was not an engine's run that died."""
        if interrupted.f_code is not Engine.start.__code__ or host_signals.sent_by_another(info):
            return False
        engine: Engine = interrupted.f_locals["self"]
        patient = engine.patient
        if patient is None:
            return False
        frames = host_signals.interrupted_frames(context)
        functions = [host_signals.function_at(frame) for frame in frames]
        if _TRANSLATE in functions:
            self._died_translating(engine, patient, context, _sentence(number, functions))
        elif None in functions:
            # Translated code is in no file. It called the helper, or died itself.
            at = functions.index(None)
            self._tell_eip(patient, frames[at] + (0 if at else _PAST_THE_CALL))
            if number == signal.SIGFPE:
                host_signals.go_on_in(context, self._raise, patient.env, Vector.DE)
            else:
                self._end_run(engine, patient, context, _sentence(number, functions))
        else:
            return False
        return True

    def _died_translating(self, engine: Engine, patient: Patient, context: int, sentence: str) -> None:
        hflags = ctypes.c_uint32.from_address(patient.hflags)
        if not hflags.value & patient.one_by_one:
            hflags.value |= patient.one_by_one
            host_signals.go_on_in(context, self._leave, patient.cpu)
            return
        hflags.value &= ~patient.one_by_one
        if patient.is_undefined():
            host_signals.go_on_in(context, self._raise, patient.env, Vector.UD)
        else:
            self._end_run(engine, patient, context, sentence)

    def _tell_eip(self, patient: Patient, host_pc: int) -> None:
        """Have the engine complete EIP and flags as they are at the instruction that `host_pc` belongs to."""
        restore = getattr(self._library, _RESTORE_STATE)
        restore(ctypes.c_void_p(patient.cpu), ctypes.c_size_t(host_pc), ctypes.c_bool(True))

    def _end_run(self, engine: Engine, patient: Patient, context: int, sentence: str) -> None:
        engine.death = sentence
        engine.stop()
        host_signals.go_on_in(context, self._leave, patient.cpu)


@cache
def find() -> Guard | None:
    """The guard of this process, None where there cannot be one."""
    return None if why_not() else Guard()


@cache
def why_not() -> str:
    """What a guard lacks here; nothing when it lacks nothing."""
    if sys.platform != "linux" or os.uname().machine != "x86_64" or sys.maxsize < 1 << 32:
        return "Linux on x86-64"
    exports = ctypes.PyDLL(library.PATH)
    names = (_RAISE, _LEAVE, _RESTORE_STATE, _TRANSLATE)
    unexported = next((name for name in names if not hasattr(exports, name)), "")
    return host_signals.missing() or (f"an engine that exports {unexported}" if unexported else "")


@cache
def warn_once() -> None:
    """Tell, the first time, that this process dies with its engine, and why."""
    reason = why_not() or "an engine that is laid out as expected"
    _log.warning("no guest is kept from ending this process by a fault in the engine: that takes %s", reason)


def _sentence(number: int, functions: list[str | None]) -> str:
    where = next(
        (name.removesuffix("_x86_64") for name in functions if name and name.endswith("_x86_64")), ""
    )
    return f"the engine died of {signal.Signals(number).name}" + (f" in {where}" if where else "")
