"""Traces as Xen's own tools have them: what `xentrace` would have saved on Xen (public/trace.h).

Only what Xen has a record for is in such a file, and of a hypercall what was asked, not what came of it; what
has none is left out. The machine has one processor, and a time-stamp counter of 1 GHz, as guests see it:
`xenalyze --cpu-hz 1G`. A file is complete after each entry, since each has a window of its own.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from paravane.abi.domid import DomId
from paravane.abi.hypercall import Hypercall
from paravane.abi.sched import ShutdownReason
from paravane.abi.trace import (
    TRACE_EXTRA_MAX,
    TRACE_EXTRA_SHIFT,
    TRC_HD_CYCLE_FLAG,
    TRC_PV_HYPERCALL_V2_ARG_MASK,
    TraceEvent,
)
from paravane.abi.vcpu import Runstate
from paravane.x86 import Vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.trace.entry import Entry
    from paravane.trace.writer import Again, Header

Who = tuple[int, int]
"""Domain and vcpu."""

PROCESSOR: Final = 0
IDLE: Final[Who] = DomId.IDLE, PROCESSOR
TSC_AT_START: Final = 1
"""The counter when system time is 0: a record with the time stamp 0 has none, to those who read it."""

LEFT: Final = {
    "slice over": Runstate.runnable,
    "preempted": Runstate.runnable,
    "yielded": Runstate.runnable,
    "blocked": Runstate.blocked,
    "polling": Runstate.blocked,
    "down": Runstate.offline,
    "ended": Runstate.offline,
    "paused": Runstate.offline,
}
"""Why a vcpu lost the processor -> the state it went to."""

ARGUMENT_SHIFT: Final = 20
"""Where the bits of the first argument are in the first word of TRC_PV_HYPERCALL_V2."""

COMMAND_IN_STRUCT: Final = frozenset((Hypercall.domctl, Hypercall.sysctl))
"""Hypercalls whose command is in the struct that their one argument points to: xentrace has no word of it."""

_EMULATED: Final[dict[int, TraceEvent]] = {
    Vector.GP: TraceEvent.PV_EMULATE_PRIVOP,
    Vector.UD: TraceEvent.PV_FORCED_INVALID_OP,
    Vector.NM: TraceEvent.PV_MATH_STATE_RESTORE,
}
"""What Xen notes of an exception that it serves itself."""
_WORD: Final = 0xFFFFFFFF
_TSC: Final = struct.Struct("<Q")
_STAMP: Final = 16
"""Where the time stamp of a record is, after a change of the processor (12 bytes) and the record's head."""


