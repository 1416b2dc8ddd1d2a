"""An end at which somebody may listen: the other side of a terminal, or of a connection."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from paravane.devices.console.watched import Watched

if TYPE_CHECKING:
    from paravane.devices.console.host_end import Joined
    from paravane.devices.xenbus import DeviceHost

LIMIT: Final = 1 << 20
"""Bytes that are kept for the next listener while nobody listens, the last ones: what libxl has xenconsoled
keep (the node `limit`)."""

_CHUNK: Final = 1 << 14

log = logging.getLogger(__name__)


class StreamEnd:
    """Bytes both ways over a non-blocking descriptor, which comes and goes with whoever listens.

    While somebody listens, a guest that writes faster than he reads waits in its ring, and he waits while
    the guest takes no input. While nobody does, the guest goes on, and the last `LIMIT` bytes are kept. So it
    is with a listener as well in a run that is to be a function of its input alone: how fast somebody reads
    is nothing that a guest may see there.
    """

    def __init__(self, host: DeviceHost) -> None:
        self.host = host
        self.address = self.tty = ""
        self._kept = bytearray()
        self._console: Joined | None = None
        self._fd = -1
        self._watched: Watched | None = None
        self._present = self._blocked = self._ended = False
        self._taking = True
        self._patient = not host.counted

    @property
    def present(self) -> bool:
        """Whether somebody listens."""
        return self._present

    @property
    def joined(self) -> bool:
        """Whether there is a console that input is for."""
        return self._console is not None

    def write(self, data: bytes) -> int:
        """Hand it to who listens, or keep it. How much was taken."""
        if self._present and self._hung_up():
            self._present = False
        sent = self._send(data) if self._present and not self._kept else 0
        if not (self._present and self._patient):
            self._keep(data[sent:])
            sent = len(data)
        self._arrange()
        return sent

    def join(self, console: Joined) -> None:
        self._console, self._taking = console, True
        self._arrange()

    def part(self) -> None:
        self._console = None
        self._arrange()

    def finish(self) -> None:
        self._patient = False

    def close(self) -> None:
        self.part()
        while self._present and self._kept and not self._blocked:
            self._put_out_kept()
        if self._present and self._kept:
            log.warning("%d bytes for %s were lost: nobody read them", len(self._kept), self.address)
        self._lose()
        self._kept.clear()

    def _begin(self, fd: int) -> None:
        """Somebody listens at this descriptor."""
        self._fd = fd
        self._watched = Watched(self.host.outside, fd, self._ready, self._room)
        self._present, self._blocked, self._ended, self._taking = True, False, False, True
        self._room()

    def _lose(self) -> None:
        """Nobody is at the descriptor any more, which the caller closes. Idempotent."""
        if self._watched is not None:
            self._watched.close()
        self._watched = None
        self._fd = -1
        self._present = False

    def _left(self) -> None:
        """He has gone, or cannot be reached any more."""
        self._lose()

    def _hung_up(self) -> bool:
        """Whether nobody is there to read what would be written now."""
        return False

    def _arrange(self) -> None:
        """Wait for what can go on."""
        if self._watched is not None:
            self._watched.want(
                readable=self.joined and self._taking and not self._ended,
                writable=self._present and (self._blocked or bool(self._kept)),
            )

    def _ready(self) -> None:
        """There is input. What the console has no room for stays where it is."""
        console = self._console
        if console is None or self._fd < 0:
            return
        room = console.room
        if not room:
            self._taking = False
            console.when_room(self._take_again)
        elif (data := self._read(min(room, _CHUNK))) is not None:
            # At the end of his input he may still listen.
            self._ended = not data
            console.feed(data)
        self._arrange()

    def _take_again(self) -> None:
        self._taking = True
        self._arrange()

    def _room(self) -> None:
        """What was kept can be put out, or what the guest has written since."""
        self._blocked = False
        if self._present and self._hung_up():
            self._present = False
        elif self._present and self._kept:
            self._put_out_kept()
        if self._console is not None and not (self._kept and self._present):
            self._console.resume()
        self._arrange()

    def _put_out_kept(self) -> None:
        del self._kept[: self._send(bytes(self._kept[:_CHUNK]))]

    def _read(self, size: int) -> bytes | None:
        """Some input, nothing at its end, None when there is none now."""
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return None
        except OSError:
            # A terminal whose other side was closed, a connection that was reset.
            self._left()
            return b""

    def _send(self, data: bytes) -> int:
        """How many bytes he takes now."""
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._left()
            return 0
        self._blocked = sent < len(data)
        return sent

    def _keep(self, data: bytes) -> None:
        self._kept += data
        del self._kept[: max(0, len(self._kept) - LIMIT)]
