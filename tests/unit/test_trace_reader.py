"""Reading traces of whatever format: which one it is, and what is said where it is damaged."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import deque
from typing import TYPE_CHECKING

import pytest

from paravane.trace import Entry
from paravane.trace.decoder import TraceError
from paravane.trace.forms import FORMS
from paravane.trace.jsonl_reader import JsonLinesDecoder
from paravane.trace.reader import TraceReader, read_trace
from paravane.trace.writer import Header
from tests.unit.trace_entries import BIND, BUILT, ENTRIES, body, read

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = Header("paravane 0.1", "virtual")
JSON = FORMS["json"].writer().begin(HEADER) + body(FORMS["json"].writer(), ENTRIES)
LINE = json.dumps(BIND.to_json()).encode() + b"\n"


@pytest.mark.parametrize("name", ["json", "perfetto"])
@pytest.mark.parametrize("piece", [1, 3, 1 << 16])
def test_every_format_is_told_by_its_content_and_loses_nothing(name: str, piece: int) -> None:
    writer, reader = FORMS[name].writer(), TraceReader()
    data = writer.begin(HEADER) + body(writer, ENTRIES) + writer.end()
    found = [entry for at in range(0, len(data), piece) for entry in reader.feed(data[at : at + piece])]
    assert [*found, *reader.finish()] == list(ENTRIES)
    assert reader.header == HEADER
    assert reader.note == ""


def test_xentrace_is_told_by_its_content() -> None:
    reader = TraceReader()
    found = list(read_trace(io.BytesIO(body(FORMS["xentrace"].writer(), ENTRIES)), reader))
    assert found[0].name == "built"
    assert reader.header == Header("xentrace", "host")


@pytest.mark.parametrize("length", range(4))
def test_an_empty_file_has_no_entries_and_a_very_short_one_is_no_trace(length: int) -> None:
    data = b"abc"[:length]
    if not data:
        assert list(read_trace(io.BytesIO(data))) == []
    else:
        with pytest.raises(TraceError, match="it is text: JSON lines, Perfetto's and xentrace's formats"):
            list(read_trace(io.BytesIO(data)))


def test_text_and_whatever_else_are_refused_with_what_can_be_read() -> None:
    text = body(FORMS["text"].writer(), ENTRIES)
    with pytest.raises(TraceError, match="it is text: JSON lines"):
        list(read_trace(io.BytesIO(text)))
    with pytest.raises(TraceError, match="in none of the formats of traces: JSON lines"):
        list(read_trace(io.BytesIO(b"\x7fELF\x01\x01")))


def test_lines_that_were_picked_out_of_a_file_are_a_trace_too() -> None:
    decoder = JsonLinesDecoder()
    assert read(decoder, b"\n" + LINE + LINE + b"  \n") == [BIND, BIND]
    assert read(JsonLinesDecoder(), JSON + JSON) == [*ENTRIES, *ENTRIES]


@pytest.mark.parametrize("end", range(1, len(LINE) - 1, 7))
def test_a_last_line_that_is_cut_off_is_left_out_with_a_note(end: int) -> None:
    decoder = JsonLinesDecoder()
    assert read(decoder, LINE + LINE[:end]) == [BIND]
    assert decoder.note == "line 2, the last one, is cut off and left out"


def test_a_last_line_without_its_end_that_is_whole_counts() -> None:
    decoder = JsonLinesDecoder()
    assert read(decoder, LINE + LINE[:-1]) == [BIND, BIND]
    assert decoder.note == ""


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"{", "line 2 is no JSON"),
        (b"\xff", "line 2 is no JSON"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "line 2 is damaged"),
        (b"[1]", "line 2 is damaged: this is no trace record"),
        (b'{"time": 1, "domain": 1, "kind": "event", "name": 3}', "line 2 is damaged: .* another type"),
        (b'{"time": -1, "domain": 1, "kind": "event", "name": "x"}', "line 2 is damaged: .* out of range"),
        (b'{"time": 5, "end": 4, "domain": 1, "kind": "event", "name": "x"}', "out of range"),
        (b'{"time": 1, "domain": 99999, "kind": "event", "name": "x"}', "out of range"),
        (b"[" * 100_000, "line 2 is damaged: it is nested too deeply"),
        (b"9" * 5000, "line 2 is damaged: it has a number of thousands of digits"),
        (b'{"trace": 2}', "line 2 is damaged: this is no trace, or one of another version"),
    ],
)
def test_a_damaged_line_is_named(line: bytes, sentence: str) -> None:
    decoder = JsonLinesDecoder()
    found = decoder.feed(LINE + line + b"\n" + LINE)
    assert next(found) == BIND
    with pytest.raises(TraceError, match=sentence):
        next(found)


def test_brackets_in_strings_are_no_nesting() -> None:
    entry = Entry(1, 1, 1, 0, "console", "out", None, {"text": '\\"[{' * 100})
    line = json.dumps(entry.to_json()).encode() + b"\n"
    assert read(JsonLinesDecoder(), line) == [entry]


def test_a_line_without_end_is_refused() -> None:
    def pieces() -> Iterator[bytes]:
        yield LINE
        while True:
            yield b" " * (1 << 20)

    decoder = JsonLinesDecoder()
    with pytest.raises(TraceError, match="line 2 is longer than 16 MiB"):
        deque((entry for piece in pieces() for entry in decoder.feed(piece)), maxlen=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["json", "perfetto", "xentrace"])
def test_memory_does_not_grow_with_the_file(name: str) -> None:
    writer, reader = FORMS[name].writer(), TraceReader()
    head = writer.begin(HEADER) + writer.entry(BUILT)
    list(reader.feed(head + writer.entry(BIND)))
    chunk = body(writer, ENTRIES[2:5]) * 50
    tracemalloc.start()
    try:
        for _ in reader.feed(chunk):
            pass
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            for _ in reader.feed(chunk):
                pass
        assert tracemalloc.get_traced_memory()[0] < first + len(chunk)
    finally:
        tracemalloc.stop()
