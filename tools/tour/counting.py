"""What figures are counted from: hypercalls, refusals and time in the records of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from paravane.trace import HypercallRecord, Record, RefusalRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paravane.boot_result import BootResult, Call
    from paravane.trace import TrapRecord

_R = TypeVar("_R", bound=Record)


def of_kind(result: BootResult, kind: type[_R]) -> list[_R]:
    """The records of a class, in order."""
    return [record for record in result.records if isinstance(record, kind)]


def with_command(result: BootResult, name: str, command: int) -> list[Call]:
    """The hypercalls of a name whose first argument is the number of this command."""
    return [call for call in result.hypercalls(name) if call.record.words[0] == command]


def with_operation(result: BootResult, command: int) -> list[Call]:
    """The `mmuext_op` whose first operation is this one."""
    return [call for call in result.hypercalls("mmuext_op") if first_of(call, "uops").cmd == command]


def first_of(call: Call, argument: str) -> Any:
    """The first struct of an array that a hypercall was given."""
    return call.args[argument][0]


def refusal(result: BootResult, request: str, words: str = "") -> str:
    """Why the first such request was refused, or the first for whose reason there are these words."""
    for record in of_kind(result, RefusalRecord):
        if record.request == request and words in record.sentence:
            return f"{request} -> -{record.errno.name}: {record.sentence}"
    return f"no {request} was refused"


def nanoseconds(records: Iterable[HypercallRecord | TrapRecord]) -> int:
    """System time that passed in them; by the virtual clock that is what it charges."""
    return sum((record.time if record.end is None else record.end) - record.time for record in records)


def mean(total: int, parts: Sequence[object]) -> int:
    """Whole units of `total` for each of the parts; 0 without any."""
    return total // len(parts) if parts else 0
