"""The reader of Perfetto traces that `PerfettoWriter` wrote."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from paravane.place import Place
from paravane.trace.annotations import read_annotation
from paravane.trace.decoder import TraceError
from paravane.trace.entry import Entry
from paravane.trace.perfetto import ESCAPE, GATEWAY_OFF, MARK, NAME, PLACE, thread_id
from paravane.trace.perfetto_schema import (
    TRACE_PACKET,
    Event,
    EventType,
    Packet,
    Process,
    Source,
    Thread,
    Track,
)
from paravane.trace.protobuf import BYTES, Message, read_varint, signed
from paravane.trace.writer import Header

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST: Final = 1 << 24
"""Bytes of a packet that is read."""

_KEY: Final = TRACE_PACKET << 3 | BYTES
_LONGEST_HEAD: Final = 11
"""Bytes of a packet's key and size."""


class PerfettoDecoder:
    """Puts the packets of an entry together again: what describes its track, and its begin and its end."""

    def __init__(self) -> None:
        self.header = Header("", "")
        self.note = ""
        self._rest = b""
        self._offset = 0
        self._marked = False
        self._tracks: dict[int, tuple[int, int | None]] = {}
        self._open: tuple[int, Entry] | None = None

    def feed(self, data: bytes) -> Iterator[Entry]:
        body, at = self._rest + data, 0
        try:
            while (packet := self._packet(body, at)) is not None:
                content, after = packet
                yield from self._entries(content)
                self._offset += after - at
                at = after
        except TraceError:
            raise
        except (ValueError, RecursionError) as error:
            what = "a text in it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise TraceError(f"the packet at byte {self._offset} is damaged: {what}") from None
        self._rest = body[at:]

    def finish(self) -> Iterator[Entry]:
        if self._open is not None:
            yield self._open[1]
            self.note = "the last slice has no end"
        elif self._rest:
            self.note = f"the packet at byte {self._offset}, the last one, is cut off and left out"

    def _packet(self, body: bytes, at: int) -> tuple[bytes, int] | None:
        """The packet at an offset and the offset after it; None if it is not all there yet."""
        if at == len(body):
            return None
        if body[at] != _KEY:
            raise ValueError("it is none")
        try:
            size, start = read_varint(body, at + 1)
        except ValueError:
            if len(body) - at < _LONGEST_HEAD:
                return None
            raise
        if size > LARGEST:
            raise ValueError(f"it says that it is longer than {LARGEST >> 20} MiB")
        return (body[start : start + size], start + size) if start + size <= len(body) else None

    def _entries(self, body: bytes) -> Iterator[Entry]:
        packet = Message(body)
        if Packet.track_descriptor in packet:
            self._describe(packet.message(Packet.track_descriptor))
        if not self._marked:
            raise TraceError("this Perfetto trace was not written by Paravane: only such are read")
        if Packet.track_event in packet:
            event = packet.message(Packet.track_event)
            yield from self._event(signed(packet.number(Packet.timestamp)), event)

    def _event(self, time: int, event: Message) -> Iterator[Entry]:
        kind, uuid = event.number(Event.type), event.number(Event.track_uuid)
        if kind == EventType.SLICE_END:
            if self._open is None or self._open[0] != uuid:
                raise ValueError("it ends a slice that has not begun")
            begun, self._open = self._open[1], None
            yield replace(begun, end=time).check()
            return
        if self._open is not None:
            raise ValueError("the slice before it has no end")
        if uuid not in self._tracks:
            raise ValueError("it is on a track that is not described")
        entry = _entry(time, *self._tracks[uuid], event)
        if kind == EventType.SLICE_BEGIN:
            self._open = uuid, entry
        else:
            yield entry

    def _describe(self, track: Message) -> None:
        uuid = track.number(Track.uuid)
        if Track.process in track:
            self._tracks[uuid] = track.message(Track.process).number(Process.pid), None
        elif Track.thread in track:
            thread = track.message(Track.thread)
            domid = thread.number(Thread.pid)
            self._tracks[uuid] = domid, thread.number(Thread.tid) - thread_id(domid, 0)
        elif track.text(Track.name_, "") == MARK:
            self._marked = True
            about = track.text(Track.description, "")
            producer, _, clock = about.removesuffix(GATEWAY_OFF).rpartition(", ")
            self.header = Header(producer, clock.removesuffix(" clock"), about.endswith(GATEWAY_OFF))


def _entry(time: int, domid: int, vcpu: int | None, event: Message) -> Entry:
    listed = event.all(Event.debug_annotations) if Event.debug_annotations in event else []
    notes: dict[str, Any] = dict(map(read_annotation, listed))
    rest = notes.pop(PLACE, None)
    place = None if rest is None else _place(rest, event)
    name = notes.pop(NAME, event.text(Event.name_))
    data = {key.removeprefix(ESCAPE): value for key, value in notes.items()}
    return Entry(time, time, domid, vcpu, event.text(Event.categories), name, place, data).check()


def _place(rest: Any, event: Message) -> Place:
    """What is an annotation and what Perfetto has a place for, together again."""
    if not isinstance(rest, dict) or "address" not in rest:
        raise ValueError("its place has no address")
    source = event.message(Event.source_location) if Event.source_location in event else Message(b"")
    return Place(
        rest["address"],
        source.text(Source.function_name, ""),
        rest.get("offset", 0),
        source.text(Source.file_name, ""),
        source.number(Source.line_number, 0),
    )
