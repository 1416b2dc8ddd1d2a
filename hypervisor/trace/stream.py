"""One machine's stream of records: whoever has something to tell writes, whoever wants to know subscribes.

Nobody subscribed to a kind means nobody pays for it: sources ask `wants` before they build a record, or are
set up by `watch` only while somebody wants theirs.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from paravane.classes import NamedTuple, dataclass
from paravane.trace.kinds import Kind

if TYPE_CHECKING:
    from paravane.place import Place
    from paravane.trace.records import Record

Subscriber = Callable[["Record"], None]


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

    def has_all(self, kind: Kind) -> bool:
        """Whether all records of one kind are wanted."""
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


class Origin(Protocol):
    """A vcpu that makes hypercalls."""

    @property
    def domid(self) -> int: ...
    @property
    def vcpu_id(self) -> int: ...
    def place(self, address: int) -> Place:
        """Where its guest called, if it goes on at a linear address."""
        ...


class Tell(Protocol):
    """Takes a vcpu's hypercalls: those with a declaration that were neither refused nor preempted."""

    def __call__(
        self,
        address: int,
        time: int,
        end: int,
        number: int,
        arguments: tuple[int, ...],
        used: int,
        result: int | None,
        /,
    ) -> None:
        """The guest goes on at `address`; `used` of the six `arguments` are the hypercall's own, with those
        that say which command it is. The rest is as in HypercallRecord."""
        ...


class CallTaker(Protocol):
    """Who takes hypercalls as numbers, in place of their records."""

    def caller(self, origin: Origin, /) -> Tell:
        """What takes those of one vcpu."""
        ...


Who = tuple[int, int | None, "Place | None"]


@dataclass(slots=True)
class Flows:
    """The flows that records of events name: how many were numbered, and which one made a port pending that
    no upcall has told of yet, by domain and port."""

    numbered: int = 0
    of_ports: dict[tuple[int, int], int] = field(default_factory=dict)


class _Subscription(NamedTuple):
    kinds: frozenset[Kind]
    subscriber: Subscriber
    calls: CallTaker | None


class Trace:
    """One machine's trace stream.

    `hypercalls` is `wants(Kind.HYPERCALL)`, for the hottest path; `calls` takes them as numbers, if nobody
    wants them otherwise (None: somebody does, or nobody takes them). `scene` is the vcpu whose guest executes
    (None: no guest does), set by whoever runs it.
    """

    def __init__(self) -> None:
        self._subscriptions: list[_Subscription] = []
        self._by_kind: dict[Kind, tuple[Subscriber, ...]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._muted = False
        self.hypercalls = False
        self.cell = array("q", (0,))
        """`hypercalls`, for native code."""
        self.calls: CallTaker | None = None
        self.scene: Scene | None = None
        self.flows = Flows()
        """Where a trace that goes on with a machine which was kept finds them."""
        self._failure: Exception | None = None

    @property
    def muted(self) -> bool:
        """Whether nobody is told of anything, though all records are made as ever: what happens now has been
        told before."""
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        if muted != self._muted:
            self._muted = muted
            self._changed()

    def subscribe(
        self,
        subscriber: Subscriber,
        wanted: Iterable[Kind] | Selection = tuple(Kind),
        *,
        first: bool = False,
        calls: CallTaker | None = None,
    ) -> Callable[[], None]:
        """Call `subscriber` with every later record that is wanted (some kinds, or what a filter takes), in
        the order in which they are complete. Calling the result ends that.

        `first`: before those who have subscribed already, to write what others are to read before the record.
        `calls` is told of hypercalls in its place as long as nobody else wants them, and all are wanted: for
        most of them no record needs to be made then.
        """
        entry = _subscription(subscriber, wanted, calls)
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
        if self._muted:
            return
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
        found = {kind: [one for one in self._subscriptions if kind in one.kinds] for kind in Kind}
        self._by_kind = {kind: tuple(one.subscriber for one in some) for kind, some in found.items() if some}
        callers = found[Kind.HYPERCALL]
        self.hypercalls = bool(callers)
        self.cell[0] = self.hypercalls
        self.calls = callers[0].calls if len(callers) == 1 and not self._muted else None
        for changed in tuple(self._watchers):
            changed()


def _subscription(
    subscriber: Subscriber, wanted: Iterable[Kind] | Selection, calls: CallTaker | None
) -> _Subscription:
    if isinstance(wanted, Iterable):
        return _Subscription(frozenset(wanted), subscriber, calls)
    if not wanted.has_all(Kind.HYPERCALL):
        calls = None
    if wanted.whole:
        return _Subscription(wanted.kinds, subscriber, calls)

    def chosen(record: Record) -> None:
        if wanted.takes(record):
            subscriber(record)

    return _Subscription(wanted.kinds, chosen, calls)
