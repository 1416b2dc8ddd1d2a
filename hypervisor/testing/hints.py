"""What a kernel's author says to who fails its test, by what the run shows: refusals, a dump, the console."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paravane.trace import RefusalRecord
from paravane.trace.text import body

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paravane.boot_result import BootResult


def hint(hints: Mapping[str, str], evidence: Sequence[str], fallback: str = "") -> str:
    """The first of `hints` whose pattern is found in a line of `evidence`, with that line below it; else
    `fallback`. Empty without any hints: then nobody asked for one."""
    for pattern, sentence in hints.items():
        for line in evidence:
            if re.search(pattern, line):
                return f"{sentence}\n(because of: {line.strip()})"
    return fallback if hints else ""


def hint_of_run(hints: Mapping[str, str], result: BootResult, stories: Sequence[str], last: int) -> str:
    """The hint for a run that went wrong: `stories` say in what, `last` is how much of the end of its trace
    may speak for one."""
    refusals = [body(record) for record in result.records if isinstance(record, RefusalRecord)]
    evidence = (*result.crash_report.splitlines(), *refusals, *_lines(stories))
    dump = result.crash_report.partition("\n")[0]
    fallback = dump or (refusals[-1] if refusals else "")
    return hint(hints, (*evidence, *result.trace_lines(last)), fallback)


def _lines(stories: Sequence[str]) -> Iterator[str]:
    for story in stories:
        yield from story.splitlines()
