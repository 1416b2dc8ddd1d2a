"""Field numbers of Perfetto's trace format: those of its messages that traces here are made of.

Source: protos/perfetto/trace in Perfetto's repository (trace_packet.proto, track_event/*.proto).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

TRACE_PACKET: Final = 1
"""In a Trace, which is what a file is: its only field here, once for each packet."""


class Packet(IntEnum):
    """Fields of TracePacket."""

    timestamp = 8
    trusted_packet_sequence_id = 10
    track_event = 11
    sequence_flags = 13
    track_descriptor = 60


SEQ_INCREMENTAL_STATE_CLEARED: Final = 1
"""In `sequence_flags`: nothing that follows refers to what came before."""


class Track(IntEnum):
    """Fields of TrackDescriptor."""

    uuid = 1
    name_ = 2
    process = 3
    thread = 4
    description = 14


class Process(IntEnum):
    """Fields of ProcessDescriptor."""

    pid = 1
    process_name = 6


class Thread(IntEnum):
    """Fields of ThreadDescriptor."""

    pid = 1
    tid = 2
    thread_name = 5


class Event(IntEnum):
    """Fields of TrackEvent."""

    debug_annotations = 4
    type = 9
    track_uuid = 11
    categories = 22
    name_ = 23
    source_location = 33
    flow_ids = 47
    terminating_flow_ids = 48


class EventType(IntEnum):
    """TrackEvent.Type."""

    SLICE_BEGIN = 1
    SLICE_END = 2
    INSTANT = 3


class Source(IntEnum):
    """Fields of SourceLocation."""

    file_name = 2
    function_name = 3
    line_number = 4


class Annotation(IntEnum):
    """Fields of DebugAnnotation: a name and one value, or none."""

    bool_value = 2
    uint_value = 3
    int_value = 4
    double_value = 5
    string_value = 6
    legacy_json_value = 9
    name_ = 10
    dict_entries = 11
    array_values = 12
