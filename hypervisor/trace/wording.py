"""What an entry of each kind says, in words: the middle of its line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.trace.entry import Entry

_DECIMAL_BELOW: Final = 0x10000
"""Arguments from here on are addresses and bits, which nobody reads in decimal."""

_SHOWN_PARTS: Final = 8
_SHOWN_TEXT: Final = 64
"""Elements of an array, and characters of a text, that are shown of a struct."""


def body_of(entry: Entry) -> str:
    """What happened. Entries that were read from a file may hold anything: what does not look like its kind
    is shown as it is."""
    wording = _WORDINGS.get(entry.kind, _anything)
    try:
        return wording(entry)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return _anything(entry)


def _anything(entry: Entry) -> str:
    return " ".join([entry.name, *(f"{name}={_value(value)}" for name, value in entry.data.items())])


def _hypercall(entry: Entry) -> str:
    """`xen_version.version(arg=0) = 262161`; a number without a declaration is shown with its registers."""
    data = entry.data
    name = entry.name or f"hypercall_{data['number']}"
    if not entry.name and "words" in data:
        arguments = [hex(word) for word in data["words"]]
    else:
        arguments = [f"{name}={_argument(value)}" for name, value in data["arguments"].items()]
    return f"{name}({', '.join(arguments)}){_answer(data)}"


def _answer(data: dict[str, Any]) -> str:
    """` = 0`, ` = -EINVAL`, ` = 0 {port=3}`, ` = preempted after 4096` or ` = no result`; nothing where that
    is not known, as in xentrace's files."""
    if "preempted" in data:
        return f" = preempted after {data['preempted']}"
    if "errno" in data:
        return f" = -{data['errno']}"
    if "result" not in data:
        return " = no result" if "words" in data else ""
    return f" = {data['result']}" + (f" {_value(data['written'])}" if "written" in data else "")


def _argument(value: Any) -> str:
    if isinstance(value, int):
        return str(value) if value < _DECIMAL_BELOW else hex(value)
    if isinstance(value, dict) and value.keys() == {"pointer", "items", "count"}:
        return _items(value["pointer"], value["items"], value["count"])
    return _value(value)


def _items(pointer: int, items: list[Any], count: int) -> str:
    """An array as `0xc0001000[{...} {...} +9]`: the first structs it has, and how many more there are."""
    shown = [_value(item) for item in items]
    if len(shown) < count:
        shown.append(f"+{count - len(shown)}")
    return f"{pointer:#x}[{' '.join(shown)}]" if shown else hex(pointer)


