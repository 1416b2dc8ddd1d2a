"""How the vcpus of a domain are to go on: packets `vCont`, `c` and `s`."""

from __future__ import annotations

from typing import Final

from paravane.classes import dataclass

ALL: Final = -1
"""Every thread, in the protocol's thread ids."""


@dataclass(frozen=True, slots=True)
class Action:
    """What the threads named `thread` do: go on, or step; with `within`, until they are past these linear
    addresses. ALL where none is named."""

    steps: bool
    thread: int = ALL
    within: range = range(0)


def parse(text: str) -> list[Action]:
    """The actions of `vCont;...`, without that word. ValueError when they are malformed or not known."""
    actions = []
    for part in text.split(";"):
        verb, colon, thread = part.partition(":")
        actions.append(_action(verb, thread_id(thread) if colon else ALL))
    return actions


def thread_id(text: str) -> int:
    """A thread as the protocol has it: hexadecimal, -1 for all and 0 for any. ValueError."""
    if text in {"-1", "0"}:
        return ALL
    return hexadecimal(text)


def hexadecimal(text: str) -> int:
    """A number in hexadecimal digits alone. ValueError for anything else, and for more than 64 bits."""
    if not text or len(text) > 16 or not all(digit in "0123456789abcdefABCDEF" for digit in text):
        raise ValueError(f"{text[:32]!r} is no hexadecimal number")
    return int(text, 16)


def _action(verb: str, thread: int) -> Action:
    kind, rest = verb[:1], verb[1:]
    if kind in {"c", "s"} and not rest:
        return Action(kind == "s", thread)
    if kind in {"C", "S"}:
        hexadecimal(rest)  # a signal: guests get none
        return Action(kind == "S", thread)
    if kind == "r":
        start, _, end = rest.partition(",")
        return Action(True, thread, range(hexadecimal(start), hexadecimal(end)))
    raise ValueError(f"{verb[:32]!r} is no action")
