"""What every reader of a trace format is: bytes in, as they come, entries out.

So a file is read piece by piece, however large it is, and a file that is being written is followed by the
same reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.trace.entry import Entry
    from paravane.trace.writer import Header


class TraceError(Exception):
    """Why a trace cannot be read any further, in one sentence."""


class Decoder(Protocol):
    """Reads one trace of one format."""

    def feed(self, data: bytes) -> Iterator[Entry]:
        """The entries that are complete now that `data` has come. Raises TraceError where it is damaged."""
        ...

    def finish(self) -> Iterator[Entry]:
        """The entries that the end of the file completes. Raises TraceError where it is damaged."""
        ...

    @property
    def header(self) -> Header:
        """What the trace says of itself; of a format that says nothing what is known all the same."""
        ...

    @property
    def note(self) -> str:
        """After `finish`: what of the last entry was missing, in one sentence; empty if nothing was."""
        ...
