"""A process that writes a trace file, so that guests need not wait for it.

It is forked before there is a machine, and knows only the ring that the machine's process packs messages
into. What is in the ring is not lost with that process: the writer goes on to the last message, and then
ends. It has a session of its own and takes no signals, so that nothing but SIGKILL ends it earlier.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import threading
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from paravane.tools.outlet import Backpressure
from paravane.trace.packer import Packer
from paravane.trace.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.tools.outlet import Holdable
    from paravane.trace import Header
    from paravane.trace.unpacker import Unpacker

_SOON: Final = 0.004
_LATER: Final = 0.04
"""Seconds after which the writer looks for messages again: after it has found some, and at most. A file that
is followed is that late."""

_LOOK_AGAIN: Final = 0.002
"""Seconds after which who waits for the writer looks again."""

_STALLED: Final = 0.25
_PATIENCE: Final = 10.0
"""Seconds without any progress of the writer after which the end of the run waits for it no more, and after
which a hypercall that has filled the ring does not."""

_LONGEST_REPORT: Final = 4096


class TraceProcess:
    """Writes to a file what is packed by `recorder` (paravane.tools.trace_output.TraceSink)."""

    def __init__(self, fileno: int, unpacker: Unpacker, header: Header) -> None:
        """OSError where no process can be started. Nobody else may write to `fileno` from now on. There
        should be no other threads: what one has locked stays so in a process that does not have it."""
        self.failure: OSError | None = None
        """Why the file is not whole (None: it is, as far as is known)."""
        self._ended = False
        self._ring = Ring()
        self._ring.full = self._wait
        self.recorder = Packer(self._ring)
        self._taken, self._since = 0, time.monotonic()
        lifeline, self._lifeline = os.pipe()
        self._report, report = os.pipe()
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _Writer(self._ring, unpacker, fileno, (lifeline, report)).run(header, parent)
        except OSError:
            self._let_go()
            os.close(self._report)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(lifeline)
            os.close(report)

    def join(self, machine: Holdable | None) -> None:
        """From now on hold this machine, or none, when the writer is slow."""
        self._ring.congested = (lambda: None) if machine is None else Backpressure(self, machine).heed
        self.recorder.forget()

    @property
    def congested(self) -> bool:
        """Whether the writer is so slow that it is time to wait for it."""
        return self._alive and 2 * self._ring.used > self._ring.capacity

    def when_room(self, call: Callable[[], None]) -> None:
        """Make `call` once, in another thread, when at most a quarter of the ring is in use."""

        def watch() -> None:
            while self._alive and 4 * self._ring.used > self._ring.capacity:
                time.sleep(_LOOK_AGAIN)
            call()

        threading.Thread(target=watch, daemon=True).start()

    def finish(self) -> None:
        """There is no more to write."""
        self.recorder.end()
        self._let_go()

    def drain(self, deadline: float | None, abandon: Callable[[], bool]) -> int:
        """Wait until the file is complete, or until `abandon` says so or, past `deadline` (of
        `time.monotonic`), the writer makes no progress. It goes on by itself: 0 bytes are lost."""
        self._since = time.monotonic()
        while not self._has_ended(_LOOK_AGAIN) and not abandon():
            stalled = self._stalled()
            if deadline is not None and time.monotonic() > deadline and stalled > _STALLED:
                break
        return 0

    def close(self) -> None:
        """Leave the writer to itself."""
        self._let_go()
        self._has_ended(0)
        os.close(self._report)

    def _let_go(self) -> None:
        """That this end is closed tells the writer that there is no more."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _wait(self) -> bool:
        """The ring is full, in the middle of what cannot be held: whether to go on waiting for room."""
        time.sleep(_LOOK_AGAIN)
        return self._alive and self._stalled() < _PATIENCE

    def _stalled(self) -> float:
        """Seconds since the writer made progress, as far as that was looked at."""
        now, taken = time.monotonic(), self._ring.taken
        if taken != self._taken:
            self._taken, self._since = taken, now
        return now - self._since

    @property
    def _alive(self) -> bool:
        # It is not waited for here, so that its number stays its own, and any thread may ask.
        try:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return not self._ended and os.waitid(os.P_PID, self.pid, flags) is None
        except ChildProcessError:
            # It was waited for meanwhile.
            return False

    def _has_ended(self, seconds: float) -> bool:
        """Whether the writer has ended, or does in that time. Then it is known whether the file is whole."""
        while not self._ended and select.select([self._report], [], [], seconds)[0]:
            said = os.read(self._report, _LONGEST_REPORT)
            if said:
                self.failure = OSError(errno.EIO, said.decode("utf-8", "replace"))
                continue
            self._ended = True
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            if status and self.failure is None:
                sentence = f"the process that writes it was ended by signal {-status}"
                self.failure = OSError(errno.EPIPE, sentence)
        return self._ended


class _Writer:
    """The process itself."""

    def __init__(self, ring: Ring, unpacker: Unpacker, fileno: int, pipes: tuple[int, int]) -> None:
        """`pipes`: one whose other end is closed when there is no more, and one to say what went wrong."""
        self._ring = ring
        self._unpacker = unpacker
        self._fileno = fileno
        self._lifeline, self._report = pipes
        self._failed = False

    def run(self, header: Header, parent: int) -> NoReturn:
        """Write until there is no more. All signals stay blocked, as they were when it was forked."""
        try:
            os.setsid()
            self._close_others()
            # What is there already need not be looked at by the collector, which would copy its pages.
            gc.freeze()
            self._write(self._unpacker.begin(header))
            self._follow(parent)
        except BaseException as error:  # noqa: BLE001 - nothing may come back into the program that was forked
            self._fail(traceback.format_exception_only(error)[-1].strip())
        finally:
            os._exit(0)

    def _close_others(self) -> None:
        """What is open in the machine's process must not stay open because of this one."""
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in (self._fileno, self._lifeline, self._report):
                # The list itself was open when it was made, and is not any more.
                with suppress(OSError):
                    os.close(int(name))

    def _follow(self, parent: int) -> None:
        wait, ended = _SOON, False
        while not ended:
            # The pipe alone does not tell where somebody else has been forked who has it open.
            ended = bool(select.select([self._lifeline], [], [], wait)[0]) or os.getppid() != parent
            wait = _SOON if self._catch_up() else min(2 * wait, _LATER)

    def _catch_up(self) -> bool:
        """Write all that is there; whether anything was."""
        found = False
        while messages := self._ring.take():
            found = True
            for data, size in self._unpacker.unpack(messages):
                self._write(data)
                self._ring.release(size)
        return found

    def _write(self, data: bytes) -> None:
        # What cannot be written is dropped: the guest must not wait for a full disk.
        while data and not self._failed:
            try:
                data = data[os.write(self._fileno, data) :]
            except OSError as error:
                self._fail(str(error.strerror))

    def _fail(self, sentence: str) -> None:
        self._failed = True
        with suppress(OSError):
            os.write(self._report, sentence.encode("utf-8", "backslashreplace")[:_LONGEST_REPORT])
