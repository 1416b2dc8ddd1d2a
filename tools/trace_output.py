"""A trace on its way out while guests run: records that are wanted, written in a format, at once."""

from __future__ import annotations

import os
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from paravane.gateway import native
from paravane.hypercalls import table
from paravane.tools.lines import Lines
from paravane.trace import Header, Kind
from paravane.trace.packer import Packer
from paravane.trace.ring import Ring
from paravane.trace.stream import CallTaker
from paravane.trace.unpacker import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Machine
    from paravane.tools.outlet import Holdable
    from paravane.trace import Record, Writer
    from paravane.trace.filters import Filter
    from paravane.trace.stream import Origin, Tell

_RING: Final = 1 << 20
"""Bytes of a ring that is emptied at once."""


class Recorder(CallTaker, Protocol):
    """Takes what happens in a machine: hypercalls as numbers, anything as records."""

    def record(self, record: Record) -> None: ...


class TraceSink(Protocol):
    """Where a trace goes."""

    @property
    def recorder(self) -> Recorder: ...
    @property
    def failure(self) -> OSError | None:
        """Why what was written is lost; None: it is not."""
        ...

    def join(self, machine: Holdable | None) -> None:
        """From now on hold this machine, or none, when the reader is slow."""
        ...

    def finish(self) -> None:
        """Put out what comes after the last record."""
        ...

    def drain(self, deadline: float | None, abandon: Callable[[], bool]) -> int:
        """Wait as `Outlet.drain` does; how many bytes nobody took."""
        ...

    def close(self) -> None: ...


class DirectSink:
    """Each record is written at once, in the machine's own process."""

    def __init__(self, lines: Lines, unpacker: Unpacker, header: Header) -> None:
        self._lines = lines
        self._unpacker = unpacker
        self._ring = Ring(_RING)
        self._ring.full = self._empty
        self._packer = Packer(self._ring)
        self.recorder = self
        lines.put(unpacker.begin(header))

    @property
    def failure(self) -> OSError | None:
        return self._lines.failure

    def caller(self, origin: Origin) -> Tell:
        """See paravane.trace.stream.CallTaker."""
        pack = self._packer.caller(origin)

        def tell(*call: Any) -> None:
            pack(*call)
            self._empty()

        return tell

    def record(self, record: Record) -> None:
        self._packer.record(record)
        self._empty()

    def join(self, machine: Holdable | None) -> None:
        self._lines.join(machine)
        self._packer.forget()

    def finish(self) -> None:
        self._packer.end()
        self._empty()

    def drain(self, deadline: float | None, abandon: Callable[[], bool]) -> int:
        return self._lines.drain(deadline, abandon)

    def close(self) -> None:
        """Nothing is kept here."""

    def _empty(self) -> bool:
        while messages := self._ring.take():
            for data, size in self._unpacker.unpack(messages):
                self._lines.put(data)
                self._ring.release(size)
        return True


class TraceOutput:
    """Puts out what `wanted` takes of every machine that it is joined to, one after the other."""

    def __init__(self, sink: TraceSink, wanted: Filter) -> None:
        self._sink = sink
        self._wanted = wanted
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def failure(self) -> OSError | None:
        """Why what was written is lost; None: it is not."""
        return self._sink.failure

    def join(self, machine: Machine | None) -> None:
        """Take the records of this machine from now on, and hold it when the reader is slow; None: of no
        machine any more."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._sink.join(machine)
        if machine is not None:
            recorder = self._sink.recorder
            self._unsubscribe = machine.trace.subscribe(recorder.record, self._wanted, calls=recorder)

    def finish(self, deadline: float | None, abandon: Callable[[], bool]) -> int:
        """Put out what comes after the last record, and wait as `Outlet.drain` does; how many bytes nobody
        took."""
        self._sink.finish()
        return self._sink.drain(deadline, abandon)

    def close(self) -> None:
        """No more is put out."""
        self._sink.close()


_SERVED_IN_PYTHON: Final = frozenset(
    {Kind.HYPERCALL, Kind.TRAP, Kind.PAGE, Kind.INSTRUCTION, Kind.BREAKPOINT}
)
"""What the native gateway does not do where somebody reads it."""


def header(clock: str, wanted: Filter) -> Header:
    """Of the trace of a machine that is made now."""
    watched = not wanted.kinds.isdisjoint(_SERVED_IN_PYTHON)
    return Header(clock=clock, gateway_off=watched and native.find() is not None)


def open_sink(fileno: int, writer: Writer, header: Header) -> TraceSink:
    """Where a trace goes that `writer` writes to a file descriptor: into a file by a process of its own, if
    one can be started."""
    unpacker = Unpacker(writer, table)
    alone = threading.active_count() == 1
    if alone and sys.platform == "linux" and stat.S_ISREG(os.fstat(fileno).st_mode):
        from paravane.tools.trace_process import TraceProcess  # noqa: PLC0415 - there is no fork elsewhere

        try:
            return TraceProcess(fileno, unpacker, header)
        except OSError:
            # The same file, at a higher price.
            pass
    return DirectSink(Lines(fileno), unpacker, header)
