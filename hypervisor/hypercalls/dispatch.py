"""What answers the hypercalls of one vcpu: the table, and the trace of what was asked and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.hypercalls.table import answer_text, call, call_text
from paravane.preemption import Preempted
from paravane.trace import HypercallRecord

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller


class Dispatcher:
    """`call` is what a vcpu is given to answer its hypercalls (paravane.vcpu.Hypercalls)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._trace = caller.platform.trace

    def call(self, number: int, arguments: tuple[int, ...]) -> int | None:
        """Run one hypercall: what goes into EAX, None to leave EAX alone. Raises Preempted and GuestCrash."""
        if not self._trace.hypercalls:
            return call(self._caller, number, arguments)
        caller = self._caller
        text, eip = call_text(caller, number, arguments), caller.cpu.eip
        shown = "no result"
        try:
            result = call(caller, number, arguments)
            shown = answer_text(caller, number, arguments, result)
        except Preempted as rest:
            shown = str(rest)
            raise
        finally:
            who = (caller.clock.now(), caller.domain.domid, caller.vcpu_id)
            self._trace.write(HypercallRecord(*who, eip, text, shown))
        return result
