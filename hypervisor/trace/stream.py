"""One machine's stream of records: whoever has something to tell writes, whoever wants to know subscribes.

Nobody subscribed to a kind means nobody pays for it: sources ask `wants` before they build a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from paravane.trace.records import Kind, Record

Writer = Callable[[Record], None]


class Trace:
    """One machine's trace stream. `hypercalls` is `wants(Kind.HYPERCALL)`, for the hottest path."""

    def __init__(self) -> None:
        self._writers: list[tuple[frozenset[Kind], Writer]] = []
        self._watchers: list[Callable[[], None]] = []
        self._wanted: frozenset[Kind] = frozenset()
        self.hypercalls = False

    def subscribe(self, writer: Writer, kinds: Iterable[Kind] = tuple(Kind)) -> Callable[[], None]:
        """Call `writer` with every later record of `kinds`, in the order they happen. Calling the result
        ends that."""
        entry = (frozenset(kinds), writer)
        self._writers.append(entry)
        self._changed()

        def unsubscribe() -> None:
            if entry in self._writers:
                self._writers.remove(entry)
                self._changed()

        return unsubscribe

    def wants(self, kind: Kind) -> bool:
        """Whether anybody reads records of `kind`; build none that nobody reads."""
        return kind in self._wanted

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` now and whenever `wants` may answer differently. Calling the result ends that.

        For sources that have to be set up before they can tell anything.
        """
        self._watchers.append(changed)
        changed()
        return lambda: self._watchers.remove(changed)

    def write(self, record: Record) -> None:
        for kinds, writer in tuple(self._writers):
            if record.kind in kinds:
                writer(record)

    def _changed(self) -> None:
        self._wanted = frozenset().union(*(wanted for wanted, _ in self._writers))
        self.hypercalls = Kind.HYPERCALL in self._wanted
        for changed in tuple(self._watchers):
            changed()
