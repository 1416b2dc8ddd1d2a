"""What every format of a trace file has in common: how entries become bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from paravane.classes import dataclass

if TYPE_CHECKING:
    from paravane.trace.entry import Entry


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a trace before its first entry.

    `clock` says what its times are: `virtual`, a function of the guests' work alone, or `host`. They are
    nanoseconds since the machine was created. `gateway_off` says that what the trace is to have kept guests
    from the native gateway, which is there: by the host's clock they take longer than without a trace.
    """

    producer: str = "paravane"
    clock: str = "virtual"
    gateway_off: bool = False


Again = Callable[[int, int, Sequence[int]], bytes]
"""Time, end and argument registers of a record -> its bytes."""


class Writer(Protocol):
    """Makes the bytes of one trace file, piece by piece, for somebody else to put out.

    The pieces that came so far are a whole file, but for what `end` gives: a trace that is cut off between
    two of them can be read up to there.
    """

    def begin(self, header: Header) -> bytes:
        """What comes before the first entry. To be asked for once, first."""
        ...

    def entry(self, entry: Entry) -> bytes:
        """One entry. Entries come in the order in which they were complete, so `time` may go back."""
        ...

    def again(self, entry: Entry) -> Again | None:
        """What makes the bytes of entries that come later and differ from this one, which has been written,
        in nothing but `time`, `end` and, of a hypercall, those of its `words` that are no arguments. None
        where that would spare nothing."""
        ...

    def end(self) -> bytes:
        """What comes after the last entry."""
        ...
