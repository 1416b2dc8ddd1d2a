"""Whether the vcpu of a bare PC could use the processor: it sleeps in HLT, and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Sleep:
    """Awake at first (`paravane.personality.Readiness`)."""

    yielded = False

    def __init__(self, stop: Callable[[], None]) -> None:
        """`stop` has the processor leave the guest."""
        self._stop = stop
        self._halted = self._ended = self._told = False
        self._tell: Callable[[bool], None] | None = None

    @property
    def runnable(self) -> bool:
        return not (self._halted or self._ended)

    @property
    def why_stopped(self) -> str:
        if self._ended:
            return "ended"
        return "blocked" if self._halted else "slice over"

    def schedule(self, scheduler: Callable[[bool], None], kick: Callable[[], None]) -> None:
        """See `Readiness`; there is no other vcpu that could kick this one."""
        self._tell, self._told = scheduler, False
        self._changed()

    def begin_slice(self) -> None:
        """It gets a slice."""

    def switch_in(self) -> None:
        """It gets the processor, of which its guest sees nothing."""

    def switch_out(self) -> None:
        """It loses the processor."""

    def sleep(self) -> None:
        """Until `wake`."""
        self._halted = True
        self._stop()
        self._changed()

    def wake(self) -> None:
        """Idempotent."""
        if self._halted:
            self._halted = False
            self._changed()

    def end(self) -> None:
        """It never runs again. Idempotent."""
        self._ended = True
        self._stop()
        self._changed()

    def _changed(self) -> None:
        if self._tell is not None and self._told != self.runnable:
            self._told = self.runnable
            self._tell(self._told)
