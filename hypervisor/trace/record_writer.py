"""From records to the bytes of a trace file, with what was written before kept: guests repeat themselves.

Most of what a hypercall costs to trace is the making of its text, and a guest makes the same few calls from
the same few places, with the same answers. What differs are the times, and registers that are no arguments.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from paravane.trace.entry import data_fields, entry_of
from paravane.trace.records import HypercallRecord, TrapRecord
from paravane.trace.writer import Repeater

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.trace.records import Record
    from paravane.trace.writer import Again, Writer

_REMEMBERED: Final = 1 << 12
"""Records whose bytes are kept."""

_LONGEST: Final = 1 << 10
"""Bytes of a record that are kept: with this many of each, all of them take a few megabytes."""

_trap_key: Final[Callable[[TrapRecord], tuple[Any, ...]]] = attrgetter(
    "domid", "vcpu", "place", "name", *data_fields(TrapRecord)
)


class RecordWriter:
    """Makes the bytes of records as `writer` makes those of their entries."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._repeater = writer if isinstance(writer, Repeater) else None
        self._known: dict[tuple[Any, ...], Again] = {}
        self._seen: set[int] = set()

    def record(self, record: Record) -> bytes:
        """One record, complete: see paravane.trace.writer.Writer.entry."""
        if self._repeater is None:
            return self._writer.entry(entry_of(record))
        if type(record) is HypercallRecord:
            if record.copies is None:
                return self._writer.entry(entry_of(record))
            words = record.words
            key = (
                record.number,
                record.name,
                record.place,
                record.copies,
                record.result,
                record.errno,
                record.sentence,
                record.preempted,
                record.written,
                record.domid,
                record.vcpu,
            )
        elif type(record) is TrapRecord:
            key, words = _trap_key(record), ()
        else:
            return self._writer.entry(entry_of(record))
        again = self._known.get(key)
        if again is None:
            return self._new(self._repeater, record, key)
        time, end = record.time, record.end
        return again(time, time if end is None else end, words)

    def _new(self, repeater: Repeater, record: Record, key: tuple[Any, ...]) -> bytes:
        """The bytes of a record that is not remembered. One that comes for the second time, and is not long,
        is from now on: to keep what never comes again would cost more than it saves."""
        entry = entry_of(record)
        found = self._writer.entry(entry)
        seen = hash(key)
        if seen not in self._seen:
            # Hashes alone take little memory, and two that are equal do no harm: the key itself decides.
            _bounded(self._seen)
            self._seen.add(seen)
        elif len(found) <= _LONGEST:
            _bounded(self._known)
            self._known[key] = repeater.again(entry)
        return found


def _bounded(kept: set[int] | dict[tuple[Any, ...], Again]) -> None:
    if len(kept) >= _REMEMBERED:
        kept.clear()
