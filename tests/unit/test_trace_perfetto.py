"""Perfetto traces: what Perfetto itself makes of them, and what is read back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

from paravane.trace import Entry
from paravane.trace.decoder import TraceError
from paravane.trace.perfetto import PerfettoWriter
from paravane.trace.perfetto_reader import PerfettoDecoder
from paravane.trace.protobuf import message, number, text
from paravane.trace.writer import Header
from tests.support.perfetto import Processor
from tests.unit.trace_entries import BIND, BUILT, ENTRIES, FAULT, HERE, UPDATE, body, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER = Header("paravane 0.1", "virtual")


def written(entries: Iterable[Entry]) -> bytes:
    writer = PerfettoWriter()
    return writer.begin(HEADER) + body(writer, entries) + writer.end()


@pytest.fixture(scope="module")
def loaded() -> Iterator[Processor]:
    processor = Processor(written(ENTRIES))
    yield processor
    processor.close()


def test_domains_are_processes_and_vcpus_their_threads(loaded: Processor) -> None:
    assert loaded.query("select pid, name from process order by pid") == [(1, "hello"), (2, "echo")]
    assert loaded.query("select pid, thread.name from thread join process using (upid) order by pid") == [
        (1, "d1v0"),
        (2, "d2v0"),
    ]


def test_what_takes_time_is_a_slice_and_the_rest_are_instants(loaded: Processor) -> None:
    assert loaded.query("select name, ts, dur from slice where category = 'hypercall' order by ts") == [
        ("event_channel_op.bind_virq", 1000, 1000),
        ("mmu_update", 2200, 800),
        ("hypercall 99", 3000, 0),
        ("sched_op.yield", 6400, 100),
    ]
    assert loaded.query("select name, ts, dur from slice where category in ('event', 'schedule')") == [
        ("in", 5, 0),
        ("send", 4900, 0),
        ("out", 5000, 0),
        ("in", 6000, 0),
        ("upcall", 6100, 0),
        ("out", 6300, 0),
        ("in", 6300, 0),
    ]
    assert not loaded.query("select id from slice where dur < 0")


def test_a_refusal_lies_in_the_call_that_was_refused(loaded: Processor) -> None:
    assert loaded.query(
        "select parent.name from slice join slice parent on slice.parent_id = parent.id "
        "where slice.category = 'refusal'"
    ) == ["mmu_update"]


def test_an_arrow_leads_from_the_sender_to_the_upcall(loaded: Processor) -> None:
    assert loaded.query(
        "select a.name, a_thread.name, b.name, b_thread.name from flow "
        "join slice a on a.id = slice_out join track a_track on a_track.id = a.track_id "
        "join thread a_thread on a_thread.utid = a_track.utid "
        "join slice b on b.id = slice_in join track b_track on b_track.id = b.track_id "
        "join thread b_thread on b_thread.utid = b_track.utid"
    ) == [("send", "d1v0", "upcall", "d2v0")]


def test_the_data_are_arguments(loaded: Processor) -> None:
    found = dict(
        loaded.query(
            "select key, value from args join slice on slice.id = slice_id where slice.name = 'mmu_update' "
            "and category = 'hypercall'"
        )
    )
    assert found["debug.errno"] == "EINVAL"
    assert found["debug.result"] == -22
    assert found["debug.arguments.updates.items[0].ptr"] == 0x1000
    assert found["debug.arguments.domid"] == "DOMID_SELF"
    assert (found["source.file"], found["source.line_number"]) == ("kernel.S", 12)
    assert found["source.function"] == "main"
    assert found["debug.place.address"] == 0xC0001000


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


def test_domains_without_a_name_have_their_number() -> None:
    own = [Entry(0, 0, domid, None, "page", "type") for domid in (0, 0x7FF2)]
    processor = Processor(written(own))
    assert processor.query("select pid, process.name from process") == [(0, "domain 0"), (0x7FF2, "xen")]
    processor.close()


def test_what_happens_while_a_domain_is_built_is_on_its_track_too() -> None:
    page = Entry(0, 0, 1, None, "page", "type", None, {"mfn": 1})
    processor = Processor(written([page, BUILT, BIND]))
    assert processor.query("select pid, process.name from process") == [(1, "hello")]
    assert processor.query(
        "select slice.name from slice join track on track.id = track_id join process using (upid)"
    ) == ["type", "built"]
    assert read(PerfettoDecoder(), written([page, BUILT, BIND])) == [page, BUILT, BIND]
    processor.close()


def test_a_domain_that_is_built_again_has_tracks_of_its_own() -> None:
    again = replace(BUILT, data={"domain_name": "hello again"})
    processor = Processor(written([BUILT, BIND, again, BIND]))
    assert processor.query("select name from process order by upid") == ["hello", "hello again"]
    assert processor.query("select count(distinct track_id) from slice where category = 'hypercall'") == [2]
    processor.close()


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
