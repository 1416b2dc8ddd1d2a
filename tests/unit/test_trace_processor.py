"""Perfetto traces as Perfetto's own trace processor has them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paravane.trace import Entry
from tests.support.perfetto import ARROWS, TraceProcessor
from tests.unit.test_trace_perfetto import written
from tests.unit.trace_entries import BIND, BUILT, ENTRIES, UPDATE


@pytest.fixture(scope="module")
def loaded() -> TraceProcessor:
    return TraceProcessor(written(ENTRIES))


def test_nothing_in_a_trace_is_an_error_to_it(loaded: TraceProcessor) -> None:
    assert loaded.faults == []


def test_what_is_no_trace_is_an_error_to_it() -> None:
    with pytest.raises(ValueError, match="Unknown trace type"):
        TraceProcessor(b"no trace of anybody's")


def test_a_file_that_is_cut_off_anywhere_loads_up_to_there() -> None:
    whole = written([BUILT, BIND, UPDATE])
    for end in range(len(written([BUILT])), len(whole) + 1, 25):
        assert TraceProcessor(whole[:end]).query("select name from slice")[0] == "built"


def test_domains_are_processes_and_vcpus_their_threads(loaded: TraceProcessor) -> None:
    assert loaded.query("select pid, name from process where pid > 0 order by pid") == [
        (1, "hello"),
        (2, "echo"),
    ]
    assert loaded.query(
        "select pid, thread.name from thread join process using (upid) where tid > 0xffff order by pid"
    ) == [(1, "d1v0"), (2, "d2v0")]


def test_what_takes_time_is_a_slice_and_the_rest_are_instants(loaded: TraceProcessor) -> None:
    assert loaded.query("select name, ts, dur from slice where category = 'hypercall' order by ts") == [
        ("event_channel_op.bind_virq", 1000, 1000),
        ("mmu_update", 2200, 800),
        ("hypercall 99", 3000, 0),
        ("sched_op.yield", 6400, 100),
    ]
    assert loaded.query(
        "select name, ts, dur from slice where category in ('event', 'schedule') order by ts, id"
    ) == [
        ("in", 5, 0),
        ("send", 4900, 0),
        ("out", 5000, 0),
        ("in", 6000, 0),
        ("upcall", 6100, 0),
        ("out", 6300, 0),
        ("in", 6300, 0),
    ]
    assert not loaded.query("select id from slice where dur < 0")


def test_a_refusal_lies_in_the_call_that_was_refused(loaded: TraceProcessor) -> None:
    assert loaded.query(
        "select parent.name as caller from slice join slice as parent on slice.parent_id = parent.id "
        "where slice.category = 'refusal'"
    ) == ["mmu_update"]


def test_an_arrow_leads_from_the_sender_to_the_upcall(loaded: TraceProcessor) -> None:
    assert loaded.query(ARROWS) == [("send", "d1v0", "upcall", "d2v0")]


def test_the_data_are_arguments(loaded: TraceProcessor) -> None:
    found = dict(
        loaded.query(
            "select key, coalesce(string_value, int_value) as value from args join slice using (arg_set_id) "
            "where slice.name = 'mmu_update' and category = 'hypercall'"
        )
    )
    assert found["debug.errno"] == "EINVAL"
    assert found["debug.result"] == -22
    assert found["debug.arguments.updates.items[0].ptr"] == 0x1000
    assert found["debug.arguments.domid"] == "DOMID_SELF"
    assert found["debug.place.address"] == 0xC0001000
    assert (found["source_location.file_name"], found["source_location.line_number"]) == ("kernel.S", 12)
    assert found["source_location.function_name"] == "main"


def test_domains_without_a_name_have_their_number() -> None:
    own = [Entry(0, 0, domid, None, "page", "type") for domid in (0, 0x7FF2)]
    loaded = TraceProcessor(written(own))
    assert loaded.query("select pid, name from process order by pid") == [(0, "domain 0"), (0x7FF2, "xen")]


def test_what_happens_while_a_domain_is_built_is_on_its_track_too() -> None:
    page = Entry(0, 0, 1, None, "page", "type", None, {"mfn": 1})
    loaded = TraceProcessor(written([page, BUILT, BIND]))
    assert loaded.query("select pid, name from process where pid > 0") == [(1, "hello")]
    assert loaded.query(
        "select slice.name from slice join process_track on process_track.id = track_id order by slice.id"
    ) == ["type", "built"]


def test_a_domain_whose_start_is_not_in_the_trace_has_its_number() -> None:
    loaded = TraceProcessor(written([BIND, BIND]))
    assert loaded.query("select pid, name from process where pid > 0") == [(1, "domain 1")]


def test_a_domain_that_is_built_again_has_tracks_of_its_own() -> None:
    again = replace(BUILT, data={"domain_name": "hello again"})
    loaded = TraceProcessor(written([BUILT, BIND, again, BIND]))
    assert loaded.query("select name from process where pid = 1 order by upid") == ["hello", "hello again"]
    assert loaded.query(
        "select count(distinct track_id) as tracks from slice where category = 'hypercall'"
    ) == [2]
