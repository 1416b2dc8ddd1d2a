"""Perfetto traces as Perfetto's trace processor has them: tables that are asked in SQL.

The packets are decoded by Perfetto's own schema (package `perfetto`); a field that it does not know fails, as
does a packet that the trace processor would drop. Tables and columns are called as the trace processor's.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket, TrackEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = """
create table process (upid integer primary key, pid integer, name text);
create table thread (utid integer primary key, tid integer, name text, upid integer);
create table track (id integer primary key, upid integer, utid integer);
create table slice (id integer primary key, ts integer, dur integer, track_id integer, category text,
                    name text, depth integer, parent_id integer);
create table args (slice_id integer, key text, value);
create table flow (slice_out integer, slice_in integer);
"""


class Processor:
    """Loads a trace; `query` gives rows."""

    def __init__(self, data: bytes) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.executescript(TABLES)
        self._upids: dict[int, int] = {}
        self._stacks: dict[int, list[int]] = {}
        self._flows: dict[int, int] = {}
        packets = Trace.FromString(data).packet
        assert packets[0].sequence_flags & TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        for packet in packets:
            _know_all(packet)
            assert packet.trusted_packet_sequence_id
            assert packet.HasField("timestamp")
        for packet in packets:
            if packet.HasField("track_descriptor"):
                self._describe(packet.track_descriptor)
        # The trace processor sorts too, and leaves packets of one time in the file's order.
        for packet in sorted(packets, key=lambda packet: packet.timestamp):
            if packet.HasField("track_event"):
                self._event(packet.timestamp, packet.track_event)

    def query(self, sql: str) -> list[Any]:
        """The rows of a query; those of one column as the bare values."""
        rows = self._db.execute(sql).fetchall()
        return [row[0] for row in rows] if rows and len(rows[0]) == 1 else rows

    def close(self) -> None:
        self._db.close()

    def _describe(self, track: Any) -> None:
        if self.query(f"select 1 from track where id = {track.uuid}"):
            # Described again: the last name counts.
            assert (
                self._upids[track.process.pid]
                == self.query(f"select upid from track where id = {track.uuid}")[0]
            )
            name = track.process.process_name
            self._db.execute(
                "update process set name = ? where upid = ?", (name, self._upids[track.process.pid])
            )
        elif track.HasField("process"):
            upid = self._add("process", track.process.pid, track.process.process_name)
            self._upids[track.process.pid] = upid
            self._add_row("track", track.uuid, upid, None)
        elif track.HasField("thread"):
            # As there, a thread's process is the one that has its pid at that moment.
            upid = self._upids[track.thread.pid]
            utid = self._add("thread", track.thread.tid, track.thread.thread_name, upid)
            self._add_row("track", track.uuid, None, utid)

    def _event(self, time: int, event: Any) -> None:
        track = event.track_uuid
        assert self.query(f"select 1 from track where id = {track}"), "an event on a track nobody described"
        stack = self._stacks.setdefault(track, [])
        if event.type == TrackEvent.TYPE_SLICE_END:
            assert stack, "an end without a begin"
            self._db.execute("update slice set dur = ? - ts where id = ?", (time, stack.pop()))
            return
        category = ",".join(event.categories)
        parent = stack[-1] if stack else None
        dur = 0 if event.type == TrackEvent.TYPE_INSTANT else -1
        new = self._add("slice", time, dur, track, category, event.name, len(stack), parent)
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            stack.append(new)
        else:
            assert event.type == TrackEvent.TYPE_INSTANT
        for key, value in _arguments(event):
            shown = str(value) if isinstance(value, int) and value >> 63 > 0 else value
            self._db.execute("insert into args values (?, ?, ?)", (new, key, shown))
        self._flow(new, event)

    def _flow(self, new: int, event: Any) -> None:
        for flow in event.flow_ids:
            if flow in self._flows:
                self._db.execute("insert into flow values (?, ?)", (self._flows[flow], new))
            self._flows[flow] = new
        for flow in event.terminating_flow_ids:
            if flow in self._flows:
                self._db.execute("insert into flow values (?, ?)", (self._flows.pop(flow), new))

    def _add(self, table: str, *values: Any) -> int:
        return self._add_row(table, None, *values)

    def _add_row(self, table: str, *values: Any) -> int:
        marks = ", ".join("?" * len(values))
        return self._db.execute(f"insert into {table} values ({marks})", values).lastrowid or 0


def _arguments(event: Any) -> Iterator[tuple[str, Any]]:
    for annotation in event.debug_annotations:
        yield from _flat(f"debug.{annotation.name}", annotation)
    if event.HasField("source_location"):
        source = event.source_location
        yield "source.file", source.file_name
        yield "source.function", source.function_name
        yield "source.line_number", source.line_number


def _flat(key: str, annotation: Any) -> Iterator[tuple[str, Any]]:
    for entry in annotation.dict_entries:
        yield from _flat(f"{key}.{entry.name}", entry)
    for at, item in enumerate(annotation.array_values):
        yield from _flat(f"{key}[{at}]", item)
    if (which := annotation.WhichOneof("value")) is not None:
        yield key, getattr(annotation, which)


def _know_all(message: Any) -> None:
    assert not len(UnknownFieldSet(message)), f"unknown to Perfetto: {message}"
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                _know_all(inner)
