"""Who serves the traps of guests under test: Python alone, or the native gateway where it can.

A run has one mode: native where the library is built. What is tested and what is started find it in the
environment (`paravane.gateway.native.SWITCH`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from paravane.gateway import native

PYTHON, C = "python", "c"
MODES: Final = (PYTHON, C)


def settle(asked: str | None) -> str:
    """The mode of this run, `asked` for by its option (None: not), put into the environment. Raises
    UsageError where there is no library to serve natively."""
    if asked == PYTHON:
        os.environ[native.SWITCH] = "0"
    elif asked is not None and os.environ.get(native.SWITCH) == "0":
        del os.environ[native.SWITCH]
    if native.find() is not None:
        return C
    if asked == C:
        raise pytest.UsageError(f"--gateway {C}: {native.report()}")
    return PYTHON


def library() -> Path | None:
    """The build of the library that the environment names: all tests take that one."""
    told = os.environ.get(native.SWITCH, "0")
    return None if told == "0" else Path(told)
