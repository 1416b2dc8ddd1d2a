"""Exit statuses of the command, and the error that ends it with one line."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What the shell sees."""

    OK = 0
    ERRORS = 1
    USAGE = 2
    CRASHED = 3
    REBOOT = 4
    IMAGE = 5
    TIMEOUT = 124
    INTERRUPTED = 130


class UsageError(Exception):
    """A mistake of the user's, told in one line on stderr; `status` is the exit status."""

    def __init__(self, sentence: str, status: Status = Status.USAGE) -> None:
        super().__init__(sentence)
        self.status = status
