"""Finding the library, and saying why there is none.

It is an ordinary shared library, loaded by ctypes: it needs no headers of Python's to be built, and one build
serves every release of Python. The environment variable PARAVANE_NATIVE says otherwise: 0 does without it, a
path is another build of it; 1 is what goes without saying. Whatever it says, guests run; that a path is of no
use is logged once.
"""

from __future__ import annotations

import ctypes
import logging
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

from paravane.classes import NamedTuple
from paravane.cpu.engine.live import find as find_state
from paravane.cpu.trap_entry import EntryHooks
from paravane.gateway.header import mark
from paravane.gateway.structs import Block

SWITCH: Final = "PARAVANE_NATIVE"
_log: Final = logging.getLogger(__name__)
_MADE_WITH: Final = ("gateway_mark", "gateway_block_size")
_HOOKS: Final = EntryHooks(
    "gateway_on_trap", "gateway_on_invalid", "gateway_on_cpuid", "gateway_on_in", "gateway_on_out"
)


class Native(NamedTuple):
    """A library that fits: its file, and the addresses of its hooks and of its TLB fill."""

    path: Path
    hooks: EntryHooks
    tlb_fill: int


def find() -> Native | None:
    """The library for a machine that is made now; None where Python does it all."""
    found = _found()
    if isinstance(found, Native):
        return found
    if os.environ.get(SWITCH, "") not in ("", "0", "1"):
        _tell(found)
    return None


def report() -> str:
    """One line: whether traps are served in C, and why not."""
    found = _found()
    return f"native gateway: {f'yes, {found.path.name}' if isinstance(found, Native) else f'no: {found}'}"


def _found() -> Native | str:
    wanted = os.environ.get(SWITCH, "")
    if wanted == "0":
        return f"switched off by {SWITCH}"
    if find_state() is None:
        return "the engine's state is not seen in place"
    if wanted in ("", "1"):
        return _installed()
    path = Path(wanted).absolute()  # a name alone the loader would seek among the system's libraries
    return _load(path) if path.is_file() else f"{SWITCH} is {wanted!r}: neither 0, 1 nor a library's file"


@cache
def _tell(reason: str) -> None:
    """Somebody chose a library, and it is not used."""
    _log.warning("Python serves all traps: %s", reason)


@cache
def _installed() -> Native | str:
    """The library that lies beside this file, or why it cannot be used."""
    folder = Path(__file__).parent
    built = [folder / f"_native{suffix}" for suffix in EXTENSION_SUFFIXES]
    path = next((path for path in built if path.exists()), None)
    return "it was not built" if path is None else _load(path)


@cache
def _load(path: Path) -> Native | str:
    """A library, or why it cannot be used."""
    try:
        library = ctypes.CDLL(str(path))
        made_with = [ctypes.c_uint32.in_dll(library, name).value for name in _MADE_WITH]
        *hooks, fill = (_address(library, name) for name in (*_HOOKS, "gateway_tlb_fill"))
    except (OSError, ValueError, AttributeError) as error:
        return f"{path.name} cannot be used: {error}"
    if made_with != [mark(), ctypes.sizeof(Block)]:
        return f"{path.name} was built from other sources"
    return Native(path, EntryHooks._make(hooks), fill)


def _address(library: ctypes.CDLL, name: str) -> int:
    """Raises AttributeError for a function that it does not have."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
