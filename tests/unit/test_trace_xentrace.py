"""Traces in xentrace's format: what Xen's own xenalyze makes of them, and what is read back."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paravane.abi.trace import TraceEvent
from paravane.trace import Entry
from paravane.trace.decoder import TraceError
from paravane.trace.wording import body_of
from paravane.trace.xentrace import XentraceWriter, record
from paravane.trace.xentrace_reader import XentraceDecoder
from tests.support.needs import tool
from tests.unit.trace_entries import BIND, BLOCKED, ENTRIES, FAULT, IN, UPDATE, YIELD, body, read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


WORRIES = re.compile(r"WARNING|FATAL|ERROR|Strange|unexpected|skew|short", re.IGNORECASE)
CALL = r"^\s*[\d.]* x d(\d+)v(\d+)\s+hypercall\s+([0-9a-f]+)(?: \((\w+)\))?(.*)"


def written(entries: Iterable[Entry]) -> bytes:
    return body(XentraceWriter(), entries)


def xenalyze(path: Path, data: bytes, *options: str) -> list[str]:
    """What it says of a trace; nothing in it may worry it."""
    path.write_bytes(data)
    command = [tool("xenalyze"), "--cpu-hz", "1G", *options, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if WORRIES.search(line)] == []
    return done.stdout.splitlines()


def test_xenalyze_shows_who_did_what_and_when(tmp_path: Path) -> None:
    lines = xenalyze(tmp_path / "trace", written(ENTRIES), "--dump-all")
    shown = [line.split(maxsplit=1)[1] for line in lines if re.match(r" +\d+\.\d{9} ", line)]
    assert shown == [
        "x d32768v0 sched_switch prev d32767v0 next d1v0",
        "x d32768v0 runstate_change d1v0 runnable->running",
        "x d1v0 hypercall 20 (evtchn_op) 00000001 c0002000",
        "x d1v0 hypercall  1 (mmu_update) 9 updates",
        "x d1v0 hypercall 63",
        "x d1v0 page_fault[ c0001000 1234 2 ]",
        "x d1v0 trap d eip c0002000 ec 0",
        "x d1v0 emulate privop[ c0001000 ]",
        "x d1v0 vcpu_block d1v0",
        "x d1v0 runstate_change d1v0 running->blocked",
        "x d?v? creating domain d2",
        "x d?v? sched_init_domain d2",
        "x d?v? sched_switch prev d1v0 next d32767v0",
        "x d?v? runstate_change d32767v0 runnable->running",
        "x d32767v0 runstate_change d32767v0 running->runnable",
        "x d?v? sched_switch prev d32767v0 next d2v0",
        "x d?v? runstate_change d2v0 runnable->running",
        "x d2v0 grant-map domain 2",
        "x d2v0 grant-unmap domain 2",
        "x d2v0 runstate_change d2v0 running->runnable",
        "x d?v? vcpu_wake d1v0",
        "x d?v? runstate_change d1v0 blocked->runnable",
        "x d?v? sched_switch prev d2v0 next d1v0",
        "x d?v? runstate_change d1v0 runnable->running",
        "x d1v0 hypercall 1d (sched_op) yield",
        "x d1v0 sched_shutdown d1v0, reason = 0",
        "x d1v0 runstate_change d1v0 running->offline",
        "x d?v? sched_destroy_domain d1",
        "x d?v? destroying domain d1",
    ]
    assert "   0.000002200 x d1v0 hypercall  1 (mmu_update) 9 updates" in lines


def test_xenalyze_counts_what_we_count(tmp_path: Path) -> None:
    lines = xenalyze(tmp_path / "trace", written([*ENTRIES[:-1], UPDATE, UPDATE]), "--summary")
    calls = dict(re.findall(r"^ {4}(\w+) +\[ *\d+\]: +(\d+)$", "\n".join(lines), re.M))
    assert calls == {"mmu_update": "3", "sched_op": "1", "evtchn_op": "1"}
    assert {"  hypercall  6", "  page_fault  1", "  emulate privop  1", "  trap  1", "    [13] 1"} <= {*lines}


def test_without_the_scheduler_the_calls_say_whose_turn_it_is(tmp_path: Path) -> None:
    second = replace(BIND, time=4000, end=5000, vcpu=1)
    third = replace(UPDATE, time=6000, end=7000, domid=3)
    calls = [UPDATE, second, FAULT, third, replace(third, time=8000, end=8000)]
    lines = xenalyze(tmp_path / "trace", written(calls), "--dump-all")
    found = [match.groups()[:4] for line in lines if (match := re.match(CALL, line))]
    assert found == [
        ("1", "0", "1", "mmu_update"),
        ("1", "1", "20", "evtchn_op"),
        ("3", "0", "1", "mmu_update"),
        ("3", "0", "1", "mmu_update"),
    ]


def test_a_file_that_is_cut_off_anywhere_is_read_up_to_there() -> None:
    whole = written(ENTRIES)
    everything = read(XentraceDecoder(), whole)
    for end in range(len(whole)):
        decoder = XentraceDecoder()
        got = read(decoder, whole[:end])
        assert got == everything[: len(got)]


def test_what_is_read_back_is_what_xen_would_have_noted() -> None:
    found = read(XentraceDecoder(), written(ENTRIES), 5)
    assert [(entry.kind, entry.name, entry.time, entry.domid, entry.vcpu) for entry in found] == [
        ("domain", "built", 0, 1, None),
        ("schedule", "in", 5, 1, 0),
        ("hypercall", "event_channel_op.bind_virq", 1000, 1, 0),
        ("hypercall", "mmu_update", 2200, 1, 0),
        ("hypercall", "", 3000, 1, 0),
        ("trap", "#PF", 4000, 1, 0),
        ("trap", "#GP", 4600, 1, 0),
        ("trap", "#GP", 4700, 1, 0),
        ("schedule", "out", 5000, 1, 0),
        ("domain", "built", 5000, 2, None),
        ("schedule", "in", 6000, 2, 0),
        ("grant", "map", 6200, 2, None),
        ("grant", "release", 6260, 2, None),
        ("schedule", "out", 6300, 2, 0),
        ("schedule", "woken", 6300, 1, 0),
        ("schedule", "in", 6300, 1, 0),
        ("hypercall", "sched_op.yield", 6400, 1, 0),
        ("domain", "shut down", 7000, 1, 0),
        ("schedule", "out", 7500, 1, 0),
        ("domain", "destroyed", 7500, 1, None),
    ]
    data = {(entry.name, entry.time): entry.data for entry in found}
    assert data["event_channel_op.bind_virq", 1000] == {
        "number": 32,
        "arguments": {"arg0": 1, "arg1": 0xC0002000},
    }
    assert data["#PF", 4000] == {"vector": 14, "error_code": 2, "cr2": 0x1234, "outcome": "bounced"}
    assert data["#GP", 4700]["outcome"] == "emulated"
    assert data["out", 5000] == {"why": "blocked"}
    assert data["shut down", 7000] == {"reason": "poweroff"}


def test_what_is_not_in_such_a_file_is_not_made_up_in_its_text() -> None:
    _, call, fault = (body_of(entry) for entry in read(XentraceDecoder(), written([IN, BIND, FAULT])))
    assert call == "event_channel_op.bind_virq(arg0=1, arg1=0xc0002000)"
    assert fault == "#PF error=0x2 cr2=0x00001234 -> bounced"


@pytest.mark.parametrize("event", [TraceEvent.SCHED_SHUTDOWN, TraceEvent.PV_TRAP, TraceEvent.DOM0_DOM_ADD])
def test_a_record_that_is_too_short_is_shown_by_its_words(event: TraceEvent) -> None:
    (found,) = read(XentraceDecoder(), window(0, record(event, 5)))
    assert (found.kind, found.name, found.data) == ("xentrace", f"{event:#x}", {"words": []})


def test_a_vcpu_is_woken_when_that_is_told_and_nobody_runs_meanwhile() -> None:
    told = [
        Entry(time, time, 1, 0, "schedule", name, None, {"why": "blocked"} if name == "out" else {})
        for time, name in ((5, "in"), (10, "out"), (20, "woken"), (30, "in"), (35, "woken"))
    ]
    found = read(XentraceDecoder(), written(told))
    assert [(entry.name, entry.time, entry.domid) for entry in found] == [
        ("in", 5, 1),
        ("out", 10, 1),
        ("woken", 20, 1),
        ("in", 30, 1),
    ]


def test_a_frame_that_is_given_away_is_noted() -> None:
    data = {"ref": 8, "by": 1, "mfn": 0x2A, "writable": True}
    given = Entry(5, 5, 2, None, "grant", "transfer", None, data)
    (found,) = read(XentraceDecoder(), written([given]))
    assert (found.kind, found.name, found.time, found.domid) == ("grant", "transfer", 5, 2)


def test_what_was_left_out_is_counted() -> None:
    writer = XentraceWriter()
    body(writer, ENTRIES)
    assert writer.left_out == {"refusal": 1, "trap": 1, "event": 2, "grant": 2}


def window(processor: int, *records: bytes) -> bytes:
    data = b"".join(records)
    return record(TraceEvent.TRACE_CPU_CHANGE, None, processor, len(data)) + data


WIDE = 0x100


def test_a_file_of_xen_itself() -> None:
    """What xentrace saves of 64-bit guests on two processors; times are the counter's at 2 GHz."""
    data = window(
        1,
        record(0x21101, 1999, 3 << 16 | 1),
        record(TraceEvent.PV_HYPERCALL_V2, 3999, 13 | 1 << 22, 2),
        record(TraceEvent.PV_HYPERCALL_SUBCALL, 4999, 20 | 1 << 20 | 1 << 24, 0, 1),
        record(TraceEvent.PV_TRAP | WIDE, 5999, 0x81000000, 0xFFFFFFFF, 13 | 1 << 15 | 8 << 16),
        record(TraceEvent.PV_MATH_STATE_RESTORE, None),
    ) + window(
        0,
        record(TraceEvent.SCHED_CONTINUE_RUNNING, 999, 0),
        record(TraceEvent.PV_PAGE_FAULT | WIDE, 1499, 0x10, 0x20, 0x30, 0x40, 6),
        record(TraceEvent.PV_PTWR_EMULATION | WIDE, 1999, 0x67, 0x8, 0x2000, 0xFF, 0x1000, 0xFF),
        record(TraceEvent.LOST_RECORDS, 2999, 12, 5 << 16 | 1, 0, 0),
        record(0x802008, 3999, 1, 2),
    )
    found = read(XentraceDecoder(2_000_000_000), data)
    assert [(entry.time, entry.domid, entry.vcpu, entry.kind, entry.name) for entry in found] == [
        (999, 3, 1, "schedule", "in"),
        (1999, 3, 1, "hypercall", "multicall"),
        (2499, 3, 1, "hypercall", "grant_table_op.map_grant_ref"),
        (2999, 3, 1, "trap", "#GP"),
        (2999, 3, 1, "trap", "#NM"),
        (749, 0, 0, "trap", "#PF"),
        (999, 0, 0, "trap", "#PF"),
        (1499, 1, 5, "lost", "records"),
        (1999, 0, 0, "xentrace", "0x802008"),
    ]
    assert found[2].data["in"] == "multicall"
    assert found[3].place is not None
    assert found[3].place.address == 0xFFFFFFFF81000000
    assert found[5].data["cr2"] == 0x4000000030
    assert (found[6].data["pte"], found[6].data["cr2"]) == (0x800000067, 0xFF00002000)
    assert found[8].data == {"words": [1, 2]}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (record(TraceEvent.PV_TRAP, 1, 2, 3), "byte 0 is not where"),
        (
            window(0, record(TraceEvent.PV_TRAP, 1, 2, 3))[:12] * 2,
            "byte 12 begins another .* too early",
        ),
        (window(0) + record(TraceEvent.PV_TRAP, 1, 2, 3), "byte 12 is not where"),
        (window(0, record(0x21101, 1, 0xFFFF0000)), "out of range"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(TraceError, match=sentence):
        read(XentraceDecoder(), data)


@settings(deadline=None)
@given(st.data())
def test_whatever_the_words_are_they_are_read_or_refused(data: st.DataObject) -> None:
    events = st.sampled_from(TraceEvent) | st.integers(0, (1 << 28) - 1)
    events = st.builds(lambda event, bits: event | bits, events, st.sampled_from([0, 0x100, 0x330]))
    words = st.lists(st.integers(0, 0xFFFFFFFF) | st.integers(0, 3), max_size=7)
    pairs = data.draw(st.lists(st.tuples(events, st.none() | st.integers(0, 1 << 62), words), max_size=6))
    with suppress(TraceError):
        read(XentraceDecoder(), window(0, *(record(event, time, *rest) for event, time, rest in pairs)))


@settings(deadline=None)
@given(st.lists(st.sampled_from([*ENTRIES, IN, BLOCKED, YIELD]), max_size=12))
def test_entries_in_any_order_are_written(entries: list[Entry]) -> None:
    read(XentraceDecoder(), written(entries))
