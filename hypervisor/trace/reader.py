"""Reading traces: which format it is, by its content, and its entries, piece by piece."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from paravane.trace.decoder import TraceError
from paravane.trace.jsonl_reader import JsonLinesDecoder
from paravane.trace.perfetto_reader import PerfettoDecoder
from paravane.trace.perfetto_schema import TRACE_PACKET
from paravane.trace.protobuf import BYTES
from paravane.trace.writer import Header
from paravane.trace.xentrace_reader import FIRST_WORD, TSC_HZ, XentraceDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from paravane.trace.decoder import Decoder
    from paravane.trace.entry import Entry

READABLE: Final = "JSON lines, Perfetto's and xentrace's"
"""Formats that can be read, for sentences."""

ENOUGH: Final = 4
"""Bytes of a file that tell its format."""

_CHUNK: Final = 1 << 16


class TraceReader:
    """The entries of a trace, whichever format it has, without ever holding more than one piece of it.

    What comes is bytes; whoever has them may be waiting for more. `note` says, after `finish`, what of the
    end was missing, in a sentence (empty: nothing).
    """

    def __init__(self, hz: int = TSC_HZ) -> None:
        """`hz` is the frequency of the time-stamp counter, for xentrace's files."""
        self._hz = hz
        self._head = b""
        self._decoder: Decoder | None = None

    @property
    def note(self) -> str:
        return "" if self._decoder is None else self._decoder.note

    @property
    def header(self) -> Header:
        """What the trace says of itself, as far as it has been read."""
        return Header("", "") if self._decoder is None else self._decoder.header

    def feed(self, data: bytes) -> Iterator[Entry]:
        """The entries that are complete now that `data` has come. Raises TraceError where it is damaged, or
        is no trace."""
        if self._decoder is None:
            self._head += data
            if len(self._head) < ENOUGH:
                return
            self._decoder = _decoder(self._head, self._hz)
            data, self._head = self._head, b""
        yield from self._decoder.feed(data)

    def finish(self) -> Iterator[Entry]:
        """The entries that the end of the file completes; none of a file that is empty."""
        if self._decoder is None and self._head:
            self._decoder = _decoder(self._head, self._hz)
            yield from self._decoder.feed(self._head)
        if self._decoder is not None:
            yield from self._decoder.finish()


def read_trace(stream: BinaryIO, reader: TraceReader | None = None) -> Iterator[Entry]:
    """The entries of an open file. Raises TraceError, and OSError as reading does."""
    reader = reader or TraceReader()
    while data := stream.read(_CHUNK):
        yield from reader.feed(data)
    yield from reader.finish()


def _decoder(head: bytes, hz: int) -> Decoder:
    if re.match(rb'\s*\{\s*"', head):
        return JsonLinesDecoder()
    if head[:4] == FIRST_WORD.to_bytes(4, "little"):
        return XentraceDecoder(hz)
    if head[0] == TRACE_PACKET << 3 | BYTES:
        return PerfettoDecoder()
    what = "text" if re.fullmatch(rb"[\t\n\r\x1b -~]*", head) else "in none of the formats of traces"
    raise TraceError(f"it is {what}: {READABLE} formats can be read")
