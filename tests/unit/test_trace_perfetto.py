"""Perfetto traces: the fields they are made of, and what is read back.

What Perfetto itself makes of them is in `test_trace_processor.py`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket

from paravane.trace import Entry
from paravane.trace.decoder import TraceError
from paravane.trace.perfetto import PerfettoWriter
from paravane.trace.perfetto_reader import PerfettoDecoder
from paravane.trace.perfetto_schema import Annotation, Event, EventType, Packet
from paravane.trace.protobuf import message, number, text
from paravane.trace.writer import Header
from tests.support.perfetto import packets
from tests.unit.trace_entries import BIND, BUILT, ENTRIES, FAULT, HERE, UPDATE, body, read

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = Header("paravane 0.1", "virtual")


def written(entries: Iterable[Entry]) -> bytes:
    writer = PerfettoWriter()
    return writer.begin(HEADER) + body(writer, entries) + writer.end()


def test_perfettos_schema_knows_every_field() -> None:
    found = packets(written(ENTRIES))
    assert found[0].sequence_flags & TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert all(packet.trusted_packet_sequence_id and packet.HasField("timestamp") for packet in found)
    assert sum(packet.HasField("track_event") for packet in found) > len(ENTRIES)


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_what_is_read_back_is_what_was_written(piece: int) -> None:
    decoder = PerfettoDecoder()
    assert read(decoder, written(ENTRIES), piece) == list(ENTRIES)
    assert decoder.header == HEADER
    assert decoder.note == ""


def test_a_file_that_is_cut_off_anywhere_loads_up_to_there() -> None:
    writer = PerfettoWriter()
    pieces = [writer.begin(HEADER), *map(writer.entry, (BUILT, BIND, FAULT))]
    ends = list(accumulate(map(len, pieces)))
    whole = b"".join(pieces)
    for end in range(len(whole) + 1):
        decoder = PerfettoDecoder()
        got = read(decoder, whole[:end])
        complete = sum(end >= at for at in ends[1:])
        assert got[:complete] == [BUILT, BIND, FAULT][:complete]
        # Only a cut between two packets goes without saying.
        assert decoder.note or end in (0, *ends) or Trace.FromString(whole[:end])


@pytest.mark.parametrize(
    "data",
    [
        {"name": 1, "place": 2, "data.name": 3, "data.": 4},
        {"large": [1 << 63, (1 << 64) - 1, -(1 << 63), 1 << 64, -(1 << 63) - 1]},
        {"empty": [{}, [], "", None, False, 0.5], "nested": {"a": {"b": [[1], {}]}}},
        {"text": "\0\x7f\u2028"},
    ],
)
def test_any_data_come_back_the_same(data: dict[str, Any]) -> None:
    entry = Entry(1, 1, 1, None, "console", "", HERE, data)
    assert read(PerfettoDecoder(), written([entry])) == [entry]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("aplcename.", max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), JSON, max_size=4))
def test_whatever_json_holds_comes_back_the_same(data: dict[str, Any]) -> None:
    entry = Entry(1, 2, 1, 0, "hypercall", "mmu_update", None, data)
    assert read(PerfettoDecoder(), written([entry])) == [entry]


def test_half_a_surrogate_pair_is_written_as_an_escape() -> None:
    entry = replace(UPDATE, data={"text": "\ud800"})
    assert read(PerfettoDecoder(), written([entry])) == [replace(entry, data={"text": "\\ud800"})]


@pytest.mark.parametrize(
    ("json", "sentence"),
    [
        ("[" * 400 + "]" * 400, "is damaged: it is nested too deeply"),
        ('{"a":' * 80 + "1" + "}" * 80, "is damaged: it is nested too deeply"),
        ("9" * 5000, "is damaged: it has a number of thousands of digits"),
        ("[", "is damaged"),
    ],
)
def test_json_of_somebody_elses_in_an_annotation_is_bounded(json: str, sentence: str) -> None:
    entry = Entry(1, 1, 1, None, "page", "type")
    value = message(
        Event.debug_annotations, text(Annotation.name_, "a") + text(Annotation.legacy_json_value, json)
    )
    event = number(Event.type, EventType.INSTANT) + number(Event.track_uuid, 2) + value
    packet = message(1, number(Packet.timestamp, 1) + message(Packet.track_event, event))
    with pytest.raises(TraceError, match=sentence):
        read(PerfettoDecoder(), written([entry]) + packet)


def test_a_text_that_is_damaged_is_told_in_a_sentence() -> None:
    data = written([replace(UPDATE, data={"text": "there"})])
    assert b"there" in data
    with pytest.raises(TraceError, match=r"^the packet at byte \d+ is damaged: a text in it is not UTF-8$"):
        read(PerfettoDecoder(), data.replace(b"there", b"the\xffe"))


FOREIGN = message(1, number(8, 5) + number(10, 1) + message(60, number(1, 9) + text(2, "somebody's")))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (FOREIGN, "was not written by Paravane"),
        (b"\x0a\xff\xff\xff\xff\x7f", "longer than 16 MiB"),
        (b"\x0a" + b"\xff" * 12, "over 64 bits|more than 64 bits"),
        (b"\x0b", "damaged"),
        (b"\x0a\x01\x0b", "wire type 3"),
        (b"\x0a\x02\x52\x09", "cut off"),
    ],
)
def test_what_is_no_trace_of_ours_is_refused_in_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(TraceError, match=sentence):
        read(PerfettoDecoder(), data)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(written(ENTRIES[:6]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(TraceError):
        for entry in read(PerfettoDecoder(), bytes(whole)):
            entry.check()
