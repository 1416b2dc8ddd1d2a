"""`paravane report`: the data of the page against the trace, and what becomes of wrong traces and names."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from paravane import asm, load_image
from paravane.place import Place
from paravane.tools.cli import main
from paravane.tools.report_page import frames, timeline
from paravane.tools.report_page.collector import Report
from paravane.tools.report_page.sources import Sources
from paravane.trace import Entry, Header
from paravane.trace.forms import FORMS
from tests.support.page import Page
from tests.unit.trace_entries import BUILT, DIRECT, ENTRIES, FAULT, REFUSED, SEND, UPCALL, UPDATE, body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Make = Callable[..., Page]

HOSTILE = "</script><script>hacked=1</script><!--<img src=x onerror=hacked=1>\u2028\u202e\udc80&amp;\x00"


def saved(path: Path, entries: Iterable[Entry] = ENTRIES, form: str = "json", tail: bytes = b"") -> Path:
    writer = FORMS[form].writer()
    path.write_bytes(writer.begin(Header("paravane", "virtual")) + body(writer, entries) + tail)
    return path


def island(entries: Iterable[Entry]) -> dict[str, Any]:
    """What is collected of entries."""
    report = Report()
    for entry in entries:
        report.add(entry)
    return report.island("run", Header(), "", Sources(()))


def page(time: int, name: str, mfn: int, before: str, after: str, **more: Any) -> Entry:
    data = {"mfn": mfn, "owner": 1, "before": before, "after": after, "uses": 1}
    return Entry(time, time, 1, 0, "page", name, None, data | more)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes entries as a trace, and gives the page of it."""

    def run(entries: Iterable[Entry] = ENTRIES, *options: str, form: str = "json", tail: bytes = b"") -> Page:
        trace, target = saved(tmp_path / "run", entries, form, tail), tmp_path / "run.html"
        assert main(["report", str(trace), "-o", str(target), *options]) == 0
        return Page(target.read_bytes())

    return run


@pytest.mark.parametrize("form", ["json", "perfetto"])
def test_every_record_of_the_timeline_is_in_the_page(make: Make, form: str) -> None:
    found = make(form=form).island["timeline"]
    shown = [found["rows"][row] for row in found["row"]]
    wanted = [
        entry
        for entry in sorted(ENTRIES, key=lambda entry: entry.time)
        if entry.kind in ("hypercall", "trap") or entry.name == "upcall"
    ]
    assert len(shown) == len(wanted)
    times = [int(found["base"]) + at for at in found["at"]]
    assert times == [entry.time for entry in wanted]
    assert [time + took for time, took in zip(times, found["took"], strict=True)] == [
        entry.end for entry in wanted
    ]
    lanes = [found["lanes"][lane] for lane in found["lane"]]
    assert lanes == [f"d{entry.domid}v{entry.vcpu}" for entry in wanted]
    refused = {found["names"][name] for name, bad in zip(found["name"], found["refused"], strict=True) if bad}
    assert refused == {"mmu_update", "hypercall 99"}
    assert any("#PF error=0x2 cr2=0x00001234 ring=1 -> bounced" in text for text in found["texts"])
    assert found["left_out"] == 0
    assert found["bins"] is None


def test_hypercalls_are_counted_with_their_results_and_refusals(make: Make) -> None:
    found = make().island["calls"]
    rows = {call["name"]: call for call in found["calls"]}
    assert rows["mmu_update"]["refused"] == rows["mmu_update"]["count"] == 1
    assert rows["mmu_update"]["results"] == [["-EINVAL", 1]]
    assert rows["mmu_update"]["total"] == 800
    assert rows["hypercall 99"]["results"] == [["-ENOSYS", 1]]
    assert rows["sched_op.yield"]["results"] == [["0", 1]]
    (reason,) = found["reasons"]
    assert reason["sentence"] == "the frame is not its own"
    assert reason["where"] == str(REFUSED.place)


def test_reasons_that_differ_in_numbers_are_one_and_come_from_hypercalls_where_nothing_else_tells() -> None:
    same = [replace(UPDATE, data=UPDATE.data | {"sentence": f"mfn 0x{n:x} has {n} uses"}) for n in range(9)]
    (reason,) = island(same)["calls"]["reasons"]
    assert (reason["count"], reason["sentence"]) == (9, "mfn 0x0 has 0 uses")


