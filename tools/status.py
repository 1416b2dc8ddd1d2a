"""Exit statuses of the command, and the error that ends it with one line."""

from __future__ import annotations

from enum import IntEnum

from paravane.abi.sched import ShutdownReason
from paravane.ending import CUT_SHORT_STATUS, ENDED_STATUS, StopReason


class Status(IntEnum):
    """What the shell sees. 3 and above are `boot`'s, but for 5 and 130."""

    OK = 0
    ERRORS = 1
    USAGE = 2
    CRASHED = ENDED_STATUS[ShutdownReason.crash]
    REBOOT = ENDED_STATUS[ShutdownReason.reboot]
    IMAGE = 5
    SUSPENDED = ENDED_STATUS[ShutdownReason.suspend]
    SOFT_RESET = ENDED_STATUS[ShutdownReason.soft_reset]
    WATCHDOG = ENDED_STATUS[ShutdownReason.watchdog]
    STALLED = CUT_SHORT_STATUS[StopReason.STALLED]
    TIMEOUT = CUT_SHORT_STATUS[StopReason.TIMEOUT]
    INTERRUPTED = CUT_SHORT_STATUS[StopReason.INTERRUPTED]


EXPLAINED = (
    (Status.OK, "success; boot: the guest powered off"),
    (Status.ERRORS, "the sources have errors, or output could not be written"),
    (Status.USAGE, "bad usage, or a file that cannot be read"),
    (Status.CRASHED, "the guest crashed; its dump is on stderr"),
    (Status.REBOOT, "the guest asked for a reboot, and was not started again"),
    (Status.IMAGE, "the image could not be loaded"),
    (Status.SUSPENDED, "the guest suspended itself"),
    (Status.SOFT_RESET, "the guest asked for a soft reset"),
    (Status.WATCHDOG, "the guest's watchdog expired"),
    (Status.STALLED, "every vcpu sleeps, and nothing can wake one"),
    (Status.TIMEOUT, "--timeout or --max-traps was used up"),
    (Status.INTERRUPTED, "interrupted: Ctrl-C, or Ctrl-] and quit on a console"),
)
"""The statuses in words, for `--help`."""


class UsageError(Exception):
    """A mistake of the user's, told in one line on stderr; `status` is the exit status."""

    def __init__(self, sentence: str, status: Status = Status.USAGE) -> None:
        super().__init__(sentence)
        self.status = status
