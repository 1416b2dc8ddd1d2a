"""The data of an entry as Perfetto's debug annotations, and back: nothing is lost on the way.

What a DebugAnnotation cannot say (an integer of more than 64 bits, an empty list or object) is JSON in it.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

from paravane.trace.perfetto_schema import Annotation
from paravane.trace.protobuf import Message, fixed64, message, number, signed, text

if TYPE_CHECKING:
    from collections.abc import Callable

DEEPEST: Final = 64
"""Levels of lists and objects in an annotation: one that somebody else made may have too many."""


def write_annotation(field: int, name: str | None, value: Any) -> bytes:
    """One annotation as a field of a message; `value` is what JSON can hold."""
    head = b"" if name is None else text(Annotation.name_, name)
    return message(field, head + _value(value))


def read_annotation(body: bytes, depth: int = 0) -> tuple[str, Any]:
    """The name and value of an annotation. ValueError for one that was not written here."""
    if depth > DEEPEST:
        raise ValueError("an annotation is nested too deeply")
    found = Message(body)
    return found.text(Annotation.name_, ""), _read_value(found, depth)


def _read_value(found: Message, depth: int) -> Any:
    if Annotation.dict_entries in found:
        return dict(read_annotation(item, depth + 1) for item in found.all(Annotation.dict_entries))
    if Annotation.array_values in found:
        return [read_annotation(item, depth + 1)[1] for item in found.all(Annotation.array_values)]
    for field, read in _SCALARS.items():
        if field in found:
            return read(found)
    return None


_SCALARS: Final[dict[Annotation, Callable[[Message], Any]]] = {
    Annotation.int_value: lambda found: signed(found.number(Annotation.int_value)),
    Annotation.string_value: lambda found: found.text(Annotation.string_value),
    Annotation.uint_value: lambda found: found.number(Annotation.uint_value),
    Annotation.bool_value: lambda found: bool(found.number(Annotation.bool_value)),
    Annotation.double_value: lambda found: _double(found.number(Annotation.double_value)),
    Annotation.legacy_json_value: lambda found: json.loads(found.text(Annotation.legacy_json_value)),
}


def _double(word: int) -> float:
    value: float = struct.unpack("<d", word.to_bytes(8, "little"))[0]
    return value


def _value(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bool):
        return number(Annotation.bool_value, value)
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return number(Annotation.int_value if value < 1 << 63 else Annotation.uint_value, value)
    if isinstance(value, float):
        return fixed64(Annotation.double_value, int.from_bytes(struct.pack("<d", value), "little"))
    if isinstance(value, str):
        return text(Annotation.string_value, value)
    if isinstance(value, dict) and value:
        return b"".join(write_annotation(Annotation.dict_entries, key, item) for key, item in value.items())
    if isinstance(value, list) and value:
        return b"".join(write_annotation(Annotation.array_values, None, item) for item in value)
    return text(Annotation.legacy_json_value, json.dumps(value))
