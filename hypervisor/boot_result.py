"""What came of a domain that was booted by `paravane.boot`: data that outlives its machine."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from paravane.abi.sched import ShutdownReason
from paravane.classes import dataclass
from paravane.ending import StopReason, exit_status
from paravane.text import shown
from paravane.trace import EventRecord, HypercallRecord, Record, RefusalRecord, TrapRecord
from paravane.trace.text import body, line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paravane.abi.errno import Errno
    from paravane.place import Place

_R = TypeVar("_R", bound=Record)

_SHOWN: Final = 60
"""Characters of a console that a result shows of itself."""


class Console(str):
    """What a kernel printed: a string, by which comparisons that fail know that it is one to be shown line by
    line."""

    __slots__ = ()


class RecordsLost(LookupError):
    """More happened than was kept, and what was asked for may be among the rest."""


class Call:
    """One hypercall: `name`, `args` by name as they were decoded, `result` as the guest got it (signed; None
    if it goes on later), `errno` and the `sentence` that explains it (None and empty if it was not refused),
    `place`, who called. `record` has the rest."""

    def __init__(self, record: HypercallRecord) -> None:
        self.record = record

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def args(self) -> Mapping[str, Any]:
        return {argument.name: argument.value for argument in self.record.arguments}

    @property
    def result(self) -> int | None:
        return self.record.result

    @property
    def errno(self) -> Errno | None:
        return self.record.errno

    @property
    def sentence(self) -> str:
        return self.record.sentence

    @property
    def place(self) -> Place:
        return self.record.place

    def __repr__(self) -> str:
        return f"<{body(self.record)}>"


class Traps:
    """The traps of a guest in order; `traps[14]` and `traps["#PF"]` are those of one vector or name."""

    def __init__(self, records: Sequence[TrapRecord]) -> None:
        self._records = records

    def __getitem__(self, which: int | str) -> tuple[TrapRecord, ...]:
        field = "name" if isinstance(which, str) else "vector"
        return tuple(record for record in self._records if getattr(record, field) == which)

    def __iter__(self) -> Iterator[TrapRecord]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        counts = Counter(record.name for record in self._records)
        return f"<traps: {', '.join(f'{count} {name}' for name, count in counts.items()) or 'none'}>"


@dataclass(frozen=True, slots=True, repr=False)
class BootResult:
    """What came of a domain.

    `status` is what `paravane boot` would exit with: 0 after a power-off, 3 after a crash, 124 when the time
    given was used up, ... `ending` says why the run came back and `reason` how the domain ended (None: it
    did not). `console` is all that the kernel printed, up to the last `paravane.domain.TRANSCRIPT` bytes,
    with U+FFFD for what is not UTF-8. `crash_report` is empty unless it crashed; `where` says where its vcpus
    were, and is empty if it ended by itself. `audit` has every difference between the hypervisor's books
    and the page tables. `records` are what happened, of the kinds that were asked for, and `lost` how many
    records before them were not kept.
    """

    name: str
    ending: StopReason
    reason: ShutdownReason | None
    console: Console
    crash_report: str
    where: str
    audit: tuple[str, ...]
    records: tuple[Record, ...]
    lost: int = 0

    @property
    def status(self) -> int:
        return exit_status(self.ending, self.reason)

    @property
    def lines(self) -> list[str]:
        """The console, line by line."""
        return self.console.splitlines()

    @property
    def traps(self) -> Traps:
        """Exceptions and software interrupts, whoever served them."""
        return Traps(self._of(TrapRecord))

    @property
    def refusals(self) -> tuple[RefusalRecord, ...]:
        """What was refused, and why."""
        return self._of(RefusalRecord)

    @property
    def events(self) -> tuple[EventRecord, ...]:
        """Events sent, virtual interrupts and upcalls."""
        return self._of(EventRecord)

    def hypercalls(self, name: str | None = None) -> tuple[Call, ...]:
        """The hypercalls, or those of one name: `mmu_update`; `sched_op` with all its commands, or
        `sched_op.poll`."""
        calls = self._of(HypercallRecord)
        return tuple(Call(call) for call in calls if name in (None, call.name, call.name.partition(".")[0]))

    def ended(self, how: str | ShutdownReason | StopReason = ShutdownReason.poweroff) -> bool:
        """Whether that is how it ended: "poweroff", "crash", ..., or, if it did not, "timeout", "traps" or
        "stalled". Raises ValueError for a word that is none of them."""
        wanted = _WAYS.get(how) if isinstance(how, str) else how
        if wanted is None:
            raise ValueError(f"{how!r} is no way to end: there are {', '.join(_WAYS)}")
        return wanted is (self.ending if self.reason is None else self.reason)

    def trace_lines(self, last: int | None = None) -> list[str]:
        """What happened, as lines of text: all that was kept, or the `last` so many."""
        first = 0 if last is None else max(0, len(self.records) - last)
        return [line(record) for record in self.records[first:]]

    def __repr__(self) -> str:
        ended = self.ending.value if self.reason is None else str(self.reason)
        said = shown(self.crash_report.partition("\n")[0])
        printed = f"{self.console[:_SHOWN]!r}{'...' if len(self.console) > _SHOWN else ''}"
        return f"<{shown(self.name)}: {ended}{f' ({said})' if said else ''}, console {printed}>"

    def _of(self, kind: type[_R]) -> tuple[_R, ...]:
        if self.lost:
            raise RecordsLost(f"the first {self.lost} records were not kept: have fewer kinds traced")
        return tuple(record for record in self.records if isinstance(record, kind))


_WAYS: Final[Mapping[str, ShutdownReason | StopReason]] = {
    **{str(reason): reason for reason in ShutdownReason},
    **{reason.name.lower(): reason for reason in StopReason if reason is not StopReason.DONE},
}
