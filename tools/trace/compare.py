"""`paravane trace FILE diff OTHER`: where two runs part."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from paravane.text import shown
from paravane.tools.status import Status, UsageError
from paravane.trace.text import text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from paravane.tools.trace.source import Source
    from paravane.trace import Entry

CONTEXT: Final = 3
"""Entries before the first difference that are shown."""


def compare(one: Source, other: Source, ignored: Collection[str], context: int = CONTEXT) -> Status:
    """Show the first entry in which two traces differ, with what comes before it, and in what.

    `ignored` are fields: `time`, `place`, `domain`, `vcpu`, or the name of one in the data, at any depth.
    """
    if one.path is None and other.path is None:
        raise UsageError("of the two traces one can be stdin, not both")
    before: deque[Entry] = deque(maxlen=context)
    count = 0
    # Closed before anything is printed: how far they have been read is on the terminal until then.
    with closing(one.entries()) as ours, closing(other.entries()) as theirs:
        for first, second in zip_longest(ours, theirs):
            if first is None or second is None or _seen(first, ignored) != _seen(second, ignored):
                break
            before.append(first)
            count += 1
        else:
            first = second = None
    if first is None and second is None:
        print(f"no difference in {_entries(count)}")
        return Status.OK
    for line in _report(one, other, before, count, first, second, ignored):
        print(shown(line))
    return Status.ERRORS


def _report(
    one: Source,
    other: Source,
    before: Collection[Entry],
    count: int,
    first: Entry | None,
    second: Entry | None,
    ignored: Collection[str],
) -> Iterator[str]:
    yield f"--- {one.name}"
    yield f"+++ {other.name}"
    same = "is the same" if count == 1 else "are the same"
    yield f"the first {_entries(count)} {same}" if count else "the first entry differs"
    yield from (f"  {text(entry)}" for entry in before)
    yield "- (ends here)" if first is None else f"- {text(first)}"
    yield "+ (ends here)" if second is None else f"+ {text(second)}"
    if first is not None and second is not None:
        for name, left, right in _differences("", _seen(first, ignored), _seen(second, ignored)):
            yield f"? {name}: {left} and {right}"


def _seen(entry: Entry, ignored: Collection[str]) -> Any:
    """What of an entry counts."""
    found = entry.to_json()
    if "time" in ignored:
        found.pop("end", None)
    return _without(found, ignored) if ignored else found


def _without(value: Any, ignored: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, ignored) for key, item in value.items() if key not in ignored}
    return [_without(item, ignored) for item in value] if isinstance(value, list) else value


def _differences(name: str, left: Any, right: Any) -> Iterator[tuple[str, str, str]]:
    """The fields in which two values differ, and what they are: `data.result`, `-22`, `0`."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in dict.fromkeys([*left, *right]):
            inside = f"{name}.{key}" if name else key
            yield from _differences(inside, left.get(key, _NOTHING), right.get(key, _NOTHING))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _differences(f"{name}[{at}]", one, other)
    elif left != right:
        yield name, _value(left), _value(right)


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING: Final = _Nothing()


def _value(value: Any) -> str:
    return f"{value:#x}" if type(value) is int and value >= 0x10000 else repr(value)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
