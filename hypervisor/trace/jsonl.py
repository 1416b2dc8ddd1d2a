"""JSON lines: a line that says what the file is, then one entry a line (`Entry.to_json`)."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from paravane.trace.entry import place_to_json
from paravane.trace.writer import Header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.place import Place
    from paravane.trace.entry import Entry
    from paravane.trace.writer import Again

VERSION: Final = 1
"""Of the format. Readers take a version they do not know for none of theirs."""

_REMEMBERED: Final = 1 << 12
"""Names and places whose text is kept."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_quoted = lru_cache(_REMEMBERED)(_encode)


@lru_cache(_REMEMBERED)
def _place(place: Place) -> str:
    return _encode(place_to_json(place))


class JsonLines:
    """Writes them (paravane.trace.writer.Writer)."""

    def begin(self, header: Header) -> bytes:
        gateway = {"gateway": "off"} if header.gateway_off else {}
        return _line({"trace": VERSION, "producer": header.producer, "clock": header.clock} | gateway)

    def entry(self, entry: Entry) -> bytes:
        """As `Entry.to_json` has it, put together by hand: most of it is the same again and again."""
        end = f',"end":{entry.end}' if entry.end != entry.time else ""
        return f'{{"time":{entry.time}{end}{self._rest(entry)}'.encode()

    @staticmethod
    def _rest(entry: Entry) -> str:
        """What comes after the times."""
        vcpu = "" if entry.vcpu is None else f',"vcpu":{entry.vcpu}'
        name = f'"kind":{_quoted(entry.kind)},"name":{_quoted(entry.name)}'
        place = "" if entry.place is None else f',"place":{_place(entry.place)}'
        rest = f',"data":{_encode(entry.data)}' if entry.data else ""
        return f',"domain":{entry.domid}{vcpu},{name}{place}{rest}}}\n'

    def again(self, entry: Entry) -> Again:
        """See paravane.trace.writer.Writer."""
        # No text of a guest's can look like this key: the quotes in it would be escaped.
        key = '"words":'
        before, found, after = self._rest(entry).partition(key)
        before, after = before + found, after.partition("]")[2]

        def plain(time: int, end: int, _: Sequence[int]) -> bytes:
            head = f'{{"time":{time},"end":{end}' if end != time else f'{{"time":{time}'
            return f"{head}{before}".encode()

        def call(time: int, end: int, words: Sequence[int]) -> bytes:
            head = f'{{"time":{time},"end":{end}' if end != time else f'{{"time":{time}'
            return f"{head}{before}[{','.join(map(str, words))}]{after}".encode()

        return call if found else plain

    def end(self) -> bytes:
        return b""


def header_from_json(found: Any) -> Header:
    """The header that the first line of a file is. Raises ValueError for anything else."""
    if not isinstance(found, dict) or found.get("trace") != VERSION:
        raise ValueError("this is no trace, or one of another version")
    off = found.get("gateway") == "off"
    return Header(str(found.get("producer", "")), str(found.get("clock", "")), off)


def _line(found: dict[str, Any]) -> bytes:
    return _encode(found).encode() + b"\n"
