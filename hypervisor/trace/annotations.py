"""The data of an entry as Perfetto's debug annotations, and back: nothing is lost on the way.

What a DebugAnnotation cannot say (an integer of more than 64 bits, an empty list or object) is JSON in it.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from paravane.trace.nested_json import DEEPEST, loads
from paravane.trace.perfetto_schema import Annotation
from paravane.trace.protobuf import fields, fixed64, message, number, signed, text

if TYPE_CHECKING:
    from collections.abc import Callable

_SHORT: Final = 64
"""Characters of a string that is worth remembering."""


def write_annotation(field: int, name: str | None, value: Any) -> bytes:
    """One annotation as a field of a message; `value` is what JSON can hold."""
    # Most are small numbers and names, and the same ones over and over: registers, commands, domain ids.
    kind = type(value)
    if kind is int or (kind is str and len(value) < _SHORT):
        return _repeated(field, name, value)
    return _annotation(field, name, value)


def _annotation(field: int, name: str | None, value: Any) -> bytes:
    head = b"" if name is None else text(Annotation.name_, name)
    return message(field, head + _value(value))


@lru_cache(1 << 13)
def _repeated(field: int, name: str | None, value: int | str) -> bytes:
    return _annotation(field, name, value)


def read_annotation(body: bytes, depth: int = 0) -> tuple[str, Any]:
    """The name and value of an annotation. ValueError for one that was not written here."""
    if depth > DEEPEST:
        raise ValueError("an annotation is nested too deeply")
    found = _scalar(body) if len(body) < _SHORT else None
    return _read(body, depth) if found is None else found


@lru_cache(1 << 13)
def _scalar(body: bytes) -> tuple[str, Any] | None:
    """An annotation that is no list and no object: those belong to one entry alone."""
    # The depth is counted anew: so few bytes cannot hold many levels.
    found = _read(body, 0)
    return None if isinstance(found[1], dict | list) else found


def _read(body: bytes, depth: int) -> tuple[str, Any]:
    name = ""
    value: Any = None
    for field, found in fields(body):
        if field == _NAME:
            name = _bytes(found).decode()
        elif field == _ENTRY:
            key, item = read_annotation(_bytes(found), depth + 1)
            value = value if isinstance(value, dict) else {}
            value[key] = item
        elif field == _ITEM:
            value = value if isinstance(value, list) else []
            value.append(read_annotation(_bytes(found), depth + 1)[1])
        elif field == _JSON:
            value = loads(_bytes(found), DEEPEST - depth)
        elif field in _SCALARS:
            value = _SCALARS[field](found)
    return name, value


def _bytes(found: int | bytes) -> bytes:
    if isinstance(found, int):
        raise ValueError("an annotation has a number in place of bytes")
    return found


def _word(found: int | bytes) -> int:
    if isinstance(found, bytes):
        raise ValueError("an annotation has bytes in place of a number")
    return found


def _double(found: int | bytes) -> float:
    value: float = struct.unpack("<d", _word(found).to_bytes(8, "little"))[0]
    return value


# As plain integers: there are twenty of them in an entry.
_NAME, _ENTRY, _ITEM = map(int, (Annotation.name_, Annotation.dict_entries, Annotation.array_values))
_JSON: Final = int(Annotation.legacy_json_value)
_SCALARS: Final[dict[int, Callable[[int | bytes], Any]]] = {
    Annotation.bool_value: lambda found: bool(_word(found)),
    Annotation.uint_value: _word,
    Annotation.int_value: lambda found: signed(_word(found)),
    Annotation.double_value: _double,
    Annotation.string_value: lambda found: _bytes(found).decode(),
}


def _value(value: Any) -> bytes:
    kind = type(value)
    if kind is int:
        if -(1 << 63) <= value < 1 << 63:
            return number(Annotation.int_value, value)
        return number(Annotation.uint_value, value) if 0 < value < 1 << 64 else _as_json(value)
    if kind is str:
        return text(Annotation.string_value, value)
    if kind is dict and value:
        return b"".join([write_annotation(Annotation.dict_entries, key, item) for key, item in value.items()])
    if kind is list and value:
        return b"".join([write_annotation(Annotation.array_values, None, item) for item in value])
    if value is None:
        return b""
    if kind is bool:
        return number(Annotation.bool_value, value)
    if kind is float:
        return fixed64(Annotation.double_value, int.from_bytes(struct.pack("<d", value), "little"))
    return _as_json(value)


def _as_json(value: Any) -> bytes:
    return text(Annotation.legacy_json_value, json.dumps(value))
