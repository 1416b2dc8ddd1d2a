"""What comes after the colon in a filter: for each kind what a selector may be, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.text import number_in
from paravane.trace.entry import Entry
from paravane.trace.records import Record
from paravane.x86 import Vector

Item = Record | Entry
"""What is filtered: records as they come, entries as they are read."""

Predicate = Callable[[Item], bool]

_VECTORS: Final = 256


class FilterError(ValueError):
    """A filter that cannot be understood; the message is one sentence that says what could stand there."""


def field_of(item: Item, name: str) -> Any:
    """A field of a record, or of an entry's data, in the same form: names of what has one. None: it has no
    such field."""
    value = item.data.get(name) if isinstance(item, Entry) else getattr(item, name, None)
    return value.name if isinstance(value, Enum) else value


def _hypercall(selector: str) -> Predicate:
    """By number, by name, or by the name of a family for all of its commands."""
    wanted = number_in(selector)
    if wanted is not None:
        return lambda item: field_of(item, "number") == wanted
    family = selector.partition(".")[0]
    if family not in {call.name.rstrip("_") for call in Hypercall}:
        raise FilterError(f"there is no hypercall {selector!r}: name one, as in hypercall:sched_op.block")
    return lambda item: item.name == selector or item.name.startswith(f"{selector}.")


def _refusal(selector: str) -> Predicate:
    """By errno, or by what was asked for."""
    name = selector.lstrip("-")
    if name in Errno.__members__:
        return lambda item: field_of(item, "errno") == name
    if name[:1] == "E" or not name:
        raise FilterError(
            f"there is no errno {name!r}: refusal takes one, such as EINVAL, or a request, such as mmu_update"
        )
    return lambda item: item.name == selector or item.name.startswith(f"{selector}.")


def _trap(selector: str) -> Predicate:
    """By vector: 14, 0x80, PF."""
    vector = number_in(selector)
    if vector is None:
        vector = next((each.value for each in Vector if each.name == selector.lstrip("#").upper()), _VECTORS)
    if vector >= _VECTORS:
        names = ", ".join(each.name for each in Vector)
        raise FilterError(f"there is no trap {selector!r}: give a vector up to 255, or one of {names}")
    return lambda item: bool(field_of(item, "vector") == vector)


def _event(selector: str) -> Predicate:
    """By port, at either end, or by what happened."""
    port = number_in(selector)
    if port is None:
        return _named(selector, "event", ("send", "upcall", "virq"), "a port")

    def takes(item: Item) -> bool:
        ports = field_of(item, "ports")
        several = ports if isinstance(ports, tuple | list) else ()
        return port in (field_of(item, "port"), field_of(item, "to_port"), *several)

    return takes


def _page(selector: str) -> Predicate:
    """By mfn, by a type before or after, or by what happened."""
    mfn = number_in(selector)
    if mfn is not None:
        return lambda item: field_of(item, "mfn") == mfn
    return lambda item: selector in (item.name, field_of(item, "before"), field_of(item, "after"))


def _grant(selector: str) -> Predicate:
    """By reference, or by what happened."""
    ref = number_in(selector)
    if ref is not None:
        return lambda item: field_of(item, "ref") == ref
    return _named(selector, "grant", ("map", "copy", "release"), "a grant reference")


def _store(selector: str) -> Predicate:
    """By the beginning of the path, or by the type of the message."""
    if selector[:1] in ("/", "@"):
        return lambda item: str(field_of(item, "path")).startswith(selector)
    return lambda item: item.name == selector.upper()


def _word(*fields: str) -> Callable[[str], Predicate]:
    """By name, or by the value of one of these fields."""

    def select(selector: str) -> Predicate:
        return lambda item: selector in (item.name, *(field_of(item, field) for field in fields))

    return select


def _named(selector: str, kind: str, names: tuple[str, ...], else_: str) -> Predicate:
    if selector not in names:
        raise FilterError(f"{kind}:{selector} names none of {', '.join(names)}, nor {else_}")
    return lambda item: item.name == selector


SELECTORS: Final[dict[str, Callable[[str], Predicate]]] = {
    "hypercall": _hypercall,
    "refusal": _refusal,
    "trap": _trap,
    "event": _event,
    "timer": _word("timer"),
    "schedule": _word("why"),
    "page": _page,
    "grant": _grant,
    "ring": _word("device", "op"),
    "store": _store,
    "console": _word(),
    "instruction": _word("trap"),
    "breakpoint": _word(),
}
"""For each kind what makes a predicate of a selector, or raises FilterError. The kind `domain` has none:
`domain:2` is a restriction of everything to that domain."""