def test_channels_are_counted_with_how_long_events_took(make: Make) -> None:
    found = make().island["events"]
    (channel,) = [one for one in found["channels"] if one["to"] == 2]
    assert (channel["from"], channel["port"], channel["to_port"], channel["count"]) == (1, 4, 6, 1)
    assert (channel["arrived"], channel["total"]) == (1, UPCALL.time - SEND.time)
    assert found["upcalls"] == [[2, 0, 1]]


def test_events_that_join_one_on_its_way_are_told_apart() -> None:
    again = replace(SEND, time=4950, end=4950)
    (channel,) = island([SEND, again, UPCALL])["events"]["channels"]
    assert (channel["count"], channel["joined"], channel["arrived"]) == (2, 1, 1)


def test_places_have_their_counts(make: Make) -> None:
    files = {found["file"]: found for found in make().island["source"]["files"]}
    ((line, symbol, calls, traps, names),) = files["kernel.S"]["places"]
    assert (line, symbol) == (12, "main")
    assert calls == sum(e.kind == "hypercall" and e.place == FAULT.place for e in ENTRIES)
    assert traps == sum(e.kind == "trap" and e.place == FAULT.place for e in ENTRIES)
    assert ["mmu_update", 1] in names
    assert files["kernel.S"]["text"] == []


def test_a_section_without_records_says_which_events_it_needs(make: Make) -> None:
    found = make([BUILT, DIRECT]).island
    assert found["timeline"] is not None
    assert [name for name in found["needed"] if found[name] is None] == [
        "calls",
        "frames",
        "tables",
        "events",
    ]
    assert "page" in found["needed"]["frames"].split(",")


def test_frames_have_their_changes_in_order() -> None:
    told = [
        page(5, "type", 7, "none", "l1_page_table"),
        page(6, "pinned", 7, "l1_page_table", "l1_page_table"),
        page(9, "type", 8, "none", "writable_page", owner=2),
    ]
    found = island(told)["frames"]
    assert (found["base"], found["at"]) == ("5", [0, 1, 4])
    assert (found["mfn"], found["owner"], found["pinned"]) == ([7, 7, 8], [1, 1, 2], [0, 1, 0])
    assert [found["types"][kind] for kind in found["type"]] == ["l1_page_table"] * 2 + ["writable_page"]


def test_more_changes_than_there_is_room_for_become_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_CHANGES", 40)
    monkeypatch.setattr(frames, "MOST_FRAMES", 4)
    told = [page(time * 10, "type", time % 5, "none", f"type_{time % 3}") for time in range(1000)]
    found = island(told)["frames"]
    assert len(found["at"]) <= 40
    assert found["step"] > 10
    assert (found["count"], found["left_out"]) == (1000, 200)
    last = dict(zip(found["mfn"], (found["types"][kind] for kind in found["type"]), strict=True))
    assert last == {0: "type_2", 1: "type_0", 2: "type_1", 3: "type_2"}


def test_records_beyond_the_limit_are_counted_in_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_RECORDS", 100)
    monkeypatch.setattr(timeline, "MOST_BINS", 16)
    told = [replace(DIRECT, time=1000 + 7 * n, end=1000 + 7 * n) for n in range(500)]
    found = island(told)["timeline"]
    assert (len(found["at"]), found["left_out"]) == (100, 400)
    counts = sum(count for *_, count in found["bins"]["rows"])
    assert 400 <= counts < 400 + found["bins"]["width"]
    assert len(found["bins"]["rows"]) <= 16
    assert found["bins"]["from"] <= 700 < found["bins"]["from"] + found["bins"]["width"]


def test_vcpus_beyond_the_limit_share_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_LANES", 3)
    found = island([replace(DIRECT, domid=domid) for domid in range(9)])["timeline"]
    assert found["lanes"] == ["d0v0", "d1v0", "others"]
    assert sorted(found["lane"]) == [0, 1] + [2] * 7


