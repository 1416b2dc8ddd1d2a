"""`paravane trace`: its verbs on traces of every format, and what becomes of wrong ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from paravane.place import Place
from paravane.tools.cli import main
from paravane.tools.trace.times import duration, hertz, nanoseconds, seconds
from paravane.trace import Entry, Header
from paravane.trace.forms import FORMS
from paravane.trace.text import text
from tests.unit.trace_entries import (
    BIND,
    BLOCKED,
    BUILT,
    DIRECT,
    ENDED,
    ENTRIES,
    FAULT,
    GP,
    REFUSED,
    SEND,
    UNKNOWN,
    UPCALL,
    UPDATE,
    body,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Save = Callable[..., str]


class Said(NamedTuple):
    """What a command did: status, stdout and stderr."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture
def trace(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Said]:
    """Runs `paravane trace` with these arguments."""

    def run(*arguments: str) -> Said:
        status = main(["trace", *arguments])
        out, err = capfdbinary.readouterr()
        return Said(status, out.decode(), err.decode())

    return run


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes entries as a file of a format, and gives its name."""

    def write(
        entries: Iterable[Entry] = ENTRIES, form: str = "json", name: str = "run", tail: bytes = b""
    ) -> str:
        writer = FORMS[form].writer()
        path = tmp_path / name
        path.write_bytes(writer.begin(Header("paravane", "virtual")) + body(writer, entries) + tail)
        return str(path)

    return write


def lines_of(entries: Iterable[Entry]) -> list[str]:
    return [text(entry) for entry in entries]


@pytest.mark.parametrize("form", ["json", "perfetto"])
@pytest.mark.parametrize("verb", [(), ("show",)])
def test_a_trace_reads_as_it_did_live(
    trace: Callable[..., Said], save: Save, form: str, verb: tuple[str, ...]
) -> None:
    assert trace(save(form=form), *verb) == (0, "".join(f"{line}\n" for line in lines_of(ENTRIES)), "")


def test_only_what_is_wanted_is_shown(trace: Callable[..., Said], save: Save) -> None:
    name = save()
    assert trace(name, "--events", "trap:PF,event").lines == lines_of([FAULT, SEND, UPCALL])
    assert trace(name, "show", "--events", "hypercall:mmu_update").lines == lines_of([UPDATE])
    assert trace(name, "--events", "trap", "show", "--from", "4.5us", "--until", "4700ns").lines == lines_of(
        [entry for entry in ENTRIES if entry.kind == "trap" and 4500 <= entry.time <= 4700]
    )
    assert trace(name, "--events", "hypercall,domain:2").lines == []


def test_what_does_not_look_like_its_kind_is_shown_as_it_is(trace: Callable[..., Said], save: Save) -> None:
    odd = Entry(1, 1, 1, 0, "timer", "armed", None, {"timer": "tick", "deadline": 10**400})
    assert f"deadline={10**400:#x}" in trace(save([odd])).out


def test_only_what_is_shown_is_followed(trace: Callable[..., Said], save: Save) -> None:
    said = trace(save(), "--follow", "summary")
    assert (said.status, said.out) == (2, "")
    assert "--follow goes with `show`" in said.err


def test_colours_are_for_those_who_ask(trace: Callable[..., Said], save: Save) -> None:
    assert trace(save([REFUSED]), "--colour", "always").out == text(REFUSED, colour=True) + "\n"
    assert "\x1b" not in trace(save([REFUSED])).out


def test_stdin_is_a_trace_too(save: Save) -> None:
    with open(save([BIND]), "rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "paravane", "trace", "-"],
            check=True,
            stdin=stream,
            capture_output=True,
            text=True,
        )
    assert done.stdout.splitlines() == lines_of([BIND])


def test_a_pipe_that_is_followed_ends_with_its_writers(save: Save) -> None:
    with open(save([BUILT, BIND], tail=b'{"time'), "rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "paravane", "trace", "-", "--follow"],
            check=True,
            input=stream.read(),
            capture_output=True,
        )
    assert done.stdout.decode().splitlines() == lines_of([BUILT, BIND])
    assert done.stderr == b"paravane: stdin: line 4, the last one, is cut off and left out\n"


def test_a_reader_that_has_seen_enough_ends_it_quietly(save: Save) -> None:
    command = [sys.executable, "-m", "paravane", "trace", save([*ENTRIES] * 400)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        shown.stdout.read(100)
        shown.stdout.close()
        assert shown.stderr.read() == b""
        assert shown.wait() == 0


def test_what_is_cut_off_is_said_and_the_rest_shown(trace: Callable[..., Said], save: Save) -> None:
    name = save([BUILT, BIND], tail=b'{"time": 5')
    shown = trace(name)
    assert shown.lines == lines_of([BUILT, BIND])
    assert shown.err == f"paravane: {name}: line 4, the last one, is cut off and left out\n"
    assert shown.status == 0


@pytest.mark.parametrize("verb", ["show", "summary", "diff", "convert"])
def test_damage_is_one_line_and_status_2(trace: Callable[..., Said], save: Save, verb: str) -> None:
    good, bad = save([BUILT, BIND], name="good"), save([BUILT, BIND], name="bad", tail=b"{\n{}\n")
    rest = {"diff": [good], "convert": ["--to", "text"]}.get(verb, [])
    shown = trace(bad, verb, *rest)
    assert (shown.status, shown.err) == (2, f"paravane: {bad}: line 4 is no JSON\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "FILE; see `paravane trace --help`"),
        (("{dir}/none",), "none: No such file or directory"),
        (("{dir}",), "Is a directory"),
        (("{text}",), "it is text: JSON lines, Perfetto's and xentrace's formats can be read"),
        (("{file}", "fly"), "'fly'"),
        (("{file}", "--events", "sound"), "'sound' is no kind of event"),
        (("{file}", "--from", "9" * 5000), "9' is not a time: write 1.5 (seconds), 200ms, 30us or 40ns"),
        (("{file}", "summary", "--top", "9" * 5000), "9' is not a positive number"),
        (("{file}", "--cpu-hz", "9" * 5000), "9' is not a frequency: write 2.4G, 2400M or 1000000000"),
        (("{file}", "--from", "noon"), "'noon' is not a time: write 1.5 (seconds), 200ms, 30us or 40ns"),
        (("{file}", "--cpu-hz", "0"), "'0' is not a frequency: write 2.4G"),
        (("{file}", "summary", "--top", "0"), "'0' is not a positive number"),
        (("{file}", "diff"), "OTHER"),
        (("-", "diff", "-"), "one can be stdin, not both"),
        (("{file}", "convert"), "say with --to which format: text, json, perfetto, xentrace"),
        (("{file}", "convert", "--to", "morse"), "'morse'"),
        (("{file}", "convert", "--to", "json", "-o", "{file}"), "would overwrite"),
    ],
)
def test_wrong_uses_are_one_line(
    trace: Callable[..., Said], save: Save, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    places = {"dir": str(tmp_path), "file": save(), "text": save(form="text", name="text")}
    shown = trace(*(argument.format(**places) for argument in arguments))
    assert shown.status == 2
    assert shown.err.startswith("paravane: ")
    assert shown.err.count("\n") == 1
    assert words in shown.err


def test_a_summary_counts_times_refusals_and_places(trace: Callable[..., Said], save: Save) -> None:
    slow = replace(UPDATE, end=UPDATE.time + 3_000_000)
    lines = trace(save([*ENTRIES, UPDATE, slow]), "summary").lines
    assert lines[0] == f"{len(ENTRIES) + 2} entries from 0.000000000 to 0.003002200 s, virtual clock"
    assert "domain 1 (hello): built at 0.000000000, shut down at 0.000007000 (poweroff), " in "\n".join(lines)
    rows = {tuple(line.split()) for line in lines}
    assert ("mmu_update", "3", "3", "3", "ms", "1", "ms", "3", "ms") in rows
    assert ("#GP", "2") in rows
    assert ("upcall", "1") in rows
    assert ("hypercall_99", "1", "1") in rows
    assert ("EINVAL", "1", "mmu_update", "1") in rows
    assert ("3", "mmu_update", "0xc0001000", "<main+0x20>", "kernel.S:12") in rows
    start = lines.index("how long a hypercall took")
    histogram = dict(line.strip().rsplit(None, 2)[:2] for line in lines[start + 1 : start + 6])
    assert histogram["no time"] == "1"
    assert ("2.1 ms to 4.19 ms", "1") in {
        tuple(line.strip().rsplit(None, 2)[:2]) for line in lines if "#" in line
    }


def test_a_summary_of_nothing_is_one_line(trace: Callable[..., Said], save: Save) -> None:
    assert trace(save([]), "summary").lines == ["0 entries, virtual clock"]
    assert trace(os.devnull, "summary").lines == ["0 entries"]


def test_a_domain_that_was_built_again_has_one_line(trace: Callable[..., Said], save: Save) -> None:
    lines = trace(save([BUILT, ENDED, BUILT, ENDED, BUILT, ENDED]), "summary").lines
    assert "domain 1 (hello): built 3 times, shut down at 0.000007000 (poweroff)" in lines


def test_what_a_file_says_cannot_reach_the_terminal_as_control(
    trace: Callable[..., Said], save: Save, tmp_path: Path
) -> None:
    odd = replace(
        BIND, kind="\x1b[1m", name="\x1b[2m", data={"\x1b[3m": "\x1b[4m"}, place=Place(1, "\x1b[5m")
    )
    name = save([odd, replace(BUILT, data={"domain_name": "\x1b[6m"})])
    header = tmp_path / "header"
    header.write_text(json.dumps({"trace": 1, "clock": "\x1b[7m"}))
    for arguments in ((name,), (name, "summary"), (name, "diff", str(header)), (str(header), "summary")):
        assert "\x1b" not in trace(*arguments).out


def test_only_so_many_places_are_shown(trace: Callable[..., Said], save: Save) -> None:
    shown = trace(save(), "summary", "--top", "1").out
    assert "places (1 of " in shown


def test_names_and_places_do_not_grow_without_bound(
    trace: Callable[..., Said], save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paravane.tools.trace.tally.LARGEST", 3)
    many = [replace(BIND, name=f"call{number}", kind="xentrace") for number in range(5)]
    rows = {tuple(line.split()[:2]) for line in trace(save(many), "summary").lines}
    assert {("call0", "1"), ("call2", "1"), ("(others)", "2"), ("2", "(others)")} <= rows
    assert ("call3", "1") not in rows


def test_two_traces_that_are_the_same(trace: Callable[..., Said], save: Save) -> None:
    one, other = save(name="one"), save(name="other", form="perfetto")
    assert trace(one, "diff", other) == (0, f"no difference in {len(ENTRIES)} entries\n", "")


def test_the_first_difference_is_shown_with_what_came_before(trace: Callable[..., Said], save: Save) -> None:
    changed = replace(FAULT, data={**FAULT.data, "cr2": 0xC0FFEE00, "outcome": "emulated"})
    at = ENTRIES.index(FAULT)
    one, other = save(name="one"), save([*ENTRIES[:at], changed, *ENTRIES[at:]], name="other")
    shown = trace(one, "diff", other, "--context", "2")
    assert shown.status == 1
    assert shown.lines == [
        f"--- {one}",
        f"+++ {other}",
        f"the first {at} entries are the same",
        *(f"  {line}" for line in lines_of(ENTRIES[at - 2 : at])),
        f"- {text(FAULT)}",
        f"+ {text(changed)}",
        "? data.cr2: 4660 and 0xc0ffee00",
        "? data.outcome: 'bounced' and 'emulated'",
    ]


def test_a_trace_that_goes_on_differs_from_one_that_ends(trace: Callable[..., Said], save: Save) -> None:
    one, other = save([BUILT], name="one"), save([BUILT, BIND], name="other")
    shown = trace(one, "diff", other)
    assert shown.status == 1
    assert shown.lines[2:] == [
        "the first 1 entry is the same",
        f"  {text(BUILT)}",
        "- (ends here)",
        f"+ {text(BIND)}",
    ]
    assert trace(other, "diff", one).lines[-2:] == [f"- {text(BIND)}", "+ (ends here)"]


@pytest.mark.parametrize(
    ("ignored", "changed"),
    [
        ("time", replace(UPDATE, time=1, end=9)),
        ("place", replace(UPDATE, place=None)),
        ("vcpu,domain", replace(UPDATE, vcpu=3, domid=9)),
        ("result, errno", replace(UPDATE, data={**UPDATE.data, "result": -1, "errno": "EPERM"})),
        (
            "items",
            replace(
                UPDATE,
                data={
                    **UPDATE.data,
                    "arguments": {**UPDATE.data["arguments"], "updates": {"pointer": 0xC0002000, "count": 9}},
                },
            ),
        ),
    ],
)
def test_what_may_differ_can_be_said(
    trace: Callable[..., Said], save: Save, ignored: str, changed: Entry
) -> None:
    one, other = save([UPDATE], name="one"), save([changed], name="other")
    assert trace(one, "diff", other).status == 1
    assert trace(one, "diff", other, "--ignore", ignored).status == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_conversion_is_what_would_have_been_written(
    trace: Callable[..., Said], save: Save, tmp_path: Path, form: str
) -> None:
    expected = tmp_path / "expected"
    save(form=form, name="expected")
    result = tmp_path / f"result{FORMS[form].suffixes[0]}"
    assert trace(save(), "convert", "-o", str(result)).status == 0
    assert result.read_bytes() == expected.read_bytes()
    again = tmp_path / "again"
    assert trace(save(), "convert", "--to", form, "-o", str(again)).status == 0
    assert again.read_bytes() == expected.read_bytes()


def test_a_conversion_says_what_it_leaves_out(trace: Callable[..., Said], save: Save, tmp_path: Path) -> None:
    shown = trace(save(), "convert", "-o", str(tmp_path / "x.xentrace"))
    assert shown.err == (
        "paravane: xentrace's format has no records for some entries, which are left out: "
        "2 event, 2 grant, 1 refusal, 1 trap\n"
    )


def test_a_conversion_to_stdout_and_of_nothing(trace: Callable[..., Said], save: Save) -> None:
    assert trace(save([BIND]), "convert", "--to", "text").lines == lines_of([BIND])
    (head,) = trace(save([]), "convert", "--to", "json").lines
    assert json.loads(head)["trace"] == 1


def test_a_conversion_that_fails_leaves_the_file_as_it_was(
    trace: Callable[..., Said], save: Save, tmp_path: Path
) -> None:
    target = tmp_path / "target.txt"
    target.write_text("good")
    assert trace(save([BIND], tail=b"{}\n"), "convert", "-o", str(target)).status == 2
    assert target.read_text() == "good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "target.txt"]
    assert trace(save([BIND]), "convert", "--to", "text", "-o", "/dev/full").status == 1


def test_the_time_stamp_counter_of_a_file_of_xentrace_has_a_frequency(
    trace: Callable[..., Said], save: Save
) -> None:
    name = save([BLOCKED, GP], form="xentrace")
    assert trace(name, "--events", "trap").out.startswith("[    0.000004600]")
    assert trace(name, "--events", "trap", "--cpu-hz", "2G").out.startswith("[    0.000002300]")


def test_a_trace_can_be_followed_while_it_is_written(save: Save) -> None:
    name = save([BUILT])
    command = [sys.executable, "-m", "paravane", "trace", name, "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        assert shown.stdout.readline().rstrip() == text(BUILT)
        writer = FORMS["json"].writer()
        line = writer.entry(BIND)
        with open(name, "ab", 0) as stream:
            stream.write(line[:20])
            stream.write(line[20:] + writer.entry(DIRECT))
        assert shown.stdout.readline().rstrip() == text(BIND)
        assert shown.stdout.readline().rstrip() == text(DIRECT)
        # Begun anew: shorter than before.
        with open(name, "wb", 0) as stream:
            stream.write(writer.entry(UNKNOWN))
        assert shown.stdout.readline().rstrip() == text(UNKNOWN)
        assert shown.stderr.readline() == f"paravane: {name} was begun anew\n"
        shown.send_signal(signal.SIGINT)
        assert shown.wait() == 130
        assert shown.stderr.read() == ""


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.5", 1_500_000_000),
        ("0", 0),
        ("200ms", 200_000_000),
        ("0.5us", 500),
        ("40ns", 40),
        ("3s", 3 * 10**9),
    ],
)
def test_times_are_exact(written: str, value: int) -> None:
    assert nanoseconds(written) == value


def test_frequencies_and_durations_in_words() -> None:
    assert [hertz("2.4G"), hertz("2400M"), hertz("10")] == [2_400_000_000, 2_400_000_000, 10]
    assert [duration(time) for time in (0, 999, 1024, 1_500_000, 3 * 10**9, 5000 * 10**9)] == [
        "0 ns",
        "999 ns",
        "1.02 us",
        "1.5 ms",
        "3 s",
        "5000 s",
    ]
    assert seconds(1_500_000_000) == "1.500000000"
