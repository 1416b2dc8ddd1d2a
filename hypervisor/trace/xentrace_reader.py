"""The reader of xentrace's files: those of Xen itself, as far as they tell of PV guests, and ours."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from paravane.abi.domid import DomId
from paravane.abi.trace import TRACE_EXTRA_MAX, TRACE_EXTRA_SHIFT, TRC_HD_CYCLE_FLAG, TraceEvent
from paravane.abi.vcpu import Runstate
from paravane.trace.decoder import TraceError
from paravane.trace.entry import Entry
from paravane.trace.writer import Header
from paravane.trace.xentrace import IDLE, TSC_AT_START
from paravane.trace.xentrace_words import read_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.trace.xentrace import Who

FIRST_WORD: Final = TraceEvent.TRACE_CPU_CHANGE | 2 << TRACE_EXTRA_SHIFT
"""What every file begins with: the processor whose records follow, and how many bytes of them."""

TSC_HZ: Final = 1_000_000_000
"""Of the time-stamp counter that guests see here."""

_EVENT: Final = (1 << TRACE_EXTRA_SHIFT) - 1
_NOBODY: Final[Who] = int(DomId.INVALID), 0
_SAID_TWICE: Final = frozenset(
    {
        TraceEvent.TRACE_WRAP_BUFFER,
        TraceEvent.SCHED_CONTINUE_RUNNING,
        TraceEvent.SCHED_DOM_ADD,
        TraceEvent.SCHED_DOM_REM,
        TraceEvent.SCHED_WAKE,
        TraceEvent.SCHED_SWITCH,
        TraceEvent.SCHED_SWITCH_INFPREV,
        TraceEvent.SCHED_SWITCH_INFNEXT,
        TraceEvent.SCHED_SWITCH_INFCONT,
    }
)
"""Records that say nothing which others do not say as well: they are no entries."""


class XentraceDecoder:
    """Entries of the records in a file, in the file's order: of each processor that of time.

    Which vcpu a record is of is what the last change of run states on its processor says; before the first
    one it is domain DOMID_INVALID's.
    """

    def __init__(self, hz: int = TSC_HZ) -> None:
        """`hz` is the frequency of the time-stamp counter."""
        self.note = ""
        self.header = Header("xentrace", "host")
        self._hz = hz
        self._rest = b""
        self._offset = 0
        self._window = 0
        self._processor = 0
        self._tsc: dict[int, int] = {}
        self._running: dict[int, Who] = {}
        self._why: dict[Who, str] = {}

    def feed(self, data: bytes) -> Iterator[Entry]:
        body, at = self._rest + data, 0
        while (size := _size(body, at)) is not None:
            yield from self._record(body[at : at + size])
            self._offset += size
            at += size
        self._rest = body[at:]

    def finish(self) -> Iterator[Entry]:
        if self._rest:
            self.note = f"the record at byte {self._offset}, the last one, is cut off and left out"
        yield from ()

    def _record(self, raw: bytes) -> Iterator[Entry]:
        head = int.from_bytes(raw[:4], "little")
        event, stamp = head & _EVENT, 4
        if event == TraceEvent.TRACE_CPU_CHANGE:
            self._turn(raw)
            return
        self._window -= len(raw)
        if self._window < 0:
            raise TraceError(f"the record at byte {self._offset} is not where its processor's records are")
        if head & TRC_HD_CYCLE_FLAG:
            self._tsc[self._processor] = int.from_bytes(raw[4:12], "little")
            stamp = 12
        words = struct.unpack(f"<{(len(raw) - stamp) // 4}I", raw[stamp:])
        time = max(self._tsc.get(self._processor, 0) - TSC_AT_START, 0) * TSC_HZ // self._hz
        yield from self._entry(event, time, words)

    def _turn(self, raw: bytes) -> None:
        if len(raw) != 12 or self._window:
            raise TraceError(f"the record at byte {self._offset} begins another processor's too early")
        self._processor, self._window = struct.unpack("<II", raw[4:])

    def _entry(self, event: int, time: int, words: tuple[int, ...]) -> Iterator[Entry]:
        kind, old, new = event & ~0xFF0, event >> 8 & 3, event >> 4 & 3
        if kind == TraceEvent.SCHED_RUNSTATE_CHANGE and len(words) in (1, 5):
            yield from self._change((words[0] >> 16, words[0] & 0xFFFF), Runstate(old), Runstate(new), time)
            return
        if event == TraceEvent.SCHED_CONTINUE_RUNNING and words:
            self._running[self._processor] = words[0] >> 16, words[0] & 0xFFFF
        if event in (TraceEvent.SCHED_BLOCK, TraceEvent.SCHED_YIELD) and len(words) == 2:
            self._why[words[0], words[1]] = "blocked" if event == TraceEvent.SCHED_BLOCK else "yielded"
            return
        if event in _SAID_TWICE:
            return
        found = read_words(event, words)
        whose = self._running.get(self._processor, _NOBODY) if found.whose is None else found.whose
        yield _checked(Entry(time, time, *whose, found.kind, found.name, found.place, found.data))

    def _change(self, who: Who, old: Runstate, new: Runstate, time: int) -> Iterator[Entry]:
        data: dict[str, Any] = {}
        if new == Runstate.running:
            self._running[self._processor] = who
            name = "in"
        elif old == Runstate.running:
            name = "out"
            usual = {Runstate.blocked: "blocked", Runstate.offline: "down"}.get(new, "slice over")
            data["why"] = self._why.pop(who, usual)
        else:
            name = "woken" if old == Runstate.blocked else new.name
        if who[0] != IDLE[0]:
            yield _checked(Entry(time, time, *who, "schedule", name, None, data))


def _size(body: bytes, at: int) -> int | None:
    """Bytes of the record at an offset; None if it is not all there yet."""
    if len(body) - at < 4:
        return None
    head = int.from_bytes(body[at : at + 4], "little")
    size = 4 + 8 * bool(head & TRC_HD_CYCLE_FLAG) + 4 * (head >> TRACE_EXTRA_SHIFT & TRACE_EXTRA_MAX)
    return size if len(body) - at >= size else None


def _checked(entry: Entry) -> Entry:
    try:
        return entry.check()
    except ValueError as error:
        raise TraceError(f"the record at {entry.time} ns has a number out of range") from error
