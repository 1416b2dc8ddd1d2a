"""A console on the process's own terminal.

A terminal is put into raw mode, so that every key reaches the guest. Input that is no terminal (a pipe, a
file) is sent as typing it would be: a line ends with CR.
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from paravane.tools.outlet import Backpressure, Outlet
from paravane.tools.raw_mode import RawMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.tools.lines import Lines

ESCAPE: Final = 0x1D
"""Ctrl-]: what comes next is for us, not for the guest."""

ESCAPES: Final = "Ctrl-] opens a monitor: help lists its commands, quit leaves; Ctrl-] twice sends one"
"""What Ctrl-] does."""

_CHUNK: Final = 4096


class Machine(Protocol):
    """What the terminal needs of the machine that it is joined to: see `paravane.Machine`."""

    def add_input(self, fileno: int, ready: Callable[[], None]) -> None: ...
    def remove_input(self, fileno: int) -> None: ...
    def interrupt(self) -> None: ...
    def hold(self) -> None: ...
    def release(self) -> None: ...
    def post(self, call: Callable[[], object]) -> None: ...


class Console(Protocol):
    """What the terminal needs of a console: see `paravane.devices.console.Console`."""

    @property
    def room(self) -> int: ...
    def feed(self, data: bytes) -> int: ...
    def when_room(self, callback: Callable[[], None]) -> None: ...


class Monitor(Protocol):
    """What the escape key opens: see `paravane.tools.monitor.monitor.Monitor`."""

    @property
    def active(self) -> bool: ...
    def open(self) -> None: ...
    def close(self) -> None: ...
    def key(self, key: int) -> bytes: ...
    def interject(self, lines: bytes) -> bytes: ...
    def above(self, data: bytes) -> bytes: ...


class Terminal:
    """Standard input and output as a guest's console.

        terminal = Terminal()
        domain = machine.create(image, DomainConfig(..., sink=terminal.write))
        with terminal.joined(machine, domain.console):
            machine.run()
        terminal.drain(deadline)

    The end of input is remembered in `eof`, and the guest goes on. `detached` says that the user has left the
    console by its keys, `broken` that output goes nowhere any more; either interrupts the machine, and
    `failure` is why, unless it is just that nobody reads any more. `lost` counts bytes of output that `drain`
    gave up.

    On a terminal `ESCAPE` opens the `monitor` (`ESCAPES`), whatever the guest does: keys that it has no room
    for are dropped, as a terminal itself drops them.
    """

    def __init__(
        self,
        input_fileno: int = 0,
        output_fileno: int = 1,
        *,
        errors: Lines | None = None,
        deaf: bool = False,
    ) -> None:
        """`errors` is where the monitor speaks when output is no terminal (None: there all the same). A
        `deaf` one leaves its input alone."""
        self.monitor: Monitor | None = None
        self._speech = None if os.isatty(output_fileno) else errors
        self._input = input_fileno
        self.interactive = not deaf and os.isatty(input_fileno)
        self.eof = deaf
        self.detached = False
        self.lost = 0
        self._output = Outlet(output_fileno, failed=self._interrupt)
        self._machine: Machine | None = None
        self._backpressure: Backpressure | None = None
        self._console: Console | None = None
        self._raw: RawMode | None = None
        self._listening = False
        self._after_cr = False

    @property
    def broken(self) -> bool:
        return self._output.failure is not None

    @property
    def failure(self) -> OSError | None:
        failure = self._output.failure
        return None if failure is None or failure.errno == errno.EPIPE else failure

    def fileno(self) -> int:
        """The file descriptor that input comes from."""
        return self._input

    def write(self, data: bytes) -> None:
        """A domain's sink: puts out what the guest wrote, unaltered and at once. While the reader is slow,
        the machine is held."""
        if self.monitor is not None and self.monitor.active and self._speech is None:
            data = self.monitor.above(data)
        self._put(data)

    def tell(self, line: str) -> None:
        """A line of text for the user, out of the way of what he types."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        self.speak(self.monitor.interject(data) if self.monitor is not None and self.monitor.active else data)

    def speak(self, data: bytes) -> None:
        """The monitor's sink."""
        if self._speech is None:
            self._put(data)
        else:
            self._speech.put(data)

    def leave(self) -> None:
        """End the console as its user, who wants no more of it."""
        self.detached = True
        self._pause()
        self._interrupt()

    def switch(self, console: Console) -> None:
        """Send input to another console from now on."""
        self._console = console

    def drain(self, deadline: float | None, abandon: Callable[[], bool] = lambda: False) -> int:
        """Wait until all output is read, but not after `deadline` (of `time.monotonic`) or once `abandon`
        says so. How many bytes are lost by now."""
        self.lost += self._output.drain(deadline, abandon)
        return self.lost

    def restore(self) -> None:
        """Make the terminal what it was before, now: the process is about to end."""
        if self._raw is not None:
            self._raw.restore()

    @contextmanager
    def joined(self, machine: Machine, console: Console) -> Iterator[Terminal]:
        """Send input to `console` while in the `with`."""
        self._machine, self._console = machine, console
        self._backpressure = Backpressure(self._output, machine)
        try:
            if self.interactive:
                with RawMode(self._input) as self._raw:
                    self._listen()
                    yield self
            else:
                self._listen()
                yield self
        finally:
            if self.monitor is not None:
                self.monitor.close()
            self._pause()
            self._machine = self._console = self._raw = self._backpressure = None

    def _listen(self) -> None:
        if self._machine is not None and not (self._listening or self.eof or self.detached):
            self._listening = True
            self._machine.add_input(self._input, self._ready)

    def _pause(self) -> None:
        if self._machine is not None and self._listening:
            self._listening = False
            self._machine.remove_input(self._input)

    def _interrupt(self) -> None:
        machine = self._machine
        if machine is not None:
            machine.interrupt()

    def _ready(self) -> None:
        """There is input. What the guest has no room for stays where it is, until it has."""
        console = self._console
        if console is None:
            return
        if not (console.room or self.interactive):
            self._pause()
            console.when_room(self._listen)
            return
        data = self._read(_CHUNK if self.interactive else min(console.room, _CHUNK))
        if data is None:
            return
        if not data:
            self.eof = True
            self._pause()
            return
        if not self.interactive:
            console.feed(self._typed(data))
            return
        keys = self._keys(data)
        if self._console is not None:  # the monitor may have switched to another one
            self._console.feed(keys[: self._console.room])

    def _read(self, size: int) -> bytes | None:
        """Some input, nothing at its end, None when somebody else took it."""
        poll = select.poll()
        poll.register(self._input, select.POLLIN)
        if not poll.poll(0):
            return None
        try:
            return os.read(self._input, size)
        except BlockingIOError:
            return None
        except OSError:
            # A terminal that hung up, a descriptor that was never open: no more input either way.
            return b""

    def _keys(self, data: bytes) -> bytes:
        """What of these keys is for the guest; the others are the monitor's. Nothing counts after the command
        that leaves."""
        keys = bytearray()
        for key in data:
            if self.monitor is not None and self.monitor.active:
                keys += self.monitor.key(key)
            elif self.monitor is not None and key == ESCAPE:
                self.monitor.open()
            else:
                keys.append(key)
            if self.detached:
                break
        return bytes(keys)

    def _put(self, data: bytes) -> None:
        self._output.put(data)
        if self._backpressure is not None:
            self._backpressure.heed()

    def _typed(self, data: bytes) -> bytes:
        """Text as keys: LF and CR LF are the Enter key, also when a read ends between them."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            if not data:
                self._after_cr = False
                return b""
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
