"""What answers the hypercalls of one vcpu: the table, and the trace of what was asked and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import trace as traces
from paravane.abi.errno import Errno
from paravane.call_site import CallSites
from paravane.classes import NamedTuple
from paravane.cpu import PageFault
from paravane.hypercalls.declaration import Call
from paravane.hypercalls.table import TABLE
from paravane.preemption import Preempted
from paravane.refusal import Refusal
from paravane.time.clock import TRAP_COST
from paravane.x86 import PageFaultCode

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller
    from paravane.hypercalls.declaration import Arguments, Declaration
    from paravane.place import Place
    from paravane.trace.stream import CallTaker, Tell


class _Asked(NamedTuple):
    """A hypercall that is traced, before it is answered."""

    time: int
    place: Place
    number: int
    arguments: Arguments
    call: Call


class Dispatcher:
    """`call` is what a vcpu is given to answer its hypercalls (paravane.vcpu.Hypercalls); to who takes them
    as numbers it is their origin (paravane.trace.stream.Origin)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._trace = caller.platform.trace
        self._clock = caller.clock
        self._call_site = CallSites(caller.cpu).find
        self.domid, self.vcpu_id = caller.domain.domid, caller.vcpu_id
        self.place = caller.domain.places.before
        self._taker: CallTaker | None = None
        self._tell: Tell

    def call(self, number: int, arguments: Arguments) -> int | None:
        """Run one hypercall: what goes into EAX, None to leave EAX alone. Raises Preempted and GuestCrash."""
        trace, entry = self._trace, TABLE.get(number)
        if not trace.hypercalls:
            if entry is None:
                return call(self._caller, number, arguments)
            try:  # as `call` does, without a frame of its own: this is the way of every hypercall
                return entry.call(self._caller, arguments)
            except (Refusal, PageFault) as error:
                return -int(_refuse(self._caller, number, error)[0])
        taker = trace.calls
        if taker is None or entry is None:
            return self._recorded(number, arguments)
        declaration = entry.plain or entry.plain_commands.get(arguments[0])
        if declaration is None:
            return self._recorded(number, arguments)
        time, address = self._clock.now(), self._call_site()
        try:
            result = declaration.call(self._caller, arguments)
        except (Refusal, PageFault) as error:
            return self._refused(error, self._asked(time, address, declaration, number, arguments))
        except Exception as error:
            self._unfinished(error, self._asked(time, address, declaration, number, arguments))
            raise
        end = self._clock.after(TRAP_COST)
        if taker is not self._taker:
            self._taker, self._tell = taker, taker.caller(self)
        self._tell(address, time, end, number, arguments, declaration.end, result)
        return result

    def _asked(
        self, time: int, address: int, declaration: Declaration, number: int, arguments: Arguments
    ) -> _Asked:
        """What was asked, of a plain declaration: registers say as much after the call as before it."""
        call = declaration.decode(self._caller, arguments)
        return _Asked(time, self.place(address), number, arguments, call)

    def _recorded(self, number: int, arguments: Arguments) -> int | None:
        """As `call`, with a record of the call, whatever comes of it."""
        entry = TABLE.get(number)
        call = Call("", _unknown(number)) if entry is None else entry.decode(self._caller, arguments)
        place = self.place(self._call_site())
        asked = _Asked(self._clock.now(), place, number, arguments, call)
        try:
            result = call.run(self._caller)
        except (Refusal, PageFault) as error:
            return self._refused(error, asked)
        except Exception as error:
            self._unfinished(error, asked)
            raise
        self._write(asked, result)
        return result

    def _refused(self, error: Refusal | PageFault, asked: _Asked) -> int:
        errno, sentence = _refuse(self._caller, asked.number, error)
        self._write(asked, -int(errno), errno, sentence)
        return -int(errno)

    def _unfinished(self, error: Exception, asked: _Asked) -> None:
        """It goes on later, or the domain ends with it."""
        self._write(asked, None, preempted=error.done if isinstance(error, Preempted) else None)

    def _write(
        self,
        asked: _Asked,
        result: int | None,
        errno: Errno | None = None,
        sentence: str = "",
        preempted: int | None = None,
    ) -> None:
        call = asked.call
        self._trace.write(
            traces.HypercallRecord(
                asked.time,
                self.domid,
                self.vcpu_id,
                asked.place,
                asked.number,
                call.name,
                asked.arguments,
                call,
                result,
                errno,
                sentence,
                preempted,
                call.written,
                self._clock.after(TRAP_COST),
                call.copies,
            )
        )


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
