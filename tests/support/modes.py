"""Who serves the traps of guests under test: Python alone, or the native gateway where it can.

A run has one mode. With `both`, the default where the library is built, it is served natively, and the files
listed here, which are about what the gateway serves, run once more in Python. What is tested and what is
started find the mode in the environment (`paravane.gateway.native.SWITCH`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from paravane.gateway import native

TESTS: Final = Path(__file__).parents[1]
PYTHON, C, BOTH = "python", "c", "both"
MODES: Final = (PYTHON, C, BOTH)

IN_BOTH: Final = frozenset(
    {
        "guests/test_engine_deaths.py",
        "guests/test_event_guests.py",
        "guests/test_preemption.py",
        "guests/test_privileged_hypercalls.py",
        "guests/test_segments_guest.py",
        "guests/test_trap_guests.py",
        "guests/test_trap_table.py",
        "guests/test_traps.py",
        "guests/test_vcpu_info.py",
        "guests/test_vcpu_op.py",
    }
)
"""Files below `tests`. None of their fixtures boots a guest for more than one test."""


def settle(asked: str | None) -> str:
    """The mode of this run, `asked` for by its option (None: not), put into the environment. Raises
    UsageError where there is no library to serve natively."""
    if asked == PYTHON:
        os.environ[native.SWITCH] = "0"
    elif asked is not None and os.environ.get(native.SWITCH) == "0":
        del os.environ[native.SWITCH]
    if native.find() is not None:
        return asked or BOTH
    if asked in (C, BOTH):
        raise pytest.UsageError(f"--gateway {asked}: {native.report()}")
    return PYTHON


def modes_of(path: Path, mode: str) -> tuple[str, ...]:
    """The modes in which the tests of a file run."""
    twice = mode == BOTH and path.is_relative_to(TESTS) and path.relative_to(TESTS).as_posix() in IN_BOTH
    return (PYTHON, C) if twice else (mode,)


def library() -> Path | None:
    """The build of the library that the environment names: all tests take that one."""
    told = os.environ.get(native.SWITCH, "0")
    return None if told == "0" else Path(told)
