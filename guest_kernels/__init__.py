"""The guest kernels that come with Paravane: one folder each, one idea each.

A folder holds its sources (*.S), `kernel.toml` (how to boot it), `expected.txt` (its console) and a README.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
_MIB = 1 << 20
_TYPES = {"description": str, "memory_mib": int, "exit_status": int, "cmdline": str}


class UnknownKernel(LookupError):
    """No guest kernel has this name; the message lists those that exist."""


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """One guest kernel and what a right hypervisor makes of it.

    `memory` is in bytes. `expected` is the console text as patterns for `expected.differences`.
    `exit_status` is that of `paravane boot`: 0 after a power-off, 3 after a crash.
    """

    name: str
    description: str
    sources: tuple[Path, ...]
    memory: int
    cmdline: str
    exit_status: int
    expected: str


def names() -> tuple[str, ...]:
    """The names of all guest kernels, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/kernel.toml")))


def load(name: str) -> GuestKernel:
    """The guest kernel called `name`. Raises UnknownKernel when there is none."""
    if name not in names():
        raise UnknownKernel(f"no guest kernel is called {name!r}; there are {', '.join(names())}")
    folder = _FOLDER / name
    facts = tomllib.loads((folder / "kernel.toml").read_text(encoding="utf-8"))
    wrong = [key for key, kind in _TYPES.items() if not isinstance(facts.get(key), kind)]
    if wrong or facts.keys() != _TYPES.keys():
        raise ValueError(f"{name}/kernel.toml must have exactly {', '.join(_TYPES)}, each of its type")
    return GuestKernel(
        name=name,
        description=facts["description"],
        sources=tuple(sorted(folder.glob("*.S"))),
        memory=facts["memory_mib"] * _MIB,
        cmdline=facts["cmdline"],
        exit_status=facts["exit_status"],
        expected=(folder / "expected.txt").read_text(encoding="utf-8"),
    )
