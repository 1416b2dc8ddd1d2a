"""What comes after the colon in a filter: for each kind what a selector may be, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final

from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.text import number_in
from paravane.trace import vocabulary
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
        return _named("event", vocabulary.EVENT, "a port")(selector)

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
    return _named("page", vocabulary.PAGE, "a machine frame", "before", "after")(selector)


def _grant(selector: str) -> Predicate:
    """By reference, or by what happened."""
    ref = number_in(selector)
    if ref is not None:
        return lambda item: field_of(item, "ref") == ref
    return _named("grant", vocabulary.GRANT, "a grant reference")(selector)


def _store(selector: str) -> Predicate:
    """By the beginning of the path, or by the type of the message."""
    if selector[:1] in ("/", "@"):
        return lambda item: str(field_of(item, "path")).startswith(selector)
    return _named("store", vocabulary.STORE, "a path, which begins with / or @")(selector.upper())


def _instruction(selector: str) -> Predicate:
    """By mnemonic, of which there are too many to name them, or by the trap that it was or caused."""
    return lambda item: selector in (item.name, field_of(item, "trap"))


def _named(kind: str, words: tuple[str, ...], else_: str = "", *fields: str) -> Callable[[str], Predicate]:
    """By name, or by the value of one of these fields, any of which is one of `words`; `else_` is what could
    be given instead of a word."""

    def select(selector: str) -> Predicate:
        if selector not in words:
            hint = get_close_matches(selector, words, 1)
            guess = f" (did you mean {hint[0]}?)" if hint else ""
            nor = f", nor {else_}" if else_ else ""
            raise FilterError(f"{kind}:{selector} names none of {', '.join(words)}{nor}{guess}")
        return lambda item: selector in (item.name, *(field_of(item, field) for field in fields))

    return select


SELECTORS: Final[dict[str, Callable[[str], Predicate]]] = {
    "hypercall": _hypercall,
    "refusal": _refusal,
    "trap": _trap,
    "event": _event,
    "timer": _named("timer", vocabulary.TIMER, "", "timer"),
    "schedule": _named("schedule", vocabulary.SCHEDULE, "", "why"),
    "page": _page,
    "grant": _grant,
    "ring": _named("ring", vocabulary.RING, "", "device", "op"),
    "store": _store,
    "console": _named("console", vocabulary.CONSOLE),
    "instruction": _instruction,
    "breakpoint": _named("breakpoint", vocabulary.BREAKPOINT),
}
"""For each kind what makes a predicate of a selector, or raises FilterError. The kind `domain` has none:
`domain:2` is a restriction of everything to that domain."""
