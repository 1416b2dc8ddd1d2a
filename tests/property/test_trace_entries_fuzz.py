"""Entries from a file may hold anything: they are shown in one line, written and filtered all the same."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from paravane.trace import Entry, Kind, records
from paravane.trace.entry import data_fields
from paravane.trace.filters import parse
from paravane.trace.jsonl import JsonLines
from paravane.trace.text import text

CASES: Final = 5_000
VALUES: Final[tuple[Any, ...]] = (
    *(None, 0, -1, 7, 1 << 70, True, 1.5),
    *("", "one", "x\x1b[31m\n", "\ud800"),
    *([], [1, [2]], {}, {"a": {"b": [1]}}, {"pointer": "x", "items": 3, "count": None}),
)
FIELDS: Final = sorted(
    {"number", "words", "arguments", "result", "errno", "sentence", "preempted", "written"}.union(
        *(
            data_fields(kind)
            for kind in vars(records).values()
            if isinstance(kind, type) and issubclass(kind, records.Record)
        )
    )
)
NAMES: Final = ("", "send", "upcall", "virq", "armed", "WATCH_EVENT", "in", "x\n")
FILTERS: Final = (
    parse("all"),
    parse("domain:1,vcpu:0"),
    parse(
        "hypercall:1,hypercall:sched_op,refusal:EINVAL,refusal:memory_op,trap:14,event:3,timer:tick,"
        "schedule:in,page:3,page:type,grant:3,ring:store,store:/,store:read,console:in"
    ),
)


def test_an_entry_that_holds_anything_is_one_line_and_nothing_else() -> None:
    random_ = random.Random(8)
    kinds = [*(kind.value for kind in Kind), "weather\x07"]
    for _ in range(CASES):
        data = {name: random_.choice(VALUES) for name in random_.sample(FIELDS, random_.randrange(12))}
        time, vcpu = random_.randrange(1 << 60), random_.choice((None, 0, 3))
        kind, name = random_.choice(kinds), random_.choice(NAMES)
        entry = Entry(time, time, random_.randrange(5), vcpu, kind, name, None, data)
        line = text(entry)
        assert line.isprintable(), data
        assert text(entry, colour=True).replace("\x1b", "").isprintable(), data
        assert json.loads(JsonLines().entry(entry)) == entry.to_json()
        assert all(isinstance(chosen.takes(entry), bool) for chosen in FILTERS)
