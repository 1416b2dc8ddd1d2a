"""The control domain's console: the hypervisor's own, which that domain writes to and reads (console_io)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.event_channel import Virq
from paravane.devices.console.ring_console import BACKLOG

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.console.ring_console import Sink


class ControlConsole:
    """The hypervisor's console as the control domain has it: its own output comes out unaltered, and what is
    typed is its input, announced by VIRQ_CONSOLE.

    It has what a ring console has (`paravane.devices.console.Console`), for whoever joins it to a terminal.
    """

    def __init__(self, sink: Sink, raise_virq: Callable[[Virq], None]) -> None:
        self._sink = sink
        self._raise_virq = raise_virq
        self._output = bytearray()
        self._input = bytearray()
        self._room_made: dict[Callable[[], None], None] = {}

    def write(self, chunk: bytes) -> int:
        """Take text of the control domain: how many bytes, none while the sink does not keep up."""
        self.resume()
        if self._output:
            return 0
        self._output += chunk
        self.resume()
        return len(chunk)

    def peek(self, count: int) -> bytes:
        """At most `count` bytes of input."""
        return bytes(self._input[:count])

    def consume(self, count: int) -> None:
        """So many bytes of input were taken."""
        del self._input[:count]
        if count:
            waiting, self._room_made = self._room_made, {}
            for room_made in waiting:
                room_made()

    def close(self) -> None:
        """The domain is gone; what the sink has not taken waits for `resume`. Idempotent."""
        self._input.clear()

    # What a terminal asks of it.

    def resume(self) -> None:
        """The sink can take more: offer it what waits."""
        if self._output:
            taken = self._sink(bytes(self._output))
            del self._output[: len(self._output) if taken is None else taken]

    @property
    def waiting(self) -> int:
        """Bytes of output that the sink has not taken."""
        return len(self._output)

    def feed(self, data: bytes) -> int:
        """Input for the domain. Returns how many bytes were accepted."""
        accepted = data[: self.room]
        self._input += accepted
        if accepted:
            self._raise_virq(Virq.CONSOLE)
        return len(accepted)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, as soon as the domain has taken input. Several may wait for that."""
        self._room_made[callback] = None

    @property
    def room(self) -> int:
        """How many bytes `feed` would accept now."""
        return BACKLOG - len(self._input)
