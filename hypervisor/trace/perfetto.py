"""Traces for Perfetto's viewer and trace processor (ui.perfetto.dev): a stream of TracePackets.

A domain is a process and each of its vcpus a thread. What takes time is a slice, the rest are instants; the
data are debug annotations, and an arrow leads from where an event was sent to the upcall that delivers it.
No packet refers to another but for its track, which is described before its first use: a file that is cut
off loads up to where it is.
"""

from __future__ import annotations

from dataclasses import field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from paravane.abi.domid import DomId
from paravane.classes import dataclass
from paravane.registry import CONTROL_DOMID, HOST_DOMID
from paravane.trace.annotations import write_annotation
from paravane.trace.perfetto_schema import (
    SEQ_INCREMENTAL_STATE_CLEARED,
    TRACE_PACKET,
    Annotation,
    Event,
    EventType,
    Packet,
    Process,
    Source,
    Thread,
    Track,
)
from paravane.trace.protobuf import BYTES, VARINT, fixed64, length, message, number, start, text, varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paravane.place import Place
    from paravane.trace.entry import Entry
    from paravane.trace.writer import Again, Header

MARK: Final = "Paravane trace"
"""Name of the first track, which no event is on: it tells our files from others. Its description is what the
trace's header says."""

PLACE, NAME, ESCAPE = "place", "name", "data."
"""Annotations beside the data: the address, and the name where it is empty. Data so called are escaped."""

GATEWAY_OFF: Final = ", gateway off"
"""Last in the description, if it was."""

WORDS: Final = "words"
"""What a hypercall's argument registers are called in its data."""

SLICES: Final = frozenset({"hypercall", "trap"})
"""Kinds that are slices even if no time passes meanwhile."""

_PACKET: Final = start(TRACE_PACKET, BYTES)
_TIMESTAMP: Final = start(Packet.timestamp, VARINT)
_TRACK_EVENT: Final = start(Packet.track_event, BYTES)
_STAMP: Final = len(_TIMESTAMP)
_SEQUENCE: Final = number(Packet.trusted_packet_sequence_id, 1)
_BEGIN: Final = number(Event.type, EventType.SLICE_BEGIN)
_END: Final = number(Event.type, EventType.SLICE_END)
_INSTANT: Final = number(Event.type, EventType.INSTANT)


@dataclass(slots=True)
class _Process:
    """What has been said of a domain: its name (empty: none yet), its tracks by vcpu and its own (None)."""

    name: str = ""
    tracks: dict[int | None, int] = field(default_factory=dict)


class PerfettoWriter:
    """Entries as packets (paravane.trace.writer.Writer). It remembers which tracks it has described."""

    def __init__(self) -> None:
        self._processes: dict[int, _Process] = {}
        self._uuid = 1

    def begin(self, header: Header) -> bytes:
        gateway = GATEWAY_OFF if header.gateway_off else ""
        about = text(Track.description, f"{header.producer}, {header.clock} clock{gateway}")
        mark = number(Track.uuid, self._uuid) + text(Track.name_, MARK) + about
        cleared = number(Packet.sequence_flags, SEQ_INCREMENTAL_STATE_CLEARED)
        return _packet(0, cleared + message(Packet.track_descriptor, mark))

    def entry(self, entry: Entry) -> bytes:
        described = self._meet(entry)
        track = number(Event.track_uuid, self._processes[entry.domid].tracks[entry.vcpu])
        if entry.kind not in SLICES and entry.end == entry.time:
            return described + _event(entry.time, _INSTANT + track + _what(entry))
        begin = _event(entry.time, _BEGIN + track + _what(entry))
        return described + begin + _event(entry.end, _END + track)

    def again(self, entry: Entry) -> Again | None:
        """See paravane.trace.writer.Writer."""
        if entry.kind not in SLICES:
            return None
        process, data = self._processes[entry.domid], list(entry.data.items())
        track = number(Event.track_uuid, process.tracks[entry.vcpu])
        at = list(entry.data).index(WORDS) if entry.kind == "hypercall" else len(data)
        before = _BEGIN + track + _about(entry) + _annotations(data[:at])
        after = _annotations(data[at + 1 :])
        stop = _SEQUENCE + message(Packet.track_event, _END + track)
        processes, domid = self._processes, entry.domid
        last: Sequence[int] | None = None
        body = b""

        def packets(time: int, end: int, words: Sequence[int]) -> bytes:
            if processes.get(domid) is not process:
                # The domain is another one now: its tracks are described anew.
                new = entry.data | {WORDS: list(words)} if words else entry.data
                return self.entry(replace(entry, time=time, end=end, data=new))
            nonlocal last, body
            if words != last:
                last = words
                event = before + (_words(words) if words else b"") + after
                body = _SEQUENCE + _TRACK_EVENT + length(len(event)) + event
            begins, ends = varint(time), varint(end)
            return b"".join(
                (
                    _PACKET,
                    length(_STAMP + len(begins) + len(body)),
                    _TIMESTAMP,
                    begins,
                    body,
                    _PACKET,
                    length(_STAMP + len(ends) + len(stop)),
                    _TIMESTAMP,
                    ends,
                    stop,
                )
            )

        return packets

    def end(self) -> bytes:
        return b""

    def _meet(self, entry: Entry) -> bytes:
        """Descriptions of the tracks that an entry needs and that have none yet."""
        domid, vcpu, found = entry.domid, entry.vcpu, b""
        process = self._processes.get(domid)
        if process is None or (process.name and _is_start(entry)):
            # A domain after a restart is another one: its time starts anew, and so do its tracks.
            process = self._processes[domid] = _Process()
        name = process.name or _name(entry)
        if name != process.name or None not in process.tracks:
            # Readers keep the first name they are told, so there is none while the domain is being built.
            process.name = name
            title = text(Process.process_name, name) if name else b""
            kind = message(Track.process, number(Process.pid, domid) + title)
            found += self._describe(process, None, kind)
        if vcpu is not None and vcpu not in process.tracks:
            thread = number(Thread.pid, domid) + number(Thread.tid, thread_id(domid, vcpu))
            thread += text(Thread.thread_name, f"d{domid}v{vcpu}")
            found += self._describe(process, vcpu, message(Track.thread, thread))
        return found

    def _describe(self, process: _Process, vcpu: int | None, kind: bytes) -> bytes:
        if vcpu not in process.tracks:
            self._uuid += 1
            process.tracks[vcpu] = self._uuid
        # From time 0 on: a hypercall is written when it is over, after what happened in it.
        return _packet(0, message(Packet.track_descriptor, number(Track.uuid, process.tracks[vcpu]) + kind))


