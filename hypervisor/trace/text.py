"""Trace records as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paravane.abi.parameters import COUNT_BITS, Items, Word
from paravane.trace.records import (
    Argument,
    DomainRecord,
    EventRecord,
    ExceptionRecord,
    HypercallRecord,
    RefusalRecord,
)

if TYPE_CHECKING:
    from paravane.trace.records import Record


def line(record: Record) -> str:
    """The record as one line: `[seconds.nanoseconds] d1v0 kind body`."""
    who = f"d{record.domid}" if record.vcpu is None else f"d{record.domid}v{record.vcpu}"
    seconds, nanoseconds = divmod(record.time, 1_000_000_000)
    return f"[{seconds:5d}.{nanoseconds:09d}] {who} {record.kind.value} {body(record)}"


def body(record: Record) -> str:
    """What a record says besides when and of whom. Raises TypeError for a record of no known kind."""
    if isinstance(record, HypercallRecord):
        return f"{call_text(record)} = {answer_text(record)} @{record.place}"
    if isinstance(record, ExceptionRecord):
        return _exception(record)
    if isinstance(record, EventRecord):
        return f"upcall{''.join(f' {port}' for port in record.ports)}"
    if isinstance(record, RefusalRecord):
        return f"{record.request} -> -{record.errno.name}: {record.sentence}"
    if isinstance(record, DomainRecord):
        detail = record.sentence or (record.reason.name if record.reason is not None else "")
        return f"{record.event.value}: {detail}" if detail else record.event.value
    raise TypeError(f"{type(record).__name__} has no text form")


def call_text(record: HypercallRecord) -> str:
    """`xen_version.version(arg=0x0)`; a number without a declaration is shown with its registers."""
    if not record.name:
        return f"hypercall_{record.number}({', '.join(map(hex, record.words))})"
    shown = []
    for at, argument in enumerate(record.arguments):
        following = record.arguments[at + 1].word if isinstance(argument.kind, Items) else 0
        shown.append(f"{argument.name}={_argument(argument, following & COUNT_BITS)}")
    return f"{record.name}({', '.join(shown)})"


def answer_text(record: HypercallRecord) -> str:
    """`0`, `-EINVAL`, `0 {port=3}`, `preempted after 4096` or `no result`."""
    if record.preempted is not None:
        return f"preempted after {record.preempted}"
    if record.errno is not None:
        return f"-{record.errno.name}"
    if record.result is None:
        return "no result"
    if record.written is not None:
        return f"{record.result} {{{record.written.layout.format(record.written.value)}}}"
    return str(record.result)


def _argument(argument: Argument, count: int) -> str:
    kind, value = argument.kind, argument.value
    if isinstance(kind, Word):
        return kind.text(value)
    if isinstance(kind, Items):
        return _items(argument.word, kind, value, count)
    return hex(argument.word) if value is None else f"{{{kind.layout.format(value)}}}"


def _items(pointer: int, kind: Items, values: tuple[Any, ...], count: int) -> str:
    """An array as `0xc0001000[{...} {...} +9]`: the first structs it has, and how many more there are."""
    shown = [f"{{{kind.layout.format(value)}}}" for value in values]
    if len(shown) < count:
        shown.append(f"+{count - len(shown)}")
    return f"{pointer:#x}[{' '.join(shown)}]" if shown else hex(pointer)


def _exception(record: ExceptionRecord) -> str:
    detail = "" if record.error_code is None else f" error={record.error_code:#x}"
    if record.cr2 is not None:
        detail += f" cr2={record.cr2:#010x}"
    to = "" if record.handler is None else f" to {record.handler[0]:#06x}:{record.handler[1]:#010x}"
    return f"{record.name}{detail} ring={record.cpl} @{record.place} -> {record.outcome}{to}"
