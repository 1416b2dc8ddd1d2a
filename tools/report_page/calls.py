"""The table of hypercalls, and the reasons for which requests were refused."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from paravane.classes import dataclass
from paravane.tools.report_page.values import OTHERS, counted, fit, number_of, text_of

if TYPE_CHECKING:
    from paravane.trace import Entry

MOST_CALLS: Final = 1024
"""Names of hypercalls that have a row."""
MOST_RESULTS: Final = 12
"""Different results of a hypercall that are told apart."""
MOST_REASONS: Final = 500
"""Reasons that are told apart."""

_NUMBER: Final = re.compile(r"\b0x[0-9a-f]+\b|\b\d+\b")


@dataclass(slots=True)
class _Call:
    """Times are in nanoseconds."""

    count: int = 0
    refused: int = 0
    preempted: int = 0
    total: int = 0
    longest: int = 0
    results: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Reason:
    """Requests that were refused with sentences that differ in numbers only; `example` is the first."""

    example: str
    where: str
    count: int = 0


Reasons = dict[tuple[str, str, str], _Reason]


class Calls:
    """Counts hypercalls while entries come."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._refusals: Reasons = {}
        self._errors: Reasons = {}

    def add(self, entry: Entry) -> None:
        if entry.kind == "refusal":
            self._reason(self._refusals, entry, entry.name)
        if entry.kind != "hypercall":
            return
        name = fit(entry.name) or f"hypercall {number_of(entry.data, 'number')}"
        if name not in self._calls and len(self._calls) >= MOST_CALLS:
            name = OTHERS
        call, took = self._calls.setdefault(name, _Call()), entry.end - entry.time
        call.count += 1
        call.total += took
        call.longest = max(call.longest, took)
        call.refused += "errno" in entry.data
        call.preempted += "preempted" in entry.data
        counted(call.results, _result(entry), MOST_RESULTS, OTHERS)
        if "errno" in entry.data:
            self._reason(self._errors, entry, name)

    def _reason(self, reasons: Reasons, entry: Entry, name: str) -> None:
        sentence, errno = text_of(entry.data, "sentence"), text_of(entry.data, "errno")
        key = fit(name), errno, _NUMBER.sub("#", sentence)
        found = reasons.get(key)
        if found is None:
            if len(reasons) >= MOST_REASONS:
                key = "", "", OTHERS
                found = reasons.setdefault(key, _Reason(OTHERS, ""))
            else:
                where = fit(str(entry.place)) if entry.place is not None else ""
                found = reasons[key] = _Reason(sentence, where)
        found.count += 1

    def island(self) -> dict[str, Any] | None:
        """What the page is told; None if there was nothing of it."""
        # A hypercall that was refused has a record of its refusal beside it, unless those were not traced.
        reasons = self._refusals or self._errors
        if not self._calls and not reasons:
            return None
        calls = sorted(self._calls.items(), key=lambda item: (-item[1].count, item[0]))
        told = sorted(reasons.items(), key=lambda item: (-item[1].count, item[0]))
        return {
            "calls": [
                {
                    "name": name,
                    "count": call.count,
                    "refused": call.refused,
                    "preempted": call.preempted,
                    "total": call.total,
                    "longest": call.longest,
                    "results": call.results.most_common(),
                }
                for name, call in calls
            ],
            "reasons": [
                {
                    "asked": name,
                    "errno": errno,
                    "sentence": reason.example,
                    "count": reason.count,
                    "where": reason.where,
                }
                for (name, errno, _), reason in told
            ],
        }


def _result(entry: Entry) -> str:
    if "errno" in entry.data:
        return f"-{text_of(entry.data, 'errno')}"
    if "preempted" in entry.data:
        return "preempted"
    result = number_of(entry.data, "result")
    if result is None:
        return "unknown"
    return str(result) if -4096 < result < 65536 else hex(result & 0xFFFFFFFF)