def _is_start(entry: Entry) -> bool:
    return entry.kind == "domain" and entry.name == "built"


def _name(entry: Entry) -> str:
    """What a domain is called from this entry on; empty while it may still be told its name."""
    told = str(entry.data.get("domain_name", "")) if _is_start(entry) else ""
    if told:
        return told
    if entry.domid == DomId.XEN:
        return "xen"
    # Nothing tells the name later: a vcpu runs when its domain is built, and some domains never are.
    final = _is_start(entry) or entry.vcpu is not None
    never = entry.domid in (CONTROL_DOMID, HOST_DOMID) or entry.domid >= DomId.FIRST_RESERVED
    return f"domain {entry.domid}" if final or never else ""


def thread_id(domid: int, vcpu: int) -> int:
    """A number for a vcpu that is nobody else's: Perfetto has one name space for all threads."""
    return (domid + 1) << 16 | vcpu


def flows(entry: Entry) -> tuple[list[int], list[int]]:
    """Numbers of the arrows that begin and that end at an entry."""
    if entry.kind != "event":
        return [], []
    sent, delivered = entry.data.get("flow"), entry.data.get("flows")
    return _numbers([sent]), _numbers(delivered if isinstance(delivered, list) else [])


def _numbers(values: Iterable[Any]) -> list[int]:
    return [value for value in values if type(value) is int and 0 <= value < 1 << 64]


def _packet(time: int, body: bytes) -> bytes:
    content = _TIMESTAMP + varint(time) + _SEQUENCE + body
    return _PACKET + length(len(content)) + content


def _event(time: int, body: bytes) -> bytes:
    return _packet(time, _TRACK_EVENT + length(len(body)) + body)


def _what(entry: Entry) -> bytes:
    """All of an entry but its times and its track."""
    return _about(entry) + _annotations(entry.data.items())


def _about(entry: Entry) -> bytes:
    """Kind, name, place and arrows of an entry."""
    begin, end = flows(entry)
    parts = [text(Event.categories, entry.kind), text(Event.name_, entry.name or _title(entry))]
    if entry.place is not None:
        parts.append(_place(entry.place))
    parts += [fixed64(Event.flow_ids, flow) for flow in begin]
    parts += [fixed64(Event.terminating_flow_ids, flow) for flow in end]
    if not entry.name:
        parts.append(write_annotation(Event.debug_annotations, NAME, ""))
    return b"".join(parts)


def _annotations(data: Iterable[tuple[str, Any]]) -> bytes:
    found = []
    for key, value in data:
        name = ESCAPE + key if key in (PLACE, NAME) or key.startswith(ESCAPE) else key
        found.append(write_annotation(Event.debug_annotations, name, value))
    return b"".join(found)


_WORD_HEADS: Final = tuple(
    start(Annotation.array_values, BYTES) + varint(1 + size) + start(Annotation.int_value, VARINT)
    for size in range(11)
)
"""What comes before a varint of so many bytes that is an element of a list."""

_ANNOTATION: Final = start(Event.debug_annotations, BYTES)
_NAMED_WORDS: Final = text(Annotation.name_, WORDS)


def _words(words: Sequence[int]) -> bytes:
    """The annotation that has a hypercall's argument registers."""
    found = _NAMED_WORDS + b"".join(map(_word, words))
    return _ANNOTATION + length(len(found)) + found


# Most registers keep their value from one hypercall to the next.
@lru_cache(1 << 13)
def _word(value: int) -> bytes:
    """An element of a list, as `write_annotation` makes it of a number that is not negative."""
    found = varint(value)
    return _WORD_HEADS[len(found)] + found


def _title(entry: Entry) -> str:
    """A name for what has none: `hypercall 99`."""
    return f"{entry.kind} {entry.data.get('number', '')}".rstrip()


@lru_cache(1 << 12)
def _place(place: Place) -> bytes:
    """Symbol, file and line where Perfetto shows them, the rest as an annotation."""
    source = b""
    if place.file:
        source += text(Source.file_name, place.file)
    if place.symbol:
        source += text(Source.function_name, place.symbol)
    if place.line:
        source += number(Source.line_number, place.line)
    rest: dict[str, Any] = {"address": place.address}
    if place.offset:
        rest["offset"] = place.offset
    found = message(Event.source_location, source) if source else b""
    return found + write_annotation(Event.debug_annotations, PLACE, rest)
