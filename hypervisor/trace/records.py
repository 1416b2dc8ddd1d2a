"""The typed records of a trace: numbers, decoded values, errnos, places, and no text but sentences.

Records are not frozen, though nobody changes one: a frozen dataclass takes three times as long to make, and
one is made for every hypercall that is traced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from paravane.classes import dataclass
from paravane.trace.kinds import DomainEvent, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import Enum

    from paravane.abi.errno import Errno
    from paravane.abi.sched import ShutdownReason
    from paravane.place import Place
    from paravane.trace.call import Argument, Written


@dataclass(slots=True)
class Record:
    """Common head of every record.

    `time` is when it began, in nanoseconds of system time; a record that takes time has an `end` as well.
    `domid` and `vcpu` are whose it is (vcpu None: no vcpu's in particular), `place` where that vcpu's guest
    was (None: it was not executing).
    """

    kind: ClassVar[Kind]
    time: int
    domid: int
    vcpu: int | None
    place: Place | None

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """What happened: the hypercall, `#PF`, `upcall`, `built`. A field or a property of each class."""
            raise NotImplementedError


@dataclass(slots=True)
class HypercallRecord(Record):
    """A hypercall and its answer.

    `name` is that of its declaration, `mmuext_op` or `sched_op.poll`, and empty for a number that has none.
    `words` are the six argument registers, EBX to EBP; `arguments` are as many as the declaration has.
    `result` is what went into EAX, signed; None where the call set the registers itself or goes on later.
    `errno` and `sentence` say why it was refused, `preempted` how many items were done before it was
    interrupted, to go on later, `written` what it has put into guest memory on success.
    `place` is where the guest called: the instruction after its `int $0x82` or, through its hypercall page,
    after its call. `end` is when the guest goes on if nothing else is due.
    `copies` is what the pointers among `words` pointed to: from both the arguments were decoded. None where
    no declaration says how.
    """

    kind: ClassVar[Kind] = Kind.HYPERCALL
    place: Place
    number: int
    name: str
    words: tuple[int, ...]
    arguments: Sequence[Argument]
    result: int | None
    errno: Errno | None = None
    sentence: str = ""
    preempted: int | None = None
    written: Written | None = None
    end: int | None = None
    copies: tuple[bytes, ...] | None = None


@dataclass(slots=True)
class RefusalRecord(Record):
    """A request refused: what was asked, the errno the guest got and the sentence that explains it."""

    kind: ClassVar[Kind] = Kind.REFUSAL
    request: str
    errno: Errno
    sentence: str

    @property
    def name(self) -> str:
        return self.request


@dataclass(slots=True)
class TrapRecord(Record):
    """A fault, trap or `int n` and what the hypervisor did with it.

    `name` is `#PF` for exceptions and `int 0x80` for the rest; `cpl` is the ring it came from, `cr2` the
    address of a page fault. `outcome` is a word (`bounced`, `emulated`, `direct`, ...), `handler` the
    selector and offset of the guest's handler if it was entered.
    """

    kind: ClassVar[Kind] = Kind.TRAP
    place: Place
    cpl: int
    vector: int
    name: str
    error_code: int | None
    cr2: int | None
    outcome: str
    handler: tuple[int, int] | None
    end: int | None = None


@dataclass(slots=True)
class EventRecord(Record):
    """Something of event channels. A flow is an event on its way, numbered from 1 in each machine: the record
    that sets it off and the upcall that delivers it have the same number."""

    kind: ClassVar[Kind] = Kind.EVENT


@dataclass(slots=True)
class SendRecord(EventRecord):
    """The owner of the record sent an event through its `port`: it came out at `to_port` of `to_domid`.

    An event that finds its port pending already travels with the one that made it so, and has its `flow`;
    None for the host's ports, which are called at once.
    """

    port: int
    to_domid: int
    to_port: int
    flow: int | None

    @property
    def name(self) -> str:
        return "send"


@dataclass(slots=True)
class VirqRecord(EventRecord):
    """A virtual interrupt was raised and came out at the owner's `port`."""

    virq: Enum
    port: int
    flow: int | None

    @property
    def name(self) -> str:
        return "virq"


@dataclass(slots=True)
class UpcallRecord(EventRecord):
    """A vcpu entered its event upcall; `ports` are pending and not masked then, `flows` those of them that no
    upcall has told of yet. `place` is where it was interrupted."""

    ports: tuple[int, ...]
    flows: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return "upcall"


@dataclass(slots=True)
class TimerRecord(Record):
    """A timer was `armed` for `deadline` (system time), `disarmed`, or has `expired`. `timer` says what it is
    for: `single-shot`, `tick`, `poll`, `watchdog 1`."""

    kind: ClassVar[Kind] = Kind.TIMER
    name: str
    timer: str
    deadline: int


@dataclass(slots=True)
class ScheduleRecord(Record):
    """A vcpu got (`in`) or lost (`out`) the processor, or what it slept for has happened (`woken`); `why` it
    lost it: `slice over`, `preempted` by one that woke, `blocked`, `polling`, `yielded`, `down`, `ended`,
    `paused` by its administrator, `held` by a debugger."""

    kind: ClassVar[Kind] = Kind.SCHEDULE
    name: str
    why: str = ""


@dataclass(slots=True)
class PageRecord(Record):
    """A machine frame changed its type, `before` and `after` by Xen's names, with so many `uses` after it.

    `name` says how: `type`, `validated`, `refused`, `devalidated`, `pinned`, `unpinned`. `owner` is the
    domain whose frame it is.
    """

    kind: ClassVar[Kind] = Kind.PAGE
    name: str
    mfn: int
    owner: int
    before: str
    after: str
    uses: int


@dataclass(slots=True)
class GrantRecord(Record):
    """Domain `by` began (`map`, `copy`) or ended (`release`) a use of grant `ref` of the record's domain,
    which is machine frame `mfn`; or gave it that frame by this grant (`transfer`)."""

    kind: ClassVar[Kind] = Kind.GRANT
    name: str
    ref: int
    by: int
    mfn: int
    writable: bool


@dataclass(slots=True)
class RingRecord(Record):
    """A backend took something from a ring of the record's domain (`request`) or put something into it
    (`response`). `id` numbers requests where the protocol does, `op` and `status` are the protocol's words,
    `size` is in bytes."""

    kind: ClassVar[Kind] = Kind.RING
    name: str
    device: str
    op: str
    size: int
    id: int | None = None
    status: str = ""


@dataclass(slots=True)
class StoreRecord(Record):
    """A xenstore request of the record's domain and what came of it, or a watch of its that fired.

    `name` is that of the message (`READ`, `WATCH_EVENT`), `path` what it is about, as an absolute path where
    it is one, `value` what came after that: what is written, the token of a watch. `transaction` is 0 outside
    any, `result` the payload of the answer.
    """

    kind: ClassVar[Kind] = Kind.STORE
    name: str
    path: str
    value: bytes = b""
    transaction: int = 0
    errno: Errno | None = None
    sentence: str = ""
    result: bytes = b""


@dataclass(slots=True)
class ConsoleRecord(Record):
    """Bytes that the guest put on a console (`out`), or that it was given (`in`); `number` is 0 for the
    console that every domain has."""

    kind: ClassVar[Kind] = Kind.CONSOLE
    name: str
    text: bytes
    number: int = 0


@dataclass(slots=True)
class DomainRecord(Record):
    """A domain was built, ended, resumed or destroyed. `domain_name` is the one it was given; `reason` is set
    when it ends, `sentence` when it crashed."""

    kind: ClassVar[Kind] = Kind.DOMAIN
    event: DomainEvent
    domain_name: str
    reason: ShutdownReason | None = None
    sentence: str = ""

    @property
    def name(self) -> str:
        return self.event.value


@dataclass(slots=True)
class InstructionRecord(Record):
    """An instruction of the guest's: only while somebody follows it (`paravane.follow`).

    `name` is its mnemonic, `text` all of it, `code` its bytes in hex, `cpl` the ring. `changed` are the
    registers with other values than before. `trap` is the trap that it was or caused (`#PF`, `int 0x80`,
    `hypercall`; empty: none): then `changed` has nothing.
    """

    kind: ClassVar[Kind] = Kind.INSTRUCTION
    name: str
    text: str
    code: str
    cpl: int
    changed: dict[str, int]
    trap: str = ""


@dataclass(slots=True)
class BreakpointRecord(Record):
    """A vcpu reached a `breakpoint` of somebody who lets it go on, or made a `read`, `write` or `access` of
    what one watches; `place` is the next instruction.

    `address` is that of the breakpoint or of the first byte watched, `calls` lead there; `data` has of what
    is watched its `size` in bytes and those `before` and `after`, in hex: of more than 16 those from
    the first that has changed, which is `offset` bytes (without it: none) into them.
    """

    kind: ClassVar[Kind] = Kind.BREAKPOINT
    name: str
    address: int
    registers: dict[str, int]
    calls: list[str]
    data: dict[str, int | str]
