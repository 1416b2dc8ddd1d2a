"""A trace that is begun and ended while its machine runs."""

from __future__ import annotations

import os
import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from paravane import HostClock
from paravane.hypercalls import names as hypercall_names
from paravane.hypercalls import table
from paravane.text import shown
from paravane.tools.ctl.protocol import RequestError
from paravane.tools.lines import Lines
from paravane.tools.trace_output import DirectSink, TraceOutput, header
from paravane.trace import filters
from paravane.trace.forms import form_of
from paravane.trace.text import line
from paravane.trace.unpacker import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Machine

_OFF: Final = "nothing is traced"


class LiveTrace:
    """What is traced just now, if anything: into a file, or by lines that `show` puts on the terminal."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.state = _OFF
        """A sentence about it."""
        self._show = show
        self._wanted: filters.Filter | None = None
        self._output: TraceOutput | None = None
        self._fileno = -1
        self._unsubscribe: Callable[[], None] = _nothing

    def begin(self, machine: Machine, name: str = "", events: str = filters.DEFAULT) -> str:
        """Trace from now on what `events` takes, into a new file in the format that its name asks for, or as
        text on the terminal. What is said of it. Raises RequestError when something is traced already, for a
        file that is there or cannot be made, and for what is no list of events."""
        if self._wanted is not None:
            raise RequestError(f"{self.state} already; trace off ends that")
        try:
            wanted = filters.parse(events, hypercall_names())
        except filters.FilterError as error:
            raise RequestError(str(error)) from None
        if name not in ("", "-"):
            self._open(machine, name, wanted)
        self._wanted = wanted
        self.state = f"what guests do is traced {f'into {shown(name)}' if self._output else 'here'}"
        self.join(machine)
        return self.state

    def end(self) -> str:
        """Trace no more. What is said of it, a file that could not be written to its end included."""
        if self._wanted is None:
            return _OFF
        failure = self.close()
        return f"the trace is not whole: {failure.strerror}" if failure else "the trace has ended"

    def close(self) -> OSError | None:
        """Trace no more; why what was written is not whole. Idempotent."""
        self.state, self._wanted = _OFF, None
        self.join(None)
        output, self._output = self._output, None
        if output is None:
            return None
        output.finish(time.monotonic(), lambda: False)  # a file, which nobody has to be waited for
        output.close()
        os.close(self._fileno)
        return output.failure

    def join(self, machine: Machine | None) -> None:
        """From now on trace this machine: the next life of a domain has another one. None: none any more."""
        self._unsubscribe()
        self._unsubscribe = _nothing
        if self._output is not None:
            self._output.join(machine)
        elif machine is not None and self._wanted is not None:
            self._unsubscribe = machine.trace.subscribe(lambda record: self._show(line(record)), self._wanted)

    def _open(self, machine: Machine, name: str, wanted: filters.Filter) -> None:
        """A new file only: whoever mistypes a name loses nothing that is there."""
        try:
            self._fileno = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except (OSError, ValueError) as error:
            why = (error.strerror or "") if isinstance(error, OSError) else str(error)
            raise RequestError(f"{shown(name)}: {why}") from None
        clock = "host" if isinstance(machine.platform.clock, HostClock) else "virtual"
        unpacker = Unpacker(form_of(PurePath(name)).writer(), table)
        # Not by a process of its own: that would be a fork in the middle of a run.
        self._output = TraceOutput(DirectSink(Lines(self._fileno), unpacker, header(clock, wanted)), wanted)


def _nothing() -> None:
    """There is no subscription to end."""
