"""The typed records of a trace: numbers, decoded values, errnos, places, and no text but sentences."""

from __future__ import annotations

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

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """What happened: the hypercall, `#PF`, `upcall`, `built`. A field or a property of each class."""
            raise NotImplementedError


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

    @property
    def name(self) -> str:
        return "upcall"


@dataclass(frozen=True, slots=True)
class RefusalRecord(Record):
    """A request refused: what was asked, the errno the guest got and the sentence that explains it."""

    kind: ClassVar[Kind] = Kind.REFUSAL
    request: str
    errno: Errno
    sentence: str

    @property
    def name(self) -> str:
        return self.request


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

    @property
    def name(self) -> str:
        return self.event.value