def test_page_tables_are_a_tree_with_their_refusals() -> None:
    """Two validated below a third one, one linked by mmu_update and one unlinked; two refusals."""

    def update(time: int, pointer: int, value: int, **more: Any) -> Entry:
        items = {"pointer": 0, "items": [{"ptr": pointer, "val": value}], "count": 1}
        return replace(
            UPDATE,
            time=time,
            end=time,
            data={"number": 1, "arguments": {"ureqs": items}, "result": 0, **more},
        )

    def refusal(sentence: str) -> Entry:
        return replace(REFUSED, data={"errno": "EBUSY", "sentence": sentence})

    one, two = "l1_page_table", "l2_page_table"
    told = [
        page(0, "type", 0x20, "none", two),
        page(0, "validated", 0x11, one, one),
        page(0, "validated", 0x12, one, one),
        page(0, "validated", 0x20, two, two),
        page(0, "pinned", 0x20, two, two),
        page(1, "validated", 0x13, one, one),
        update(1, 0x20010, 0x13067),
        update(2, 0x20010, 0, errno="EBUSY", sentence="request 0 (ptr=0x20010 val=0x0): it is so"),
        refusal("request 0 (ptr=0x20010 val=0x0): it is so"),
        page(3, "devalidated", 0x12, one, one),
        page(4, "refused", 0x14, one, "none"),
        refusal("there is no domain 77"),
        page(5, "validated", 0x15, one, one),
        page(5, "pinned", 0x15, one, one),
        update(6, 0x20018, 0x15066),
    ]
    found = island(told)["tables"]
    tables = {table["mfn"]: table for table in found["tables"]}
    assert tables[0x20]["below"] == [0x11, 0x13]
    assert tables[0x20]["pinned"]
    assert tables[0x20]["sentences"] == [("mmu_update: -EBUSY: request 0 (ptr=0x20010 val=0x0): it is so", 1)]
    assert (tables[0x14]["live"], tables[0x14]["refused"]) == (False, 1)
    assert found["others"] == [("mmu_update: -EBUSY: there is no domain 77", 1)]
    assert found["live"] == 4


def test_what_a_guest_says_makes_no_markup(make: Make) -> None:
    place = Place(0xC0001000, HOSTILE, 0, HOSTILE, 3)
    data = {"errno": HOSTILE, "sentence": HOSTILE, "number": HOSTILE, "virq": HOSTILE, "result": HOSTILE}
    table = {"mfn": 1, "owner": 1, "before": "none", "after": HOSTILE, "uses": 1}
    told = [
        replace(entry, name=HOSTILE if entry.kind != "event" else entry.name, place=place, data=data)
        for entry in ENTRIES
    ]
    told += [
        replace(BUILT, data={"domain_name": HOSTILE}),
        Entry(0, 0, 1, 0, HOSTILE, HOSTILE, place, {HOSTILE: [{HOSTILE: HOSTILE}]}),
        replace(page(0, "type", 1, "none", "none"), data=table),
        replace(SEND, name="virq", data={"virq": HOSTILE}),
    ]
    found, usual = make(told), make()
    assert found.elements == usual.elements
    assert found.island["trace"]["domains"][0][1].startswith("</script><script>hacked=1</script>")
    texts = str(found.island)
    assert "\u202e" not in texts
    assert "\u2028" not in texts


@pytest.mark.parametrize("value", [None, -1, 1 << 70, 1.5, "1", [], {}, [[1]], {"items": 3}, True])
def test_entries_that_are_like_no_record_are_borne(make: Make, value: object) -> None:
    names = {name for entry in ENTRIES for name in entry.data} | {"mfn", "owner", "uses", "before", "after"}
    told = [replace(entry, data=dict.fromkeys(names, value)) for entry in ENTRIES]
    frame = page(0, "type", 1, "none", "l1_page_table")
    told += [
        replace(frame, name=name, data=frame.data | {field: value})
        for name in ("type", "validated", "refused")
        for field in frame.data
    ]
    assert make(told).island["trace"]["count"] == len(told)


def test_a_script_runs_only_as_it_was_written(make: Make) -> None:
    policy = make().policy
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert "unsafe" not in policy


