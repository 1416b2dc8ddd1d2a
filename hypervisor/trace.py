"""The trace: records of what guests asked and what came of it, one stream with many writers.

Records are data: numbers, decoded values, errnos, places. What they look like as text, or in a file, is a
writer's business (`paravane.trace_text` is one). Whoever has something to tell builds a record and hands it
to `Trace.write`; whoever wants records subscribes with the kinds of interest, at any time. Nobody subscribed
to a kind means nobody pays for it: callers ask `wants` before they build a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from paravane.abi.errno import Errno
    from paravane.abi.layout import Layout
    from paravane.abi.parameters import Parameter
    from paravane.abi.sched import ShutdownReason
    from paravane.place import Place


class Kind(Enum):
    """What a record is about; the values are the names `--trace-events` takes."""

    HYPERCALL = "hypercall"
    EXCEPTION = "exception"
    EVENT = "event"
    REFUSAL = "refusal"
    DOMAIN = "domain"


@dataclass(frozen=True, slots=True)
class Record:
    """Common head of every record. `time` is nanoseconds of system time, `vcpu` is None for domain-wide."""

    kind: ClassVar[Kind]
    time: int
    domid: int
    vcpu: int | None


class Argument(NamedTuple):
    """One argument of a hypercall: its name and kind, the register `word`, and the value decoded from it.

    The value is a number, a struct (None where it cannot be read), or of an array the first structs.
    """

    name: str
    kind: Parameter
    word: int
    value: Any


class Written(NamedTuple):
    """A struct that a hypercall has put into guest memory."""

    layout: Layout[Any]
    value: Any


@dataclass(frozen=True, slots=True)
class HypercallRecord(Record):
    """A hypercall and its answer.

    `name` is that of its declaration, `mmuext_op` or `sched_op.poll`, and empty for a number that has none.
    `words` are the six argument registers, EBX to EBP; `arguments` are as many as the declaration has.
    `result` is what went into EAX, signed; None where the call set the registers itself or goes on later.
    `errno` and `sentence` say why it was refused, `preempted` how many items were done before it was
    interrupted, to go on later, `written` what it has put into guest memory on success.
    `place` is where the guest called: the instruction after its `int $0x82` or, through its hypercall page,
    after its call.
    """

    kind: ClassVar[Kind] = Kind.HYPERCALL
    place: Place
    number: int
    name: str
    words: tuple[int, ...]
    arguments: tuple[Argument, ...]
    result: int | None
    errno: Errno | None = None
    sentence: str = ""
    preempted: int | None = None
    written: Written | None = None


@dataclass(frozen=True, slots=True)
class ExceptionRecord(Record):
    """A fault, trap or `int n` and what the hypervisor did with it.

    `name` is `#PF` for exceptions and `int 0x80` for the rest; `cr2` is the address of a page fault.
    `outcome` is a word (`bounced`, `emulated`, ...), `handler` the selector and offset of the guest's
    handler if it was entered.
    """

    kind: ClassVar[Kind] = Kind.EXCEPTION
    place: Place
    cpl: int
    vector: int
    name: str
    error_code: int | None
    cr2: int | None
    outcome: str
    handler: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class EventRecord(Record):
    """A vcpu entered its event upcall; `ports` are pending and not masked then."""

    kind: ClassVar[Kind] = Kind.EVENT
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RefusalRecord(Record):
    """A request refused: what was asked, the errno the guest got and the sentence that explains it."""

    kind: ClassVar[Kind] = Kind.REFUSAL
    request: str
    errno: Errno
    sentence: str


class DomainEvent(Enum):
    """What happened to a domain."""

    BUILT = "built"
    ENDED = "shut down"
    CRASHED = "crashed"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class DomainRecord(Record):
    """A domain was built, ended or destroyed. `reason` is set when it ends, `sentence` when it crashed."""

    kind: ClassVar[Kind] = Kind.DOMAIN
    event: DomainEvent
    reason: ShutdownReason | None = None
    sentence: str = ""


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
