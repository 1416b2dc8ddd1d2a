"""The one way a subsystem says no to a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paravane.abi.errno import Errno


class Refusal(Exception):
    """A request that is refused: `errno` is for the guest, `sentence` for the log and the trace.

    The sentence names the check that failed and what it looked at (frame, type, count), so that a reader who
    sees -EINVAL can tell why. Raised by subsystems; the hypercall dispatcher puts `-errno` in EAX. Grant and
    xenstore operations translate it into the status their own interface reports.
    """

    def __init__(self, errno: Errno, sentence: str) -> None:
        super().__init__(errno, sentence)
        self.errno = errno
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.errno.name}: {self.sentence}"
