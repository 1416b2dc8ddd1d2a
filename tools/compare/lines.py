"""Which lines of the hypervisor's code run."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from inspect import CO_OPTIMIZED
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import paravane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

Line = tuple[str, int]
"""A file, as it is called in the package, and a number."""

_PACKAGE: Final = str(Path(paravane.__file__).parent) + "/"
_LOOKS_ON: Final = ("tools/", "asm/", "compiler/", "guest_kernels/", "testing/", "trace/")
"""What is no part of a hypervisor."""


@contextmanager
def executed() -> Iterator[set[Line]]:
    """The lines of functions of the hypervisor that this thread executes in the `with`. What is done as a
    module is imported does not count. Whoever traced the thread before does not until the end.

    A statement of several lines is one line or more, as the compiler has it; comments and blank lines are
    none.
    """
    lines: set[Line] = set()
    left: dict[CodeType, set[int]] = {}
    before = sys.gettrace()

    def call(frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        missing = left.get(code)
        if missing is None:
            missing = left[code] = _lines_of(code)
        if not missing:  # nothing of it is new any more, so that most of a run is not slowed down
            return None
        name = code.co_filename.removeprefix(_PACKAGE)

        def line(frame: FrameType, event: str, _argument: Any) -> Callable[..., Any]:
            if event == "line" and frame.f_lineno in missing:
                missing.discard(frame.f_lineno)
                lines.add((name, frame.f_lineno))
            return line

        return line

    sys.settrace(call)
    try:
        yield lines
    finally:
        sys.settrace(before)


def _lines_of(code: CodeType) -> set[int]:
    """Those that may run of a function of the hypervisor; none of anything else."""
    path = code.co_filename
    if not path.startswith(_PACKAGE) or path.removeprefix(_PACKAGE).startswith(_LOOKS_ON):
        return set()
    if not code.co_flags & CO_OPTIMIZED:
        return set()  # the body of a module or a class
    # The first is that of `def`, where nothing runs but what a generator begins with.
    return {line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno}
