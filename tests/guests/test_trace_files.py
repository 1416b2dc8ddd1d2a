"""Trace files of real runs, in every format: what Xen's and Perfetto's readers and ours make of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane.abi.hypercall import Hypercall
from paravane.trace import Header, entry_of
from paravane.trace.forms import FORMS
from paravane.trace.reader import TraceReader, read_trace
from tests.guests.test_trace_kinds import SENDER, WAITER, trace
from tests.support.boot import HOST_TIMEOUT, paravane
from tests.support.needs import tool
from tests.support.patience import until
from tests.support.perfetto import ARROWS, TraceProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.trace import Entry

WORRIES = re.compile(r"WARNING|FATAL|ERROR|Strange|unexpected|skew|short", re.IGNORECASE)
PRINTER = '.include "runtime.inc"\nXEN_NOTES guest\n.text\nmain:\nPRINT "again and again\\n"\njmp main\n'

XENALYZE_NAMES = {"set_callbacks": "set_callbacks", "event_channel_op": "evtchn_op"}
"""Hypercalls that it calls otherwise than public/xen.h does."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The trace of a deterministic run of a kernel, of a format and of some events."""
    folder = tmp_path_factory.mktemp("traces")

    def record(kernel: str, form: str, events: str = "all") -> Path:
        path = folder / f"{kernel}-{events.replace(':', '-')}{FORMS[form].suffixes[0]}"
        if not path.exists():
            options = ["--deterministic", "--trace", str(path), "--trace-events", events]
            done = paravane("boot", kernel, *options)
            assert done.returncode == 0, done.stderr
        return path

    return record


def entries(path: Path) -> list[Entry]:
    with path.open("rb") as stream:
        return list(read_trace(stream))


