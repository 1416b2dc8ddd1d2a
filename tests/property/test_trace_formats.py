"""Whatever an entry holds, every format writes it, and every verb of `paravane trace` copes with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paravane.place import Place
from paravane.tools.cli import main
from paravane.trace import Entry, Header, Kind
from paravane.trace.forms import FORMS
from paravane.trace.reader import TraceReader
from tests.unit.trace_entries import ENTRIES

if TYPE_CHECKING:
    from pathlib import Path

MORE = {"preempted", "deadline", "timer", "path", "text"}
FIELDS = sorted({key for entry in ENTRIES for key in entry.data} | MORE)
NAMES = sorted({entry.name for entry in ENTRIES} | {"virq", "armed", "release", "copy"})

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 1 << 33)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(["EINVAL", "direct", "emulated", "blocked", "bounced"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=3)
        | st.fixed_dictionaries({"pointer": inner, "items": inner, "count": inner})
    ),
    max_leaves=6,
)
texts, small = st.text(max_size=3), st.integers(0, 99)
places = st.builds(Place, st.integers(0, (1 << 32) - 1), texts, small, texts, small)
domids, vcpus = st.integers(0, (1 << 15) - 1), st.none() | st.integers(0, 40)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    time = draw(st.integers(0, 1 << 62))
    usual = draw(st.sampled_from(ENTRIES)).data
    data: dict[str, Any] = usual | draw(st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
    kind = draw(st.sampled_from([kind.value for kind in Kind]) | st.text(max_size=3))
    name = draw(st.sampled_from(NAMES) | st.text(max_size=3))
    place = draw(st.none() | places)
    end = time + draw(st.integers(0, 1 << 20))
    return Entry(time, end, draw(domids), draw(vcpus), kind, name, place, data)


@settings(deadline=None)
@given(st.lists(entries(), max_size=4))
def test_every_format_writes_it_and_what_is_read_can_be_written_again(written: list[Entry]) -> None:
    for name, form in FORMS.items():
        writer = form.writer()
        data = writer.begin(Header()) + b"".join(map(writer.entry, written)) + writer.end()
        if name == "text":
            assert data.count(b"\n") == len(written)
            continue
        reader = TraceReader()
        found = [*reader.feed(data), *reader.finish()]
        if name == "json":
            assert found == written
        for entry in found:
            assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry
        for other in FORMS.values():
            again = other.writer()
            again.begin(Header())
            for entry in found:
                again.entry(entry)


@pytest.mark.parametrize("verb", [["show"], ["summary"], ["diff", "{path}"], ["convert", "--to", "xentrace"]])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(written=st.lists(entries(), max_size=4))
def test_every_verb_does_something_with_it(
    verb: list[str], written: list[Entry], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "trace"
    path.write_text("".join(json.dumps(entry.to_json()) + "\n" for entry in written))
    assert main(["trace", str(path), *(word.format(path=path) for word in verb)]) == 0
    capfdbinary.readouterr()
