"""What answers the hypercalls of one vcpu: the table, and the trace of what was asked and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.cpu import PageFault
from paravane.hypercalls.declaration import Call
from paravane.hypercalls.table import TABLE
from paravane.preemption import Preempted
from paravane.refusal import Refusal
from paravane.time.clock import TRAP_COST
from paravane.trace import HypercallRecord
from paravane.x86 import PageFaultCode

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller
    from paravane.hypercalls.declaration import Arguments


class Dispatcher:
    """`call` is what a vcpu is given to answer its hypercalls (paravane.vcpu.Hypercalls)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._trace = caller.platform.trace
        self._clock = caller.clock
        self._place = caller.vcpu.call_place
        self._domid, self._vcpu_id = caller.domain.domid, caller.vcpu_id

    def call(self, number: int, arguments: Arguments) -> int | None:
        """Run one hypercall: what goes into EAX, None to leave EAX alone. Raises Preempted and GuestCrash."""
        if self._trace.hypercalls:
            return self._traced(number, arguments)
        return call(self._caller, number, arguments)

    def _traced(self, number: int, arguments: Arguments) -> int | None:
        """As `call`, with a record of the call, whatever comes of it."""
        caller = self._caller
        entry = TABLE.get(number)
        asked = Call("", _unknown(number)) if entry is None else entry.decode(caller, arguments)
        time, place = self._clock.now(), self._place()
        result: int | None = None
        errno: Errno | None = None
        sentence, preempted = "", None
        try:
            result = asked.run(caller)
        except (Refusal, PageFault) as error:
            errno, sentence = _refuse(caller, number, error)
            result = -int(errno)
        except Preempted as rest:
            preempted = rest.done
            raise
        finally:
            self._trace.write(
                HypercallRecord(
                    time,
                    self._domid,
                    self._vcpu_id,
                    place,
                    number,
                    asked.name,
                    arguments,
                    asked,
                    result,
                    errno,
                    sentence,
                    preempted,
                    asked.written,
                    self._clock.after(TRAP_COST),
                    asked.copies,
                )
            )
        return result


def call(caller: Caller, number: int, arguments: Arguments) -> int | None:
    """Run one hypercall and give what goes into EAX (negative errnos included), or None to leave EAX alone.

    Every refusal is reported to the caller's log and trace with its sentence. Raises Preempted and
    GuestCrash.
    """
    entry = TABLE.get(number)
    try:
        if entry is None:
            raise _unknown(number)
        return entry.call(caller, arguments)
    except (Refusal, PageFault) as error:
        # Not kept in a variable of this frame: with its traceback it would be garbage that only a
        # collection frees.
        return -int(_refuse(caller, number, error)[0])


def _refuse(caller: Caller, number: int, error: Refusal | PageFault) -> tuple[Errno, str]:
    """Tell the log and the trace of a refusal: its errno and its sentence."""
    entry = TABLE.get(number)
    refusal = error if isinstance(error, Refusal) else _bad_pointer(error)
    caller.refused(entry.name if entry else f"hypercall {number}", refusal)
    return refusal.errno, refusal.sentence


def _unknown(number: int) -> Refusal:
    return Refusal(Errno.ENOSYS, f"there is no hypercall {number}")


def _bad_pointer(fault: PageFault) -> Refusal:
    verb = "write to" if fault.error_code & PageFaultCode.write_access else "read"
    return Refusal(
        Errno.EFAULT, f"an argument points to {fault.va:#010x}, which the guest's own kernel could not {verb}"
    )