def _value(value: Any) -> str:
    """A value of a struct: numbers in decimal when small, else in hex; names as they are. A vcpu's context is
    such a struct, so what is long is shortened."""
    if isinstance(value, dict):
        return "{" + " ".join(f"{name}={_value(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        more = ["..."] if len(value) > _SHOWN_PARTS else []
        return "[" + " ".join([_value(part) for part in value[:_SHOWN_PARTS]] + more) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value < 10 else hex(value)
    text = str(value)
    if len(text) > _SHOWN_TEXT:
        text = text[:_SHOWN_TEXT] + "..."
    return text if text.isprintable() else repr(text)


def _trap(entry: Entry) -> str:
    data = entry.data
    detail = f" error={data['error_code']:#x}" if "error_code" in data else ""
    if "cr2" in data:
        detail += f" cr2={data['cr2']:#010x}"
    to = ""
    if "handler" in data:
        selector, offset = data["handler"]
        to = f" to {selector:#06x}:{offset:#010x}"
    # xentrace's files do not tell the ring.
    ring = f" ring={data['cpl']}" if "cpl" in data else ""
    return f"{entry.name}{detail}{ring} -> {data['outcome']}{to}"


def _refusal(entry: Entry) -> str:
    return f"{entry.name} -> -{entry.data['errno']}: {entry.data['sentence']}"


def _event(entry: Entry) -> str:
    data = entry.data
    if entry.name == "upcall":
        flows = f" (flow {' '.join(map(str, data['flows']))})" if data["flows"] else ""
        return f"upcall{''.join(f' {port}' for port in data['ports'])}{flows}"
    flow = f" (flow {data['flow']})" if "flow" in data else ""
    if entry.name == "virq":
        return f"virq {data['virq']} at port {data['port']}{flow}"
    return f"send from port {data['port']} to port {data['to_port']} of d{data['to_domid']}{flow}"


def _timer(entry: Entry) -> str:
    return f"{entry.data['timer']} {entry.name}" + (
        f" for {entry.data['deadline'] / 1e9:.9f}" if entry.name == "armed" else ""
    )


def _schedule(entry: Entry) -> str:
    return f"{entry.name}: {entry.data['why']}" if "why" in entry.data else entry.name


def _page(entry: Entry) -> str:
    data = entry.data
    types = data["before"] if data["before"] == data["after"] else f"{data['before']} -> {data['after']}"
    uses = "1 use" if data["uses"] == 1 else f"{data['uses']} uses"
    return f"mfn {data['mfn']:#x} of d{data['owner']} {entry.name}: {types}, {uses}"


def _grant(entry: Entry) -> str:
    data = entry.data
    access = "" if data["writable"] else " read-only"
    return f"{entry.name} {data['ref']} by d{data['by']}{access}, mfn {data['mfn']:#x}"


def _ring(entry: Entry) -> str:
    data = entry.data
    number = f" {data['id']}" if "id" in data else ""
    status = f" {data['status']}" if "status" in data else ""
    return f"{data['device']} {entry.name}{number} {data['op']}{status}, {data['size']} bytes"


def _store(entry: Entry) -> str:
    data = entry.data
    inside = f" in transaction {data['transaction']}" if data["transaction"] else ""
    value = f" {data['value']!r}" if data["value"] else ""
    if entry.name == "WATCH_EVENT":
        return f"{entry.name} {data['path']}{value}"
    answer = f"-{data['errno']}: {data['sentence']}" if "errno" in data else repr(data["result"])
    return f"{entry.name} {data.get('path', '')}{value}{inside} = {answer}"


def _console(entry: Entry) -> str:
    number = entry.data.get("number", 0)
    return f"{entry.name} {entry.data['text']!r}{f' on console {number}' if number else ''}"


def _domain(entry: Entry) -> str:
    detail = entry.data.get("sentence") or entry.data.get("reason") or entry.data.get("domain_name")
    return f"{entry.name}: {detail}" if detail else entry.name


def _instruction(entry: Entry) -> str:
    """`movl $1, %eax  eax=0x1`, `movl (%eax), %ecx  -> #PF`."""
    data = entry.data
    changed = " ".join(f"{name}={value:#x}" for name, value in data["changed"].items())
    trap = f"-> {data['trap']}" if "trap" in data else changed
    return f"{data['text']:<32} {trap}".rstrip()


def _breakpoint(entry: Entry) -> str:
    data = entry.data
    seen = data["data"]
    offset = f"+{seen['offset']:#x}" if "offset" in seen else ""
    values = f"{offset} [{seen['before']}] -> [{seen['after']}]" if seen else ""
    registers = " ".join(f"{name}={value:#x}" for name, value in data["registers"].items())
    calls = f" from {' from '.join(data['calls'])}" if data["calls"] else ""
    return f"{entry.name} at {data['address']:#010x}{values} {registers}{calls}"


_WORDINGS: Final[dict[str, Callable[[Entry], str]]] = {
    "hypercall": _hypercall,
    "refusal": _refusal,
    "trap": _trap,
    "event": _event,
    "timer": _timer,
    "schedule": _schedule,
    "page": _page,
    "grant": _grant,
    "ring": _ring,
    "store": _store,
    "console": _console,
    "domain": _domain,
    "instruction": _instruction,
    "breakpoint": _breakpoint,
}
