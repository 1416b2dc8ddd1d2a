"""Trace records as plain data: what every file format is written from and read into.

An entry is what JSON can hold, so that one written to a file and read back is equal to it. Numbers stay
numbers; what has a name in the ABI (an errno, a virtual interrupt, a shutdown reason) is that name.
"""

from __future__ import annotations

from dataclasses import field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from paravane.abi.parameters import COUNT_BITS, Items, Word
from paravane.classes import dataclass
from paravane.place import Place
from paravane.trace.records import HypercallRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.trace.call import Argument
    from paravane.trace.records import Record

_HEAD: Final = frozenset({"time", "end", "domid", "vcpu", "place", "name", "request", "event"})
"""Fields of records that are not among an entry's data: `request` and `event` are its name."""


@dataclass(slots=True)
class Entry:
    """One record, which nobody changes: from `time` to `end` in nanoseconds of system time (the same for what
    takes none), the domain and its vcpu (None: none in particular), the kind and name of what happened,
    where, and the rest. What `data` has for each kind is said in this folder's README.
    """

    time: int
    end: int
    domid: int
    vcpu: int | None
    kind: str
    name: str
    place: Place | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON has it: `place` an object, whatever is unknown or empty left out."""
        found: dict[str, Any] = {"time": self.time}
        if self.end != self.time:
            found["end"] = self.end
        found["domain"] = self.domid
        if self.vcpu is not None:
            found["vcpu"] = self.vcpu
        found |= {"kind": self.kind, "name": self.name}
        if self.place is not None:
            found["place"] = place_to_json(self.place)
        return found | ({"data": self.data} if self.data else {})

    @classmethod
    def from_json(cls, found: Any) -> Entry:
        """The other way round. Raises ValueError for anything that no entry was written as."""
        try:
            place = Place(**found["place"]) if "place" in found else None
            entry = cls(
                found["time"],
                found.get("end", found["time"]),
                found["domain"],
                found.get("vcpu"),
                found["kind"],
                found["name"],
                place,
                found.get("data", {}),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("this is no trace record") from error
        return entry.check()

    def check(self) -> Entry:
        """The entry itself, once it is read from a file. Raises ValueError if it is like no record."""
        numbers = [self.time, self.end, self.domid, 0 if self.vcpu is None else self.vcpu]
        texts = [self.kind, self.name]
        if self.place is not None:
            numbers += [self.place.address, self.place.offset, self.place.line]
            texts += [self.place.symbol, self.place.file]
        if (
            any(type(number) is not int for number in numbers)
            or any(type(text) is not str for text in texts)
            or type(self.data) is not dict
        ):
            raise ValueError("this is no trace record: a field has a value of another type")
        if (
            not all(0 <= number < 1 << 64 for number in numbers)
            or max(self.domid, self.vcpu or 0) >= 1 << 15
            or not self.time <= self.end < 1 << 63
        ):
            raise ValueError("this is no trace record: a number is out of range")
        return self


def place_to_json(place: Place) -> dict[str, Any]:
    """A place as JSON has it, without what is not known."""
    return {key: value for key, value in place._asdict().items() if value != ""}


def entry_of(record: Record) -> Entry:
    """The record as plain data."""
    end: int | None = getattr(record, "end", None)
    if isinstance(record, HypercallRecord):
        data = _call(record)
    else:
        found = {name: getattr(record, name) for name in data_fields(type(record))}
        data = {name: _plain(value) for name, value in found.items() if value not in (None, "")}
    return Entry(
        record.time,
        record.time if end is None else end,
        record.domid,
        record.vcpu,
        record.kind._value_,
        record.name,
        record.place,
        data,
    )


_known_fields: dict[type[Record], tuple[str, ...]] = {}


def data_fields(kind: type[Record]) -> tuple[str, ...]:
    """The fields of a record that are an entry's data. A hypercall's are made from several of its own."""
    found = _known_fields.get(kind)
    if found is None:
        found = _known_fields[kind] = tuple(item.name for item in fields(kind) if item.name not in _HEAD)
    return found


def _call(record: HypercallRecord) -> dict[str, Any]:
    data: dict[str, Any] = {"number": record.number, "words": list(record.words)}
    if record.name:
        data["arguments"] = _arguments(record.arguments)
    if record.result is not None:
        data["result"] = record.result
    if record.preempted is not None:
        data["preempted"] = record.preempted
    if record.errno is not None:
        data |= {"errno": record.errno.name, "sentence": record.sentence}
    if record.written is not None:
        data["written"] = record.written.layout.plain(record.written.value)
    return data


def _arguments(arguments: Sequence[Argument]) -> dict[str, Any]:
    """Name -> a number or the name of one; of a struct that could be read its fields; of an array its
    pointer, its first structs and its length."""
    found: dict[str, Any] = {}
    for at, (name, kind, word, value) in enumerate(arguments):
        if isinstance(kind, Word):
            found[name] = _word(kind, value)
        elif isinstance(kind, Items):
            count = arguments[at + 1].word & COUNT_BITS
            items = [kind.layout.plain(item) for item in value]
            found[name] = {"pointer": word, "items": items, "count": count}
        else:
            found[name] = word if value is None else kind.layout.plain(value)
    return found


def _word(kind: Word, value: int) -> int | str:
    """A number, or its name if that is how it reads: `DOMID_SELF`, `15904 more`."""
    text = kind.text(value)
    digits = text.lstrip("-")
    return value if digits[:1].isdigit() and digits.isalnum() else text


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
