"""One machine's stream of records: whoever has something to tell writes, whoever wants to know subscribes.

Nobody subscribed to a kind means nobody pays for it: sources ask `wants` before they build a record, or are
set up by `watch` only while somebody wants theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from paravane.trace.records import Kind, Record

if TYPE_CHECKING:
    from paravane.place import Place

Subscriber = Callable[[Record], None]


class Selection(Protocol):
    """Which records somebody wants: see `paravane.trace.filters`."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """The only kinds among them."""
        ...

    @property
    def whole(self) -> bool:
        """Whether all records of these kinds are wanted."""
        ...

    def takes(self, record: Record) -> bool: ...


class Scene(Protocol):
    """The vcpu that has the processor."""

    @property
    def domid(self) -> int: ...
    @property
    def vcpu_id(self) -> int: ...
    def place(self) -> Place:
        """Where its guest is: of a hypercall where it was called."""
        ...

    def stop(self) -> None:
        """Leave the guest after the trap being served."""
        ...


Who = tuple[int, int | None, "Place | None"]


class Trace:
    """One machine's trace stream.

    `hypercalls` is `wants(Kind.HYPERCALL)`, for the hottest path. `scene` is the vcpu whose guest executes
    (None: no guest does), set by whoever runs it.
    """

    def __init__(self) -> None:
        self._subscriptions: list[tuple[frozenset[Kind], Subscriber]] = []
        self._by_kind: dict[Kind, tuple[Subscriber, ...]] = {}
        self._watchers: list[Callable[[], None]] = []
        self.hypercalls = False
        self.scene: Scene | None = None
        self._failure: Exception | None = None

    def subscribe(
        self,
        subscriber: Subscriber,
        wanted: Iterable[Kind] | Selection = tuple(Kind),
        *,
        first: bool = False,
    ) -> Callable[[], None]:
        """Call `subscriber` with every later record that is wanted (some kinds, or what a filter takes), in
        the order in which they are complete. Calling the result ends that.

        `first`: before those who have subscribed already, to write what others are to read before the record.
        """
        entry = _subscription(subscriber, wanted)
        self._subscriptions.insert(0 if first else len(self._subscriptions), entry)
        self._changed()

        def unsubscribe() -> None:
            if entry in self._subscriptions:
                self._subscriptions.remove(entry)
                self._changed()

        return unsubscribe

    def wants(self, kind: Kind) -> bool:
        """Whether anybody reads records of `kind`; build none that nobody reads."""
        return kind in self._by_kind

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` now and whenever `wants` may answer differently. Calling the result ends that.

        For sources that have to be set up before they can tell anything.
        """
        self._watchers.append(changed)
        changed()
        return lambda: self._watchers.remove(changed)

    def write(self, record: Record) -> None:
        """Give the record to whoever wants it. What they raise comes out of `raise_failure`: sources are in
        the middle of something that has to be done whole."""
        # A tuple that changes replace: a subscriber may end its own subscription, or another's.
        for subscriber in self._by_kind.get(record.kind, ()):
            try:
                subscriber(record)
            except Exception as error:
                self._fail(error)

    def raise_failure(self) -> None:
        """Raise what a subscriber has raised since the last time: the first of several. To be called where
        nothing is half done."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def here(self, domid: int) -> Who:
        """Domain, vcpu and place of something that happens in the name of domain `domid`: those of the vcpu
        that has the processor, if it is one of that domain's."""
        scene = self.scene
        if scene is None or scene.domid != domid:
            return domid, None, None
        return domid, scene.vcpu_id, scene.place()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        if self.scene is not None:
            self.scene.stop()

    def _changed(self) -> None:
        wanted = frozenset[Kind]().union(*(kinds for kinds, _ in self._subscriptions))
        self._by_kind = {
            kind: tuple(subscriber for kinds, subscriber in self._subscriptions if kind in kinds)
            for kind in Kind
            if kind in wanted
        }
        self.hypercalls = Kind.HYPERCALL in wanted
        for changed in tuple(self._watchers):
            changed()


def _subscription(
    subscriber: Subscriber, wanted: Iterable[Kind] | Selection
) -> tuple[frozenset[Kind], Subscriber]:
    if isinstance(wanted, Iterable):
        return frozenset(wanted), subscriber
    if wanted.whole:
        return wanted.kinds, subscriber

    def chosen(record: Record) -> None:
        if wanted.takes(record):
            subscriber(record)

    return wanted.kinds, chosen
