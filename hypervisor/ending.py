"""Why a run of the machine came back, as data."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from paravane.abi.sched import ShutdownReason
from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paravane.personality import Guest, GuestVcpu


class StopReason(Enum):
    """Why `Machine.run` came back; the values are sentences for people."""

    DONE = "every domain has ended"
    TIMEOUT = "the time given was used up"
    TRAPS = "the number of traps given was used up"
    TIME = "the system time given has come"
    STALLED = "every vcpu is blocked, and no timer or input can wake one"
    INTERRUPTED = "somebody asked it to stop"


ENDED_STATUS: Final[Mapping[ShutdownReason, int]] = {
    ShutdownReason.poweroff: 0,
    ShutdownReason.crash: 3,
    ShutdownReason.reboot: 4,
    ShutdownReason.suspend: 6,
    ShutdownReason.soft_reset: 7,
    ShutdownReason.watchdog: 8,
}
"""How a domain ended, as an exit status."""

CUT_SHORT_STATUS: Final[Mapping[StopReason, int]] = {
    StopReason.DONE: 1,
    StopReason.STALLED: 9,
    StopReason.TIMEOUT: 124,
    StopReason.TRAPS: 124,
    StopReason.TIME: 124,
    StopReason.INTERRUPTED: 130,
}
"""Why a domain that has not ended was left, as an exit status; when the run is over without a word of how it
ended, it was taken away by somebody else."""


def exit_status(stopped: StopReason, ended: ShutdownReason | None) -> int:
    """The exit status that says what came of a domain, of which `ended` is None if it lives."""
    return CUT_SHORT_STATUS[stopped] if ended is None else ENDED_STATUS[ended]


@dataclass(frozen=True, slots=True)
class Ending:
    """One return of `Machine.run`: why, and the vcpu that had the processor then, with its domain (None:
    nobody had it)."""

    reason: StopReason
    vcpu: GuestVcpu | None = None
    domain: Guest | None = None

    def __str__(self) -> str:
        return self.reason.value
