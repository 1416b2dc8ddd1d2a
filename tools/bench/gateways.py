"""Which gateway a machine is made with: Python's alone, or the one in C before it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from paravane.gateway import native
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON: Final = "python"
C: Final = "c"
BOTH: Final = "both"


def chosen(wanted: str | None) -> tuple[str, ...]:
    """The gateways to measure; None: all there are. UsageError for C where that cannot be had."""
    there = native.find() is not None
    if wanted is None:
        return (PYTHON, C) if there else (PYTHON,)
    if wanted != PYTHON and not there:
        raise UsageError(f"nothing can be served in C here ({native.report()}): --gateway python measures")
    return (PYTHON, C) if wanted == BOTH else (wanted,)


@contextmanager
def gateway(name: str) -> Iterator[None]:
    """Machines that are made inside, by this process or by one that it starts, have this gateway. C is the
    library that the environment says, if it says one."""
    before = os.environ.get(native.SWITCH)
    try:
        if name == PYTHON:
            os.environ[native.SWITCH] = "0"
        yield
    finally:
        if before is None:
            os.environ.pop(native.SWITCH, None)
        else:
            os.environ[native.SWITCH] = before
