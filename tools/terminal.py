"""A console on the process's own terminal.

A terminal is put into raw mode, so that every key reaches the guest, and is put back on every way out. Input
that is no terminal (a pipe, a file) is sent as typing it would be: a line ends with CR.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import termios
import threading
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

ESCAPE: Final = 0x1D
"""Ctrl-]: leave the console, as with xl."""

_CHUNK: Final = 4096
_FATAL_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Machine(Protocol):
    """What the terminal needs of the machine that it is joined to."""

    def add_input(self, fileno: int, ready: Callable[[], None]) -> None: ...
    def remove_input(self, fileno: int) -> None: ...
    def interrupt(self) -> None: ...


class Console(Protocol):
    """What the terminal needs of a console: see `paravane.devices.console.Console`."""

    @property
    def room(self) -> int: ...
    def feed(self, data: bytes) -> int: ...
    def when_room(self, callback: Callable[[], None]) -> None: ...


class RawMode:
    """A terminal in raw mode while in the `with`: left, stopped, killed or crashed, it is as it was before.

    Signals are looked after only when entered in the main thread, as only that one gets them.
    """

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        self._saved: list[Any] | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> RawMode:
        self._saved = termios.tcgetattr(self._fileno)
        atexit.register(self._restore)
        if threading.current_thread() is threading.main_thread():
            for number in _FATAL_SIGNALS:
                self._handle(number, self._die)
            self._handle(signal.SIGTSTP, self._stop)
            self._handle(signal.SIGCONT, self._continue)
        tty.setraw(self._fileno, termios.TCSANOW)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self._restore()
        self._saved = None
        atexit.unregister(self._restore)

    def _handle(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        if signal.getsignal(number) != signal.SIG_IGN:
            self._handlers[number] = signal.signal(number, handler) or signal.SIG_DFL

    def _restore(self) -> None:
        if self._saved is not None:
            with suppress(termios.error):  # the terminal itself is gone
                termios.tcsetattr(self._fileno, termios.TCSANOW, self._saved)

    def _die(self, number: int, frame: FrameType | None) -> None:
        """Do what the signal would have done without us, on a terminal that is whole again."""
        self._restore()
        signal.signal(number, self._handlers.get(number, signal.SIG_DFL))
        os.kill(os.getpid(), number)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _continue(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTSTP, self._stop)
        with suppress(termios.error):
            tty.setraw(self._fileno, termios.TCSANOW)


class Terminal:
    """Standard input and output as a guest's console.

        terminal = Terminal()
        domain = machine.create(image, DomainConfig(..., sink=terminal.write))
        with terminal.joined(machine, domain.console):
            machine.run()

    The end of input is remembered in `eof` and harms nobody: the guest goes on. `detached` says that the user
    pressed the escape key, `broken` that output goes nowhere any more; either interrupts the machine, and
    `failure` is why, unless it is just that nobody reads any more.
    """

    def __init__(self, input_fileno: int = 0, output_fileno: int = 1) -> None:
        self._input = input_fileno
        self._output = output_fileno
        self.interactive = os.isatty(input_fileno)
        self.eof = False
        self.detached = False
        self.broken = False
        self.failure: OSError | None = None
        self._machine: Machine | None = None
        self._console: Console | None = None
        self._listening = False
        self._after_cr = False

    def fileno(self) -> int:
        """The file descriptor that input comes from."""
        return self._input

    def write(self, data: bytes) -> None:
        """Put out what the guest wrote, unaltered and at once. Output that nobody takes is dropped."""
        rest = memoryview(data)
        while rest and not self.broken:
            try:
                rest = rest[os.write(self._output, rest) :]
            except BlockingIOError:
                # The description is shared with whoever made it non-blocking: wait instead of changing it.
                poll = select.poll()
                poll.register(self._output, select.POLLOUT)
                poll.poll()
            except BrokenPipeError:
                self.broken = True
                self._interrupt()
            except OSError as error:
                self.failure = error
                self.broken = True
                self._interrupt()

    @contextmanager
    def joined(self, machine: Machine, console: Console) -> Iterator[Terminal]:
        """Send input to `console` while in the `with`."""
        self._machine, self._console = machine, console
        try:
            if self.interactive:
                with RawMode(self._input):
                    self._listen()
                    yield self
            else:
                self._listen()
                yield self
        finally:
            self._pause()
            self._machine = self._console = None

    def _listen(self) -> None:
        if self._machine is not None and not (self._listening or self.eof or self.detached):
            self._listening = True
            self._machine.add_input(self._input, self._ready)

    def _pause(self) -> None:
        if self._machine is not None and self._listening:
            self._listening = False
            self._machine.remove_input(self._input)

    def _interrupt(self) -> None:
        if self._machine is not None:
            self._machine.interrupt()

    def _ready(self) -> None:
        """There is input. What the guest has no room for stays where it is, until it has."""
        console = self._console
        if console is None:
            return
        if not console.room:
            self._pause()
            console.when_room(self._listen)
            return
        data = self._read(min(console.room, _CHUNK))
        if data is None:
            return
        if not data:
            self.eof = True
            self._pause()
            return
        console.feed(self._keys(data) if self.interactive else self._typed(data))

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
        """Keys pressed before the escape key; that one ends it."""
        keys, escape, _ = data.partition(bytes((ESCAPE,)))
        if escape:
            self.detached = True
            self._pause()
            self._interrupt()
        return keys

    def _typed(self, data: bytes) -> bytes:
        """Text as keys: LF and CR LF are the Enter key, also when a read ends between them."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            if not data:
                self._after_cr = False
                return b""
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