def test_only_files_below_what_was_named_are_shown(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.S"
    inside.mkdir()
    outside.write_text("secret\n")
    (inside / "kernel.S").write_text("one\ntwo\n")
    (inside / "link.S").symlink_to(outside)
    sources = Sources([inside])
    for name in (str(inside / "kernel.S"), "kernel.S", "/elsewhere/kernel.S"):
        assert sources.lines(name)[:2] == ["one", "two"]
    for name in (
        str(outside),
        "../outside.S",
        "link.S",
        "outside.S",
        "",
        ".",
        "\0",
        "\ud800.S",
        "/etc/passwd",
    ):
        assert sources.lines(name) == []
    assert Sources((), [outside]).lines("outside.S")[0] == "secret"


def test_lines_around_a_place_are_in_the_page(make: Make, tmp_path: Path) -> None:
    (tmp_path / "kernel.S").write_text("".join(f"line {number}\n" for number in range(1, 40)))
    (found, *_) = make(ENTRIES, "--sources", str(tmp_path)).island["source"]["files"]
    assert found["text"] == [[number, f"line {number}"] for number in range(9, 16)]


@pytest.mark.slow
def test_an_image_names_what_the_trace_has_as_addresses(make: Make, tmp_path: Path) -> None:
    """A hypercall's is where it returns to. Lines of what the image was built from are shown."""
    source = tmp_path / "named.S"
    source.write_text('.include "runtime.inc"\nXEN_NOTES named\n.text\nmain:\n\tnop\n\tret\n')
    address = load_image(asm.build((source,))).symbols.address_of("main")
    assert address is not None
    beyond = Place(1 << 40)
    told = [
        replace(DIRECT, place=Place(address)),
        replace(UPDATE, place=Place(address + 1)),
        replace(DIRECT, place=beyond),
    ]
    named, other = make(told, "--image", str(source)).island["source"]["files"]
    assert named["file"] == source.name
    assert named["places"] == [[5, "main", 1, 1, [["int 0x80", 1], ["mmu_update", 1]]]]
    assert [5, "        nop"] in named["text"]
    assert other["places"] == [[0, str(beyond), 0, 1, [["int 0x80", 1]]]]


def test_only_what_is_wanted_is_in_the_page(make: Make) -> None:
    found = make(ENTRIES, "--events", "trap:PF").island
    assert found["trace"]["kinds"] == [["trap", 1]]


def test_an_end_that_is_cut_off_is_told(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cut off" in make(tail=b'{"time":').island["trace"]["note"]
    assert "cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is no record in it, or none that is wanted"),
        (b'{"trace":1}\n', "there is no record in it, or none that is wanted"),
        (b'{"trace":1}\n{"time":"x"}\n', "line 2 is damaged"),
        (b"[    0.0] d1 domain built\n", "it is text"),
        (b"\x7fELF\0\0\0\0", "it is in none of the formats"),
    ],
)
def test_a_trace_that_is_none_is_one_sentence_and_leaves_the_page_as_it_was(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, target = tmp_path / "run.jsonl", tmp_path / "run.html"
    trace.write_bytes(content)
    target.write_text("before")
    assert main(["report", str(trace), "-o", str(target)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert target.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["run.html", "run.jsonl"]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ((), 2, "say with -o where the page goes"),
        (("-o", "run.jsonl"), 2, "would overwrite run.jsonl"),
        (("-o", "nowhere/run.html"), 2, "there is no folder"),
        (("-o", "folder"), 2, "folder is a folder"),
        (("-o", "a.html", "--sources", "run.jsonl"), 2, "--sources run.jsonl is no folder"),
        (("-o", "a.html", "--image", "nothing"), 2, "nothing is neither a file nor a guest kernel"),
        (("-o", "a.html", "--image", "run.jsonl"), 5, "run.jsonl"),
        (("-o", "a.html", "--events", "trapp"), 2, "'trapp' is no kind of event"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    options: tuple[str, ...],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "run.jsonl")
    (tmp_path / "folder").mkdir()
    assert main(["report", "run.jsonl", *options]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(os.listdir(tmp_path)) == ["folder", "run.jsonl"]


def test_a_page_goes_to_stdout(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["report", str(saved(tmp_path / "run")), "-o", "-"]) == 0
    assert Page(capfdbinary.readouterr().out).island["trace"]["name"] == "run"
