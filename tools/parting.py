"""How a run parts with its readers: what they have not read is waited for, and counted if it is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from paravane import StopReason
from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paravane.ending import Ending
    from paravane.tools.signals import Signals
    from paravane.tools.terminal import Terminal

GRACE: Final = 0.25
"""Seconds that the readers of our output have left when the time given is over."""


class Stream(NamedTuple):
    """Output of one kind. `drain` waits until it is read, as `Outlet.drain` does, and `failure` is why it is
    lost (None: it is not)."""

    what: str
    drain: Callable[[float | None, Callable[[], bool]], int]
    failure: Callable[[], OSError | None]


def patience(deadline: float | None, *, interrupted: bool) -> float | None:
    """Until when readers are waited for after a run that had `deadline` (of `time.monotonic`; None: no
    limit)."""
    soon = time.monotonic() + GRACE
    if interrupted:
        return soon
    return None if deadline is None else max(deadline, soon)


def put_out(
    streams: Iterable[Stream],
    say: Callable[[str], None],
    deadline: float | None,
    abandon: Callable[[], bool],
) -> bool:
    """Wait for the readers, and say what was lost all the same. Whether nothing was."""
    losses = [(stream.what, stream.drain(deadline, abandon), stream.failure()) for stream in streams]
    complete = True
    for what, lost, failure in losses:
        if failure is not None or lost:
            say(f"{what} was lost: {failure.strerror if failure else f'{lost} bytes, unread'}")
            complete = False
    return complete


def nobody_reads(ending: Ending, signals: Signals, terminal: Terminal) -> bool:
    """Whether a run was ended because console output cannot be put out any more."""
    asked = signals.caught is not None or terminal.detached
    return ending.reason is StopReason.INTERRUPTED and terminal.broken and not asked


def why_left(ending: Ending, signals: Signals, terminal: Terminal) -> str:
    """Why a guest did not come to its end, in words."""
    if ending.reason is StopReason.INTERRUPTED:
        if signals.caught is not None:
            return f"{signals.caught.name} came"
        if terminal.detached:
            return "its console was left"
        if terminal.broken:
            return "nobody reads its console any more"
    return str(ending)


class Audited(Protocol):
    """A machine, of either kind."""

    def audit(self) -> Sequence[str]:
        """What is wrong with its books, in sentences."""
        ...


def audited(machine: Audited, write: Callable[[str], None]) -> bool:
    """Audit the machine and write a line for each difference. Whether there is none."""
    differences = machine.audit()
    for line in differences or ["no difference"]:
        write(f"audit: {line}")
    return not differences
