"""A trace on its way out while guests run: records that are wanted, written in a format, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.trace.record_writer import RecordWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Machine
    from paravane.tools.lines import Lines
    from paravane.trace import Header, Record, Writer
    from paravane.trace.filters import Filter


class TraceOutput:
    """Puts out what `wanted` takes of every machine that it is joined to, one after the other, as `writer`
    writes it."""

    def __init__(self, lines: Lines, writer: Writer, wanted: Filter, header: Header) -> None:
        self._lines = lines
        self._writer = writer
        self._records = RecordWriter(writer)
        self._wanted = wanted
        lines.put(writer.begin(header))

    @property
    def failure(self) -> OSError | None:
        """Why what was written is lost; None: it is not."""
        return self._lines.failure

    def join(self, machine: Machine | None) -> None:
        """Take the records of this machine from now on, and hold it when the reader is slow; None: of no
        machine any more."""
        self._lines.join(machine)
        if machine is not None:
            machine.trace.subscribe(self._write, self._wanted)

    def finish(self) -> None:
        """Put out what comes after the last record."""
        self._lines.put(self._writer.end())

    def drain(self, deadline: float | None, abandon: Callable[[], bool]) -> int:
        """Wait as `Outlet.drain` does; how many bytes nobody took."""
        return self._lines.drain(deadline, abandon)

    def _write(self, record: Record) -> None:
        self._lines.put(self._records.record(record))
