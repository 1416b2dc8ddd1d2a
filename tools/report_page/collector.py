"""All that a page shows of a trace, collected in one pass and in bounded memory, whatever the trace holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from paravane.tools.report_page.calls import Calls
from paravane.tools.report_page.events import Events
from paravane.tools.report_page.frames import Frames
from paravane.tools.report_page.places import Places
from paravane.tools.report_page.tables import Tables
from paravane.tools.report_page.timeline import Timeline
from paravane.tools.report_page.values import OTHERS, counted, fit, text_of
from paravane.trace.kinds import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.place import Place
    from paravane.tools.report_page.places import Lines
    from paravane.trace import Entry, Header

MOST_DOMAINS: Final = 500
"""Domains whose names are told."""

NEEDED: Final = {
    "timeline": "hypercall,trap,event",
    "calls": "hypercall,refusal",
    "frames": f"{DEFAULT},page",
    "tables": f"{DEFAULT},page",
    "events": "event",
    "source": "hypercall,trap",
}
"""What `--trace-events` has to name for a section."""


class Report:
    """Takes entries, in their order. `resolve` names places that the trace does not."""

    def __init__(self, resolve: Callable[[Entry], Place | None] = lambda entry: entry.place) -> None:
        self.count = 0
        self._first: int | None = None
        self._last = 0
        self._kinds: Counter[str] = Counter()
        self._names: dict[int, str] = {}
        self._resolve = resolve
        self._timeline, self._calls, self._frames = Timeline(), Calls(), Frames()
        self._tables, self._events, self._places = Tables(), Events(), Places()

    def add(self, entry: Entry) -> None:
        self.count += 1
        self._first = entry.time if self._first is None else min(self._first, entry.time)
        self._last = max(self._last, entry.end)
        counted(self._kinds, fit(entry.kind), 64, OTHERS)
        place = self._resolve(entry)
        if place is not entry.place:
            entry = replace(entry, place=place)
        if entry.kind == "domain" and (entry.domid in self._names or len(self._names) < MOST_DOMAINS):
            self._names[entry.domid] = text_of(entry.data, "domain_name")
        for part in (
            self._timeline,
            self._calls,
            self._frames,
            self._tables,
            self._events,
            self._places,
        ):
            part.add(entry)

    def island(self, name: str, header: Header, note: str, sources: Lines) -> dict[str, Any]:
        """The data of the page: of a section without any records None. `name` is the trace's, `note` says
        what its end lacks."""
        first = self._first or 0
        return {
            "trace": {
                "name": fit(name),
                "producer": fit(header.producer),
                "clock": fit(header.clock),
                "gateway_off": header.gateway_off,
                "note": fit(note),
                "count": self.count,
                "first": str(first),
                "span": self._last - first,
                "kinds": self._kinds.most_common(),
                "domains": sorted(self._names.items()),
            },
            "needed": NEEDED,
            "timeline": self._timeline.island(),
            "calls": self._calls.island(),
            "frames": self._frames.island(),
            "tables": self._tables.island(),
            "events": self._events.island(),
            "source": self._places.island(sources),
        }
