"""What goes wrong with devices that work, for whoever wants to see guests meet it (`paravane.faults`)."""

from __future__ import annotations

from typing import Final, Protocol

FAILS: Final = -1
"""In place of nanoseconds: never."""


class DeviceFaults(Protocol):
    """Asked by a backend before it does something that may go wrong."""

    def disk(self, domid: int, request: str, /) -> int:
        """By how many nanoseconds a disk of a domain is late with a request, which is described for a reader;
        `FAILS` for one that it cannot carry out."""
        ...

    def packet(self, domid: int, size: int, /) -> bool:
        """Whether a frame of so many bytes for a domain is lost on its way."""
        ...
