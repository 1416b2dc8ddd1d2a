"""`expected.txt`: what is different, and the file written anew from what was printed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paravane.guest_kernels.expected import PATTERN, takes
from paravane.testing.matching import aligned
from paravane.whole_file import beside

if TYPE_CHECKING:
    from paravane.guest_kernels import GuestKernel


class Expected:
    """The text of an `expected.txt`, as `paravane.testing.matching` wants it. Raises ValueError, a sentence,
    for a pattern that is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        for number, line in enumerate(text.split("\n"), 1):
            if line.startswith(PATTERN):
                try:
                    re.compile(line.removeprefix(PATTERN))
                except (re.error, OverflowError, RecursionError) as error:
                    raise ValueError(f"line {number} is no regular expression: {error}") from None

    def takes(self, wanted: str, got: str) -> bool:
        return takes(wanted, got)

    def is_gap(self, wanted: str) -> bool:
        return False


def read(kernel: GuestKernel) -> Expected | None:
    """What a kernel is to print; None: there is no such file. Raises OSError, or ValueError that names it."""
    if not kernel.expectation.exists():
        return None
    text = kernel.expected
    try:
        return Expected(text)
    except ValueError as error:
        raise ValueError(f"{kernel.expectation.name}: {error}") from None


def renewed(before: Expected | None, console: str) -> str:
    """The expectation that `console` fulfils. Patterns stay where they match what was printed for them."""
    if before is None:
        return "\n".join(map(_literally, console.split("\n")))
    lines = (line for line in aligned(before, console) if line.got is not None)
    return "\n".join(
        line.wanted if line.right and line.wanted is not None else _literally(line.got or "")
        for line in lines
    )


def write(kernel: GuestKernel, text: str) -> None:
    """Make it the expectation of a kernel: the whole file or nothing. Raises OSError."""
    with beside(kernel.expectation) as stream:
        stream.write(text.encode())


def _literally(line: str) -> str:
    """A line that stands for itself, also when it looks like a pattern."""
    return f"{PATTERN}{re.escape(line)}" if line.startswith(PATTERN) else line
