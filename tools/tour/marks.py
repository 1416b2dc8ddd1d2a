"""One source, two forms: with its deciding lines, and as an exercise that lacks them.

A block of a source begins with a line `# exercise NAME: TASK` and ends with `# exercise end`. In the
exercise NAME a line `# TODO: TASK` stands for it, and below that what the block's lines `# instead: ...` say.
Everywhere else the block stays, without its marks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TODO: Final = "# TODO: "
_BEGIN: Final = re.compile(r"(\s*)# exercise (\w+): (.*)")
_INSTEAD: Final = re.compile(r"(\s*)# instead: (.*)")
_END: Final = re.compile(r"\s*# exercise end")


def unmarked(source: str, name: str = "") -> str:
    """The source without its marks, and without the blocks of the exercise `name`. Raises ValueError for a
    block that is not closed, or in another one."""
    return "".join(f"{line}\n" for line in _lines(source, name))


def tasks(source: str, name: str) -> list[str]:
    """What there is to do in the exercise `name`."""
    found = map(_BEGIN.fullmatch, source.splitlines())
    return [match[3] for match in found if match is not None and match[2] == name]


def _lines(source: str, name: str) -> Iterator[str]:
    block = ""
    for number, line in enumerate(source.splitlines(), 1):
        begin, instead, end = (mark.fullmatch(line) for mark in (_BEGIN, _INSTEAD, _END))
        if block and begin:
            raise ValueError(f"line {number}: a block of an exercise does not begin inside another one")
        if not block and (instead or end):
            raise ValueError(f"line {number}: no block of an exercise is open")
        if begin:
            block = begin[2]
            if block == name:
                yield f"{begin[1]}{TODO}{begin[3]}"
        elif end:
            block = ""
        elif instead:
            if block == name:
                yield instead[1] + instead[2]
        elif block != name or not block:
            yield line
    if block:
        raise ValueError(f"the last block of the exercise {block} is not closed")
