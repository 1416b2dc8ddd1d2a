"""JSON lines: a line that says what the file is, then one entry a line (`Entry.to_json`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from paravane.trace.writer import Header

if TYPE_CHECKING:
    from paravane.trace.entry import Entry

VERSION: Final = 1
"""Of the format. Readers take a version they do not know for none of theirs."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class JsonLines:
    """Writes them (paravane.trace.writer.Writer)."""

    def begin(self, header: Header) -> bytes:
        return _line({"trace": VERSION, "producer": header.producer, "clock": header.clock})

    def entry(self, entry: Entry) -> bytes:
        return _line(entry.to_json())

    def end(self) -> bytes:
        return b""


def header_from_json(found: Any) -> Header:
    """The header that the first line of a file is. Raises ValueError for anything else."""
    if not isinstance(found, dict) or found.get("trace") != VERSION:
        raise ValueError("this is no trace, or one of another version")
    return Header(str(found.get("producer", "")), str(found.get("clock", "")))


def _line(found: dict[str, Any]) -> bytes:
    return _encode(found).encode() + b"\n"
