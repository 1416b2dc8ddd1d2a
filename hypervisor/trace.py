"""The trace: typed records of what guests asked and what came of it, one stream with many writers.

A room that has something to tell builds a record and hands it to `Trace.write`; whoever wants the records
subscribes with the kinds of interest. Nobody subscribed to a kind means nobody pays for it: callers ask
`wants` before they build a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


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

    def body(self) -> str:
        raise TypeError(f"{type(self).__name__} has no text form")

    def line(self) -> str:
        """The record as one line: `[seconds.nanoseconds] d1v0 kind body`."""
        who = f"d{self.domid}" if self.vcpu is None else f"d{self.domid}v{self.vcpu}"
        seconds, nanoseconds = divmod(self.time, 1_000_000_000)
        return f"[{seconds:5d}.{nanoseconds:09d}] {who} {self.kind.value} {self.body()}"


@dataclass(frozen=True, slots=True)
class HypercallRecord(Record):
    """A hypercall: `call` with decoded arguments, `result` as a signed number where EAX holds one."""

    kind: ClassVar[Kind] = Kind.HYPERCALL
    eip: int
    call: str
    result: str

    def body(self) -> str:
        return f"{self.call} = {self.result} @{self.eip:#010x}"


@dataclass(frozen=True, slots=True)
class ExceptionRecord(Record):
    """A fault, trap or `int n` and what the hypervisor did with it."""

    kind: ClassVar[Kind] = Kind.EXCEPTION
    eip: int
    cpl: int
    name: str
    error_code: int | None
    cr2: int | None
    outcome: str

    def body(self) -> str:
        detail = "" if self.error_code is None else f" error={self.error_code:#x}"
        if self.cr2 is not None:
            detail += f" cr2={self.cr2:#010x}"
        return f"{self.name}{detail} ring={self.cpl} @{self.eip:#010x} -> {self.outcome}"


@dataclass(frozen=True, slots=True)
class EventRecord(Record):
    """An event channel at work: a port became pending, or a vcpu entered its upcall."""

    kind: ClassVar[Kind] = Kind.EVENT
    action: str

    def body(self) -> str:
        return self.action


@dataclass(frozen=True, slots=True)
class RefusalRecord(Record):
    """A request refused: who asked what, the errno the guest got and the sentence that explains it."""

    kind: ClassVar[Kind] = Kind.REFUSAL
    request: str
    errno: str
    sentence: str

    def body(self) -> str:
        return f"{self.request} -> -{self.errno}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class DomainRecord(Record):
    """A domain was built, shut down, crashed or destroyed."""

    kind: ClassVar[Kind] = Kind.DOMAIN
    action: str

    def body(self) -> str:
        return self.action


Writer = Callable[[Record], None]


class Trace:
    """One machine's trace stream. `hypercalls` is `wants(Kind.HYPERCALL)`, for the hottest path."""

    def __init__(self) -> None:
        self._writers: list[tuple[frozenset[Kind], Writer]] = []
        self._wanted: frozenset[Kind] = frozenset()
        self.hypercalls = False

    def subscribe(self, writer: Writer, kinds: Iterable[Kind] = tuple(Kind)) -> None:
        """Call `writer` with every later record of `kinds`, in the order they happen."""
        self._writers.append((frozenset(kinds), writer))
        self._wanted = frozenset().union(*(wanted for wanted, _ in self._writers))
        self.hypercalls = Kind.HYPERCALL in self._wanted

    def wants(self, kind: Kind) -> bool:
        """Whether anybody reads records of `kind`; build none that nobody reads."""
        return kind in self._wanted

    def write(self, record: Record) -> None:
        for kinds, writer in self._writers:
            if record.kind in kinds:
                writer(record)
