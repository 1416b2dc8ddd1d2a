"""A way in for traps that comes before Python's."""

from typing import Any, Protocol

from paravane.classes import NamedTuple


class EntryHooks(NamedTuple):
    """The engine's hooks by which a guest enters the hypervisor, or gets an answer of it: traps (with the
    signature of INTERRUPT_HOOK in `paravane.cpu.engine.library`), invalid opcodes (INVALID_HOOK), CPUID
    (CPUID_HOOK), and instructions that read a port (IN_HOOK) or write to one (OUT_HOOK)."""

    trap: Any
    invalid: Any
    cpuid: Any
    port_in: Any
    port_out: Any


class TrapEntry(Protocol):
    """Functions in C that the engine calls first. What they do not serve whole they hand on, with nothing
    changed, to the hooks that they were given by `fall_back`."""

    @property
    def hooks(self) -> EntryHooks:
        """The functions' addresses."""
        ...

    @property
    def user(self) -> int:
        """What the functions are called with."""
        ...

    def fall_back(self, hooks: EntryHooks, /) -> None:
        """Python's hooks, C functions of the same signatures."""
        ...
