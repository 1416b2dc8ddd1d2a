"""Consoles on pseudo-terminals of the host's, as xenconsoled has them (pty(7))."""

from __future__ import annotations

import os
import select
import termios
import tty
from contextlib import ExitStack
from typing import TYPE_CHECKING

from paravane.classes import dataclass
from paravane.devices.console.openings import Openings
from paravane.devices.console.stream_end import StreamEnd
from paravane.devices.console.watched import Watched

if TYPE_CHECKING:
    from paravane.devices.xenbus import DeviceHost


class _PtyEnd(StreamEnd):
    """The master of a pseudo-terminal, whose other side, `tty`, anybody of this user may open and close.

    The other side is not kept open here, so that it can be told whether anybody listens: while nobody has it
    open, the master is hung up. That is no event which one could wait for without being told of it for ever;
    that somebody opens it is one of the file system's.
    """

    def __init__(self, host: DeviceHost) -> None:
        """Raises OSError."""
        super().__init__(host)
        with ExitStack() as stack:
            self._master, slave = os.openpty()
            stack.callback(os.close, self._master)
            try:
                self.tty = self.address = os.ttyname(slave)
                tty.setraw(slave, termios.TCSANOW)
                os.set_blocking(self._master, False)
                self._openings = Openings(self.tty)
            finally:
                os.close(slave)
            stack.pop_all()
        self._opened = Watched(host.outside, self._openings.fileno(), self._look)
        self._opened.want(readable=True, for_guests=False)

    def _arrange(self) -> None:
        super()._arrange()
        if self._openings.fileno() >= 0:
            # Whoever opens it may type what a guest waits for, unless no guest has the console.
            self._opened.want(readable=True, for_guests=self.joined)

    def close(self) -> None:
        if self._openings.fileno() >= 0:
            self._opened.close()
            self._openings.close()
            super().close()
            os.close(self._master)

    def _look(self) -> None:
        """Somebody has opened it, and may have closed it again: what he typed is there to be read."""
        self._openings.forget()
        if not self._hung_up() or self._unread():
            self._lose()
            self._begin(self._master)

    def _hung_up(self) -> bool:
        return bool(self._poll() & select.POLLHUP)

    def _unread(self) -> bool:
        return bool(self._poll() & select.POLLIN)

    def _poll(self) -> int:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return next((events for _, events in poll.poll(0)), 0)


@dataclass(frozen=True, slots=True)
class PtyEnd:
    """A console on a new pseudo-terminal, whose path is told when it is there (`HostEnd.address`)."""

    def open(self, host: DeviceHost) -> _PtyEnd:
        """Raises ValueError."""
        try:
            return _PtyEnd(host)
        except OSError as error:
            raise ValueError(f"no pseudo-terminal can be had for a console: {error.strerror}") from None
