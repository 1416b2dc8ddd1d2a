"""The README of the trace names every kind and field there is, and no other; its example is an entry."""

from __future__ import annotations

import json
import re
from pathlib import Path

from paravane.trace import Entry, HypercallRecord, Kind, Record, records
from paravane.trace.entry import data_fields
from paravane.trace.filters import DEFAULT
from paravane.trace.jsonl import header_from_json
from paravane.trace.selectors import SELECTORS

README = Path(__file__).parents[2] / "hypervisor" / "trace" / "README.md"
HYPERCALL_FIELDS = {
    "number",
    "words",
    "arguments",
    "result",
    "errno",
    "sentence",
    "preempted",
    "written",
}


def rows(title: str) -> list[list[str]]:
    """The cells of the first table of a section, without its head."""
    section = README.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    table = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return table[2:]


def names(cell: str) -> set[str]:
    """Fields that a cell names: words in backquotes, outside parentheses, before any explanation."""
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", cell.partition(": ")[0])))


def classes() -> list[type[Record]]:
    found = [value for value in vars(records).values() if isinstance(value, type)]
    bases = (Record, records.EventRecord)
    return [kind for kind in found if issubclass(kind, Record) and kind not in bases]


def test_every_kind_and_its_data_are_in_the_table() -> None:
    told = [(row[0].strip("`"), names(row[2])) for row in rows("Kinds")]
    known = [
        (kind.kind.value, HYPERCALL_FIELDS if kind is HypercallRecord else set(data_fields(kind)))
        for kind in classes()
    ]
    assert {kind for kind, _ in told} == {kind.value for kind in Kind}
    assert sorted((kind, sorted(fields)) for kind, fields in told) == sorted(
        (kind, sorted(fields)) for kind, fields in known
    )


def test_every_kind_with_selectors_is_in_the_table_of_filters() -> None:
    told = [kind for row in rows("Filters") for kind in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(SELECTORS)
    assert f"it is `{DEFAULT}`" in README.read_text()


def test_the_lines_of_json_are_what_is_written() -> None:
    text = README.read_text()
    header = re.search(r'`(\{"trace".*?\})`', text)
    assert header is not None
    assert header_from_json(json.loads(header[1])).clock == "virtual"
    example = text.partition("```json\n")[2].partition("\n```")[0]
    entry = Entry.from_json(json.loads(example))
    assert json.dumps(entry.to_json(), separators=(",", ":")) == example