class XentraceWriter:
    """Entries as records (paravane.trace.writer.Writer).

    `left_out` counts the entries of each kind that no record stands for. A trace in which no changes of the
    vcpu are recorded gets those that its entries show.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._states: dict[Who, Runstate] = {}
        self._running: Who | None = None
        self._before: Who = IDLE
        self._free_since = 0
        self._mapped: Counter[tuple[int, int, int]] = Counter()

    def begin(self, header: Header) -> bytes:
        return b""

    def entry(self, entry: Entry) -> bytes:
        found = self._found(entry)
        if not found:
            self.left_out[entry.kind] += 1
        return found

    def again(self, entry: Entry) -> Again | None:
        """See paravane.trace.writer.Writer."""
        who = entry.domid, entry.vcpu
        if entry.kind not in ("hypercall", "trap") or self._running != who:
            return None
        # While its vcpu runs, such an entry is one record, with a time stamp at the same place in it.
        found = self._found(entry)
        before, after = found[:_STAMP], found[_STAMP + _TSC.size :]

        def records(time: int, end: int, words: Sequence[int]) -> bytes:
            if self._running != who or not found:
                return self.entry(replace(entry, time=time, end=end))
            return before + _TSC.pack(time + TSC_AT_START) + after

        return records

    def end(self) -> bytes:
        return b""

    def _found(self, entry: Entry) -> bytes:
        """The records that stand for an entry, if any do."""
        write = {
            "hypercall": self._hypercall,
            "trap": self._trap,
            "schedule": self._schedule,
            "grant": self._grant,
            "domain": self._domain,
        }.get(entry.kind)
        found = b"" if write is None else write(entry)
        return record(TraceEvent.TRACE_CPU_CHANGE, None, PROCESSOR, len(found)) + found if found else b""

    def _hypercall(self, entry: Entry) -> bytes:
        return self._at(entry) + record(TraceEvent.PV_HYPERCALL_V2, entry.time, *_asked(entry))

    def _trap(self, entry: Entry) -> bytes:
        """Xen notes what it delivers to the guest and, of what it serves itself, most instructions."""
        data, eip = entry.data, entry.place.address if entry.place else 0
        vector, outcome = _int(data.get("vector")), data.get("outcome")
        event = _EMULATED.get(vector) if str(outcome).startswith("emulated") else None
        if event is TraceEvent.PV_MATH_STATE_RESTORE:
            found = record(event, entry.time)
        elif event is not None:
            found = record(event, entry.time, eip)
        elif outcome != "bounced":
            return b""
        elif vector == Vector.PF:
            cr2, code = _int(data.get("cr2")), _int(data.get("error_code"))
            found = record(TraceEvent.PV_PAGE_FAULT, entry.time, eip, cr2, code)
        else:
            code = _int(data.get("error_code")) & 0xFFFF
            word = vector & 0x7FFF | ("error_code" in data) << 15 | code << 16
            found = record(TraceEvent.PV_TRAP, entry.time, eip, word)
        return self._at(entry) + found

    def _grant(self, entry: Entry) -> bytes:
        """Xen notes mappings, their end and transfers; a copy of what is granted it does not."""
        use = entry.domid, _int(entry.data.get("ref")), _int(entry.data.get("by"))
        if entry.name == "map":
            self._mapped[use] += 1
            return record(TraceEvent.MEM_PAGE_GRANT_MAP, entry.time, entry.domid)
        if entry.name == "release" and self._mapped[use]:
            self._mapped[use] -= 1
            return record(TraceEvent.MEM_PAGE_GRANT_UNMAP, entry.time, entry.domid)
        if entry.name == "transfer":
            return record(TraceEvent.MEM_PAGE_GRANT_TRANSFER, entry.time, entry.domid)
        return b""

    def _domain(self, entry: Entry) -> bytes:
        time, domid = entry.time, entry.domid
        if entry.name == "built":
            added = record(TraceEvent.DOM0_DOM_ADD, time, domid)
            return added + record(TraceEvent.SCHED_DOM_ADD, time, domid)
        if entry.name in ("shut down", "crashed"):
            reason = ShutdownReason.__members__.get(str(entry.data.get("reason")), ShutdownReason.crash)
            return record(TraceEvent.SCHED_SHUTDOWN, time, domid, self._vcpu(entry), reason)
        if entry.name == "destroyed":
            gone = record(TraceEvent.SCHED_DOM_REM, time, domid)
            return self._leave(time, domid) + gone + record(TraceEvent.DOM0_DOM_REM, time, domid)
        return b""

    def _vcpu(self, entry: Entry) -> int:
        if entry.vcpu is not None:
            return entry.vcpu
        return self._running[1] if self._running and self._running[0] == entry.domid else 0

    def _schedule(self, entry: Entry) -> bytes:
        who, time = (entry.domid, entry.vcpu or 0), entry.time
        if entry.name == "in":
            return self._switch(who, time)
        if entry.name == "woken":
            return self._idle(time) + self._wake(who, time)
        state = LEFT.get(str(entry.data.get("why")))
        if entry.name != "out" or state is None or self._running != who:
            return b""
        found = b""
        if state == Runstate.blocked:
            found = record(TraceEvent.SCHED_BLOCK, time, *who)
        elif entry.data.get("why") == "yielded":
            found = record(TraceEvent.SCHED_YIELD, time, *who)
        self._running, self._before, self._free_since = None, who, time
        return found + self._change(who, state, time)

    def _at(self, entry: Entry) -> bytes:
        """What makes sure that readers take what follows for the entry's vcpu."""
        return b"" if entry.vcpu is None else self._switch((entry.domid, entry.vcpu), entry.time)

    def _switch(self, who: Who, time: int) -> bytes:
        """From whichever vcpu ran to `who`, which has been woken by now if it was blocked."""
        if self._running == who:
            return b""
        found = self._idle(time)
        if self._running is not None:
            found += self._change(self._running, Runstate.runnable, time)
            self._before = self._running
        elif self._before == IDLE and self._states.get(IDLE) == Runstate.running:
            found += self._change(IDLE, Runstate.runnable, time)
        found += self._wake(who, time)
        found += record(TraceEvent.SCHED_SWITCH, time, *self._before, *who)
        self._running = who
        return found + self._change(who, Runstate.running, time)

    def _idle(self, time: int) -> bytes:
        """From the vcpu that left the processor to nobody, if that is some time ago at `time`."""
        if self._running is not None or time <= self._free_since or self._before == IDLE:
            return b""
        left, self._before = self._before, IDLE
        found = record(TraceEvent.SCHED_SWITCH, self._free_since, *left, *IDLE)
        return found + self._change(IDLE, Runstate.running, self._free_since)

    def _wake(self, who: Who, time: int) -> bytes:
        """What a vcpu waited for has happened, if it waited."""
        if self._states.get(who, Runstate.runnable) == Runstate.runnable or self._running == who:
            return b""
        return record(TraceEvent.SCHED_WAKE, time, *who) + self._change(who, Runstate.runnable, time)

    def _leave(self, time: int, domid: int) -> bytes:
        """The vcpu of a domain that goes away while it is thought to run."""
        running = self._running
        if running is None or running[0] != domid:
            return b""
        self._running, self._before, self._free_since = None, running, time
        return self._change(running, Runstate.offline, time)

    def _change(self, who: Who, state: Runstate, time: int) -> bytes:
        old = self._states.get(who, Runstate.runnable)
        self._states[who] = state
        event = TraceEvent.SCHED_RUNSTATE_CHANGE | old << 8 | state << 4
        return record(event, time, who[0] << 16 | who[1])