@pytest.mark.parametrize("form", ["text", "perfetto", "xentrace", "json"])
def test_a_conversion_is_what_the_run_would_have_written(
    run: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    result = tmp_path / "result"
    done = paravane("trace", str(run("traps", "json")), "convert", "--to", form, "-o", str(result))
    assert done.returncode == 0
    assert result.read_bytes() == run("traps", form).read_bytes()


def test_perfetto_files_lose_nothing(run: Callable[..., Path]) -> None:
    written = entries(run("paging", "json"))
    assert len(written) > 50
    assert entries(run("paging", "perfetto")) == written
    done = paravane("trace", str(run("paging", "json")), "diff", str(run("paging", "perfetto")))
    assert (done.returncode, done.stdout.decode()) == (0, f"no difference in {len(written)} entries\n")


def test_vectors_are_numbers_and_their_names_are_names(run: Callable[..., Path]) -> None:
    traps = [entry for entry in entries(run("traps", "json")) if entry.kind == "trap"]
    assert {(entry.name, entry.data["vector"]) for entry in traps} >= {("#GP", 13), ("#PF", 14), ("#UD", 6)}
    assert {type(entry.data["vector"]) for entry in traps} == {int}


def test_two_runs_with_other_frames_part_where_they_say(run: Callable[..., Path], tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    options = ["--deterministic", "--trace-events", "hypercall", "--seed", "1"]
    assert paravane("boot", "paging", *options, "--trace", str(other)).returncode == 0
    first = str(run("paging", "json", "hypercall"))
    done = paravane("trace", first, "diff", str(other))
    assert done.returncode == 1
    assert re.search(r"^\? data\.arguments\.\S+: 0x[0-9a-f]+ and 0x[0-9a-f]+$", done.stdout.decode(), re.M)
    assert paravane("trace", first, "diff", str(other), "--ignore", "data").returncode == 0


@pytest.mark.parametrize("kernel", ["traps", "paging"])
def test_perfetto_shows_calls_and_traps_of_the_vcpu(run: Callable[..., Path], kernel: str) -> None:
    written = entries(run(kernel, "json"))
    processor = TraceProcessor(run(kernel, "perfetto").read_bytes())
    asked = (
        "select slice.name, count(*) as count from slice join thread_track on thread_track.id = track_id "
        "join thread using (utid) where category = '{}' and thread.name = 'd1v0' group by slice.name"
    )
    for kind in ("hypercall", "trap"):
        expected = Counter(entry.name for entry in written if entry.kind == kind)
        assert expected
        assert dict(processor.query(asked.format(kind))) == expected
    assert processor.query("select process.name from process where pid = 1") == [kernel]
    assert processor.query("select id from slice where dur < 0") == []
    assert processor.faults == []


def test_arrows_lead_between_domains() -> None:
    writer = FORMS["perfetto"].writer()
    records = trace(WAITER, SENDER)
    processor = TraceProcessor(
        writer.begin(Header()) + b"".join(writer.entry(entry_of(record)) for record in records)
    )
    assert ("send", "d2v0", "upcall", "d1v0") in processor.query(ARROWS)


def xenalyze(path: Path, *options: str) -> str:
    """What it says of a trace; nothing in it may worry it."""
    command = [tool("xenalyze"), "--cpu-hz", "1G", *options, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if WORRIES.search(line)] == []
    return done.stdout


def xen_name(entry: Entry) -> str:
    """A hypercall as xenalyze calls it."""
    number = entry.data["number"]
    name = Hypercall(number).name.rstrip("_")
    return XENALYZE_NAMES.get(name, name)


@pytest.mark.parametrize(
    ("kernel", "events"), [("traps", "all"), ("attack", "all"), ("traps", "hypercall,trap")]
)
def test_xenalyze_finds_the_hypercalls_and_traps_that_we_count(
    run: Callable[..., Path], kernel: str, events: str
) -> None:
    written = entries(run(kernel, "json", events))
    path = run(kernel, "xentrace", events)
    summary = xenalyze(path, "--summary")
    calls = Counter(xen_name(entry) for entry in written if entry.kind == "hypercall")
    found = re.findall(r"^ {4}(\w+) *\[ *\d+\]: +(\d+)$", summary, re.M)
    assert {name: int(count) for name, count in found} == calls
    bounced = [entry for entry in written if entry.kind == "trap" and entry.data["outcome"] == "bounced"]
    faults = sum(entry.name == "#PF" for entry in bounced)
    assert re.findall(r"^  page_fault  (\d+)$", summary, re.M) == ([str(faults)] if faults else [])
    others = len(bounced) - faults
    assert re.findall(r"^  trap  (\d+)$", summary, re.M) == ([str(others)] if others else [])
    dump = xenalyze(path, "--dump-all")
    shown = re.findall(r" d1v0\s+hypercall\s+[0-9a-f]+ \((\w+)\)", dump)
    assert Counter(shown) == calls


def test_xenalyze_follows_two_domains_that_take_turns(tmp_path: Path) -> None:
    writer = FORMS["xentrace"].writer()
    written = [entry_of(record) for record in trace(WAITER, SENDER)]
    path = tmp_path / "trace"
    path.write_bytes(b"".join(map(writer.entry, written)))
    dump = xenalyze(path, "--dump-all")
    shown = re.findall(r" (d\dv0)\s+hypercall\s+[0-9a-f]+ \((\w+)\)", dump)
    calls = [entry for entry in written if entry.kind == "hypercall"]
    assert shown == [(f"d{entry.domid}v{entry.vcpu}", xen_name(entry)) for entry in calls]
    turns = [entry.domid for entry in written if (entry.kind, entry.name) == ("schedule", "in")]
    assert re.findall(r"runstate_change d([12])v0 runnable->running", dump) == [str(turn) for turn in turns]
    left = Counter(entry.data["why"] for entry in written if entry.name == "out")
    assert dump.count("running->blocked") == dump.count("vcpu_block") == left["blocked"]
    assert dump.count("vcpu_yield") == left["yielded"]
    assert left["blocked"]


def booting(*options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "paravane", "boot", *options]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def until_written(path: Path) -> None:
    """Wait until nobody has the file open any more: who writes it may outlive the run."""
    until(lambda: not any(opened(number, path) for number in os.listdir("/proc") if number.isdigit()))


def opened(process: str, path: Path) -> bool:
    """Whether a process that is ours has a file open."""
    folder = Path("/proc", process, "fd")
    with suppress(OSError):
        return any(os.path.realpath(folder / name) == str(path) for name in os.listdir(folder))
    return False


@pytest.mark.parametrize("form", ["perfetto", "xentrace"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_a_file_that_is_complete(tmp_path: Path, form: str, number: int) -> None:
    source = tmp_path / "guest.S"
    source.write_text(PRINTER)
    path = tmp_path / f"trace{FORMS[form].suffixes[0]}"
    with booting(str(source), "--trace", str(path)) as process:
        until(lambda: path.exists() and path.stat().st_size >= 50_000)
        assert process.poll() is None
        process.send_signal(number)
        process.wait(HOST_TIMEOUT)
    until_written(path)
    reader = TraceReader()
    with path.open("rb") as stream:
        found = list(read_trace(stream, reader))
    assert reader.note == ""
    assert sum(entry.name == "event_channel_op.send" for entry in found) > 10
    if form == "perfetto":
        assert TraceProcessor(path.read_bytes()).faults == []
    else:
        assert "hypercall" in xenalyze(path, "--dump-all")


@pytest.mark.parametrize("form", ["json", "perfetto", "xentrace"])
def test_a_run_can_be_followed_to_its_end(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"trace{FORMS[form].suffixes[0]}"
    path.touch()
    command = [sys.executable, "-m", "paravane", "trace", str(path), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert paravane("boot", "hello", "--trace", str(path)).returncode == 0
        lines: list[str] = []
        while not lines or "sched_op.shutdown" not in lines[-1]:
            lines.append(follower.stdout.readline())
            assert lines[-1]
        follower.send_signal(signal.SIGINT)
        assert follower.wait(HOST_TIMEOUT) == 130
    whole = paravane("trace", str(path)).stdout.decode().splitlines(keepends=True)
    assert lines == whole[: len(lines)]
