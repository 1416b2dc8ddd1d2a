"""What came from outside, as lines of JSON.

A line is an object: `turn`, which of the machine's looks outside it was, from 0 on; `time`, the system time
then (nanoseconds), by which a replay tells that it has left the recorded run; and what came:

| field | what |
|---|---|
| `input` | bytes for the console, each a character of Latin-1 |
| `source`, `frame` | what came from somewhere else, a way out of the machine, in base 64; and from where |
| `source`, `ended` | true: nothing will come from there any more |
| `came` | true: a look that waited was ended by something, whether that was for a guest or not |
| `expecting` | whether anything could still come, where that is no longer what it was (at first: true) |
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

from paravane.classes import dataclass
from paravane.recording.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT: Final = 1 << 62
"""No turn and no time is that far."""

MOST_FRAME: Final = 1 << 17
"""Bytes of the largest frame that comes from anywhere, and more."""

_LONGEST_SOURCE: Final = 64


@dataclass(frozen=True, slots=True)
class Input:
    """What came at one turn. `data` is for the console unless there is a `source`. `expecting` None: as
    before."""

    turn: int
    time: int
    data: bytes = b""
    came: bool = False
    expecting: bool | None = None
    source: str = ""
    ended: bool = False


def encoded(inputs: Iterable[Input]) -> bytes:
    """The lines, in the order in which all that came."""
    return b"".join(json.dumps(_fields(one)).encode() + b"\n" for one in inputs)


def decoded(data: bytes) -> tuple[Input, ...]:
    """What `encoded` was given. Raises RecordingError, which says in which line."""
    found: list[Input] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            one = _input(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            raise RecordingError(f"line {number} of its inputs is not one") from None
        if found and (one.turn, one.time) < (found[-1].turn, found[-1].time):
            raise RecordingError(f"line {number} of its inputs came before the one above")
        found.append(one)
    return tuple(found)


def _fields(one: Input) -> dict[str, Any]:
    fields: dict[str, Any] = {"turn": one.turn, "time": one.time}
    if one.source:
        fields["source"] = one.source
    if one.ended:
        fields["ended"] = True
    elif one.source:
        fields["frame"] = b64encode(one.data).decode()
    elif one.data:
        fields["input"] = one.data.decode("latin-1")
    if one.came:
        fields["came"] = True
    if one.expecting is not None:
        fields["expecting"] = one.expecting
    return fields


def _input(fields: Any) -> Input:
    """Raises ValueError and TypeError for what is none."""
    if not isinstance(fields, dict) or not {"turn", "time"} <= fields.keys() <= _KINDS.keys():
        raise ValueError
    if any(type(value) is not _KINDS[name] for name, value in fields.items()):
        raise ValueError
    if not (0 <= fields["turn"] < LIMIT and 0 <= fields["time"] < LIMIT):
        raise ValueError
    source, ended = fields.get("source", ""), fields.get("ended", False)
    if bool(source) != ended + ("frame" in fields) or (source and not fields.keys() <= _ARRIVED):
        raise ValueError
    if source:
        data = b64decode(fields.get("frame", ""), validate=True)
        if len(data) > MOST_FRAME or len(source) > _LONGEST_SOURCE:
            raise ValueError
    else:
        data = fields.get("input", "").encode("latin-1")
    came, expecting = fields.get("came", False), fields.get("expecting")
    return Input(fields["turn"], fields["time"], data, came, expecting, source, ended)


_KINDS: Final[dict[str, type]] = {
    "turn": int,
    "time": int,
    "input": str,
    "came": bool,
    "expecting": bool,
    "source": str,
    "frame": str,
    "ended": bool,
}
_ARRIVED: Final = frozenset({"turn", "time", "source", "frame", "ended"})