def record(event: int, time: int | None, *words: int) -> bytes:
    """One record; `time` is system time in nanoseconds, None for a record without a time stamp."""
    head = event | len(words) << TRACE_EXTRA_SHIFT
    data = [word & _WORD for word in words]
    if time is None:
        return struct.pack(f"<I{len(data)}I", head, *data)
    tsc = time + TSC_AT_START
    return struct.pack(f"<IQ{len(data)}I", head | TRC_HD_CYCLE_FLAG, tsc, *data)


def _asked(entry: Entry) -> list[int]:
    """A hypercall's number with two bits for each argument register that it has, and these.

    Xen notes but a few of them; the format allows for all.
    """
    number, words = _int(entry.data.get("number")) & ~TRC_PV_HYPERCALL_V2_ARG_MASK, entry.data.get("words")
    arguments = entry.data.get("arguments")
    if not isinstance(words, list) or not isinstance(arguments, dict):
        return [number]
    # The first register of `sched_op.poll` says that it is `poll`: it is none of the arguments.
    selects = "." in entry.name and number not in COMMAND_IN_STRUCT
    present = words[: min(len(arguments) + selects, TRACE_EXTRA_MAX - 1)]
    bits = sum(1 << ARGUMENT_SHIFT + 2 * at for at in range(len(present)))
    return [number | bits, *map(_int, present)]


def _int(value: Any) -> int:
    return value if type(value) is int else 0
