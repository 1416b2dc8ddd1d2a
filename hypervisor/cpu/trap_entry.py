"""A way in for traps that comes before Python's."""

from typing import Any, Protocol


class TrapEntry(Protocol):
    """A function in C that the engine calls for every trap. One that it does not serve whole it hands on,
    with nothing changed, to the hook it was given by `fall_back`."""

    @property
    def address(self) -> int:
        """Of a function with the signature of the engine's interrupt hook (INTERRUPT_HOOK)."""
        ...

    @property
    def user(self) -> int:
        """What the function is called with."""
        ...

    def fall_back(self, hook: Any, /) -> None:
        """Python's hook, a C function of the same signature."""
        ...
