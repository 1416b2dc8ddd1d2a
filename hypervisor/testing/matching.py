"""Texts with gaps, and what is different between two texts, line by line, for people."""

from __future__ import annotations

from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Final, Protocol

from paravane.classes import NamedTuple
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GAP: Final = "..."
_LARGEST: Final = 250_000
"""Pairs of lines that are compared with each other to find those that belong together."""

_CONTEXT: Final = 2
"""Lines that agree, shown around those that do not."""

_MOST: Final = 200
"""Lines of a difference that are shown: who has more is not helped by them."""

_NEWLINE: Final = "(a newline at the end)"


class Line(NamedTuple):
    """A line that was wanted and the one that was got for it (None: there is none), and whether that is
    right."""

    wanted: str | None
    got: str | None
    right: bool


class Wanted(Protocol):
    """A text that is wanted: its lines, what a line takes, and whether some of them stand for several."""

    @property
    def text(self) -> str: ...
    def takes(self, wanted: str, got: str) -> bool: ...
    def is_gap(self, wanted: str) -> bool: ...


class Like:
    """Equal to every text that is as `text` says. `...` stands for any number of lines when it is alone on
    its line, else for a part of its line."""

    def __init__(self, text: str) -> None:
        self.text = text

    def takes(self, wanted: str, got: str) -> bool:
        """Whether one line is as another one says."""
        first, *others = wanted.split(GAP)
        if not others:
            return got == wanted
        last = others.pop()
        if not got.startswith(first) or not got.endswith(last) or len(got) < len(first) + len(last):
            return False
        at, end = len(first), len(got) - len(last)
        for piece in others:
            at = got.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    def is_gap(self, wanted: str) -> bool:
        return wanted == GAP

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Like):
            return self.text == other.text
        return _as_told(self, other.split("\n")) if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"like({self.text!r})"


def like(text: str) -> Like:
    """What to compare a console with that is known but for gaps: `assert vm.console == like("on...\\n")`."""
    return Like(text)


class Exactly:
    """A text that is wanted as it stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    def takes(self, wanted: str, got: str) -> bool:
        return wanted == got

    def is_gap(self, wanted: str) -> bool:
        return False


def _as_told(wanted: Wanted, got: Sequence[str]) -> bool:
    """Whether the lines are those wanted. The last gap met takes one line more whenever what follows it does
    not fit: no more has ever to be tried."""
    want = wanted.text.split("\n")
    at = line = 0
    gap: tuple[int, int] | None = None
    while line < len(got):
        if at < len(want) and wanted.is_gap(want[at]):
            at, gap = at + 1, (at + 1, line)
        elif at < len(want) and wanted.takes(want[at], got[line]):
            at, line = at + 1, line + 1
        elif gap is not None:
            at, line = gap[0], gap[1] + 1
            gap = gap[0], line
        else:
            return False
    return all(wanted.is_gap(rest) for rest in want[at:])


def difference(wanted: Wanted, got: str) -> list[str]:
    """Lines that show where `got` is not as wanted: `-` what is missing, `+` what is there instead, and some
    that are right around them. Of very many the first ones."""
    want, have = wanted.text.split("\n"), got.split("\n")
    if want[-1] == have[-1] == "":
        # Both end with a newline: what comes after that is no line.
        want, have = want[:-1], have[:-1]
    lines = list(_aligned(wanted, want, have))
    wrong = [at for at, line in enumerate(lines) if not line.right]
    if not wrong:
        return []
    near = {at + step for at in wrong for step in range(-_CONTEXT, _CONTEXT + 1)} & {*range(len(lines))}
    found: list[str] = []
    for before, at in pairwise([-1, *sorted(near), len(lines)]):
        if at > before + 1:
            found.append(f"  ({at - before - 1} more that {'are' if at > before + 2 else 'is'} right)")
        if at < len(lines):
            found += _shown(lines[at], last=at == len(lines) - 1)
    more = len(found) - _MOST
    return found if more <= 0 else [*found[:_MOST], f"  ({more} more lines of differences)"]


def _shown(line: Line, *, last: bool) -> Iterator[str]:
    if line.right:
        yield f"  {shown(GAP if line.got is None else line.got)}"
        return
    for mark, text in (("-", line.wanted), ("+", line.got)):
        if text is not None:
            yield f"{mark} {shown(text) if text or not last else _NEWLINE}"


def aligned(wanted: Wanted, got: str) -> Iterator[Line]:
    """The lines of both, each with the one it belongs to."""
    yield from _aligned(wanted, wanted.text.split("\n"), got.split("\n"))


def _aligned(wanted: Wanted, want: Sequence[str], have: Sequence[str]) -> Iterator[Line]:
    shorter = min(len(want), len(have))
    head = next((at for at in range(shorter) if not _same(wanted, want[at], have[at])), shorter)
    rest = range(shorter - head)
    tail = next((at for at in rest if not _same(wanted, want[-1 - at], have[-1 - at])), len(rest))
    yield from (Line(*pair, True) for pair in zip(want[:head], have, strict=False))
    middle = want[head : len(want) - tail], have[head : len(have) - tail]
    if len(middle[0]) * len(middle[1]) <= _LARGEST:
        yield from _fewest_changes(wanted, *middle)
    else:
        yield from (Line(*pair, False) for pair in zip_longest(*middle))
    yield from (
        Line(*pair, True) for pair in zip(want[len(want) - tail :], have[len(have) - tail :], strict=True)
    )


def _same(wanted: Wanted, want: str, have: str) -> bool:
    return not wanted.is_gap(want) and wanted.takes(want, have)


def _fewest_changes(wanted: Wanted, want: Sequence[str], have: Sequence[str]) -> Iterator[Line]:
    """Both with as few wrong lines as can be: the shortest way through the table of all pairs."""
    costs = _costs(wanted, want, have)
    at = line = 0
    while at < len(want) or line < len(have):
        left = costs[at][line]
        gap = at < len(want) and wanted.is_gap(want[at])
        if gap and left == costs[at + 1][line]:
            yield Line(want[at], None, True)
            at += 1
        elif gap and line < len(have) and left == costs[at][line + 1]:
            yield Line(None, have[line], True)
            line += 1
        elif (
            at < len(want)
            and line < len(have)
            and left == costs[at + 1][line + 1]
            and _same(wanted, want[at], have[line])
        ):
            yield Line(want[at], have[line], True)
            at, line = at + 1, line + 1
        elif at < len(want) and left == costs[at + 1][line] + 1:
            yield Line(want[at], None, False)
            at += 1
        else:
            yield Line(None, have[line], False)
            line += 1


def _costs(wanted: Wanted, want: Sequence[str], have: Sequence[str]) -> list[list[int]]:
    """For the lines from each place on, in both, how many of them have to be wrong."""
    costs = [[0] * (len(have) + 1) for _ in range(len(want) + 1)]
    costs[-1] = list(range(len(have), -1, -1))
    for at in range(len(want) - 1, -1, -1):
        row, below = costs[at], costs[at + 1]
        gap = wanted.is_gap(want[at])
        row[-1] = below[-1] + (not gap)
        for line in range(len(have) - 1, -1, -1):
            if gap:
                row[line] = min(below[line], row[line + 1])
            elif wanted.takes(want[at], have[line]):
                row[line] = below[line + 1]
            else:
                row[line] = 1 + min(below[line], row[line + 1])
    return costs
