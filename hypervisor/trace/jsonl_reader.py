"""The reader of JSON lines: a header, and one entry a line, as `Entry.to_json` has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from paravane.trace.decoder import TraceError
from paravane.trace.entry import Entry
from paravane.trace.jsonl import header_from_json
from paravane.trace.nested_json import loads
from paravane.trace.writer import Header

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST: Final = 1 << 24
"""Bytes of a line that is read."""


class JsonLinesDecoder:
    """A line that is no entry is an error, with its number; one that the end of the file cuts off is not."""

    def __init__(self) -> None:
        self.header = Header("", "")
        self.note = ""
        self._rest = b""
        self._line = 0

    def feed(self, data: bytes) -> Iterator[Entry]:
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > LARGEST:
            raise TraceError(f"line {self._line + len(lines) + 1} is longer than {LARGEST >> 20} MiB")
        self._rest = rest
        for line in lines:
            self._line += 1
            if line.strip():
                yield from self._read(line)

    def finish(self) -> Iterator[Entry]:
        rest, self._rest = self._rest, b""
        if not rest.strip():
            return
        self._line += 1
        try:
            yield from self._read(rest)
        except TraceError:
            self.note = f"line {self._line}, the last one, is cut off and left out"

    def _read(self, line: bytes) -> Iterator[Entry]:
        """The entry that a line is, or none of a header: there are several where files were joined."""
        try:
            found = loads(line)
            if isinstance(found, dict) and "trace" in found:
                self.header = header_from_json(found)
                return
            entry = Entry.from_json(found)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise TraceError(f"line {self._line} is no JSON") from None
        except ValueError as error:
            raise TraceError(f"line {self._line} is damaged: {error}") from None
        yield entry
