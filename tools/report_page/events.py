"""Who notifies whom: event channels between domains, and how long events were on their way."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from paravane.classes import dataclass
from paravane.tools.report_page.values import counted, number_of, numbers_of, text_of

if TYPE_CHECKING:
    from paravane.trace import Entry

MOST_CHANNELS: Final = 2048
"""Pairs of ports that are told apart; of the others their domains, up to as many again.
Also how many virtual interrupts and vcpus are."""
MOST_FLOWS: Final = 1 << 16
"""Events that are on their way at a time, and waited for."""

Channel = tuple[int, int, int, int]
"""Domain and port at either end; -1 is any."""


@dataclass(slots=True)
class _Sent:
    """Times are in nanoseconds, of those events that an upcall has told of."""

    count: int = 0
    joined: int = 0
    arrived: int = 0
    total: int = 0
    longest: int = 0


class Events:
    """Counts events while entries come."""

    def __init__(self) -> None:
        self._sent: dict[Channel, _Sent] = {}
        self._virqs: Counter[tuple[int, str]] = Counter()
        self._upcalls: Counter[tuple[int, int]] = Counter()
        self._flows: dict[int, tuple[Channel, int]] = {}

    def add(self, entry: Entry) -> None:
        if entry.kind != "event":
            return
        if entry.name == "send":
            self._send(entry)
        elif entry.name == "virq":
            counted(self._virqs, (entry.domid, text_of(entry.data, "virq")), MOST_CHANNELS, (-1, ""))
        elif entry.name == "upcall":
            vcpu = -1 if entry.vcpu is None else entry.vcpu
            counted(self._upcalls, (entry.domid, vcpu), MOST_CHANNELS, (-1, -1))
            for flow in numbers_of(entry.data, "flows"):
                self._arrive(flow, entry.time)

    def _send(self, entry: Entry) -> None:
        port, to, to_port = (number_of(entry.data, name) for name in ("port", "to_domid", "to_port"))
        if port is None or to is None or to_port is None:
            return
        channel = entry.domid, port, to, to_port
        if channel not in self._sent and len(self._sent) >= MOST_CHANNELS:
            channel = entry.domid, -1, to, -1
        if channel not in self._sent and len(self._sent) >= 2 * MOST_CHANNELS:
            channel = -1, -1, -1, -1
        sent = self._sent.setdefault(channel, _Sent())
        sent.count += 1
        flow = number_of(entry.data, "flow")
        if flow in self._flows:
            sent.joined += 1
        elif flow is not None:
            if len(self._flows) >= MOST_FLOWS:
                # The oldest: a guest that looks for events itself has no upcall for them.
                del self._flows[next(iter(self._flows))]
            self._flows[flow] = channel, entry.time

    def _arrive(self, flow: int, time: int) -> None:
        channel, begun = self._flows.pop(flow, (None, 0))
        if channel is not None:
            sent, took = self._sent[channel], max(time - begun, 0)
            sent.arrived += 1
            sent.total += took
            sent.longest = max(sent.longest, took)

    def island(self) -> dict[str, Any] | None:
        """What the page is told; None if there was nothing of it."""
        if not (self._sent or self._virqs or self._upcalls):
            return None
        sent = sorted(self._sent.items(), key=lambda item: (-item[1].count, item[0]))
        return {
            "channels": [
                {
                    "from": domid,
                    "port": port,
                    "to": to,
                    "to_port": to_port,
                    "count": found.count,
                    "joined": found.joined,
                    "arrived": found.arrived,
                    "total": found.total,
                    "longest": found.longest,
                }
                for (domid, port, to, to_port), found in sent
            ],
            "virqs": [(domid, name, count) for (domid, name), count in sorted(self._virqs.items())],
            "upcalls": [(domid, vcpu, count) for (domid, vcpu), count in sorted(self._upcalls.items())],
        }
