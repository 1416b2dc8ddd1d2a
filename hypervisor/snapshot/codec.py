"""Plain state as JSON and one run of bytes, and back, by the types that its fields are declared with.

Nothing in a snapshot says what is to be made of it: the declarations do. What does not fit them is refused
with the place where that is, and nothing is made but numbers, texts, bytes, collections and the classes named
there.

| declared | in JSON |
|---|---|
| `None`, `bool`, `int`, `str` | itself |
| an enumeration | its value |
| `bytes`, `bytearray` | where in the run of bytes they are: offset and length |
| `tuple`, `list`, `set`, `frozenset` | a list |
| `dict`, `Mapping` | a list of pairs |
| a dataclass or a NamedTuple | a list of its fields in order; those that are not compared are left out |
| `A | B`, classes | a pair: the number of the alternative, and the value |
| `A | None` | null, or as `A` |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints

from paravane.snapshot.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LARGEST: Final = 1 << 64
"""What a number is below, and above the negative of."""


class Blob:
    """A run of bytes that is put together from pieces, each of which is there once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self._places: dict[bytes, int] = {}

    def add(self, piece: bytes) -> tuple[int, int]:
        """Offset and length of a piece."""
        at = self._places.get(piece)
        if at is None:
            at = self._places[piece] = self.size
            self.pieces.append(piece)
            self.size += len(piece)
        return at, len(piece)


class Codec:
    """Encodes and decodes values of declared types. `names` are the classes that declarations may name which
    their modules import for type checkers only."""

    def __init__(self, names: Iterable[type]) -> None:
        self._names: dict[str, Any] = {"Mapping": Mapping} | {one.__name__: one for one in names}
        self._part = cache(self._make)

    def encode(self, kind: Any, value: object, blob: Blob) -> Any:
        """What JSON is to hold for a value of this type."""
        return self._part(kind).encode(value, blob)

    def decode(self, kind: Any, data: Any, blob: memoryview) -> Any:
        """The value that was encoded so. Raises SnapshotError."""
        return self._part(kind).decode(data, blob, "")

    def _make(self, kind: Any) -> _Part:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            return _Alternatives([self._part(one) for one in arguments], NoneType in arguments)
        if origin in (dict, Mapping):
            return _Pairs(self._part(arguments[0]), self._part(arguments[1]))
        if origin is tuple and arguments[-1] is not Ellipsis:
            return _Fields("tuple", {str(at): self._part(one) for at, one in enumerate(arguments)}, _together)
        if origin in (tuple, list, set, frozenset):
            return _Items(self._part(arguments[0]), origin)
        if kind in (NoneType, bool, int, str):
            return _Plain(kind)
        if kind in (bytes, bytearray):
            return _Bytes(kind)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return _Member(kind)
        return self._fields(kind)

    def _fields(self, kind: Any) -> _Part:
        if is_dataclass(kind):
            names = [one.name for one in fields(kind) if one.compare and one.init]
        elif hasattr(kind, "_fields"):
            names = list(kind._fields)
        else:
            raise TypeError(f"{kind} is no plain state")
        # Of these alone: what is not kept may be of a type that no declaration can be evaluated to.
        wanted = SimpleNamespace(__annotations__={name: kind.__annotations__[name] for name in names})
        hints = get_type_hints(wanted, vars(import_module(kind.__module__)), self._names)
        return _Fields(kind.__name__, {name: self._part(hints[name]) for name in names}, kind)


def _together(*values: object) -> tuple[object, ...]:
    return values


class _Part:
    """One type."""

    def encode(self, value: Any, blob: Blob) -> Any:
        raise NotImplementedError

    def decode(self, data: Any, blob: memoryview, where: str) -> Any:
        raise NotImplementedError


def _wrong(where: str, expected: str) -> SnapshotError:
    return SnapshotError(f"the snapshot is damaged: {where.lstrip('.') or 'all of it'} is not {expected}")


class _Plain(_Part):
    def __init__(self, kind: type) -> None:
        self.kind = kind

    def encode(self, value: Any, blob: Blob) -> Any:
        return int(value) if self.kind is int else value

    def takes(self, data: Any) -> bool:
        """Whether it is of this type."""
        if type(data) is int:
            return self.kind is int and -_LARGEST < data < _LARGEST
        return type(data) is self.kind

    def decode(self, data: Any, blob: memoryview, where: str) -> Any:
        if not self.takes(data):
            raise _wrong(where, f"one of type {self.kind.__name__}")
        return data


class _Member(_Part):
    def __init__(self, kind: type[Enum]) -> None:
        self._kind = kind

    def encode(self, value: Any, blob: Blob) -> Any:
        return value.value

    def decode(self, data: Any, blob: memoryview, where: str) -> Any:
        try:
            return self._kind(data)
        except (ValueError, TypeError):
            raise _wrong(where, f"a {self._kind.__name__}") from None


class _Bytes(_Part):
    def __init__(self, kind: type[bytes] | type[bytearray]) -> None:
        self._kind = kind

    def encode(self, value: Any, blob: Blob) -> Any:
        return blob.add(bytes(value))

    def decode(self, data: Any, blob: memoryview, where: str) -> Any:
        if type(data) is not list or len(data) != 2 or not all(type(one) is int for one in data):
            raise _wrong(where, "a place of bytes")
        at, length = data
        if not 0 <= at <= at + length <= len(blob) or length < 0:
            raise _wrong(where, "a place of bytes that are there")
        return self._kind(blob[at : at + length])


class _Items(_Part):
    def __init__(self, item: _Part, kind: Any) -> None:
        self._item = item
        self._kind = kind

    def encode(self, value: Any, blob: Blob) -> Any:
        ordered = sorted(value) if self._kind in (set, frozenset) else value
        if isinstance(self._item, _Plain):
            return list(ordered)
        return [self._item.encode(one, blob) for one in ordered]

    def decode(self, data: Any, blob: memoryview, where: str) -> Any:
        if type(data) is not list:
            raise _wrong(where, "a list")
        if isinstance(self._item, _Plain) and all(map(self._item.takes, data)):
            return self._kind(data)
        return self._kind([self._item.decode(one, blob, where) for one in data])


class _Pairs(_Part):
    def __init__(self, key: _Part, value: _Part) -> None:
        self._key = key
        self._value = value

    def encode(self, value: Any, blob: Blob) -> Any:
        return [(self._key.encode(key, blob), self._value.encode(one, blob)) for key, one in value.items()]

    def decode(self, data: Any, blob: memoryview, where: str) -> Any:
        if type(data) is not list or not all(type(pair) is list and len(pair) == 2 for pair in data):
            raise _wrong(where, "a list of pairs")
        return {
            self._key.decode(key, blob, where): self._value.decode(value, blob, where) for key, value in data
        }


class _Fields(_Part):
    def __init__(self, name: str, parts: Mapping[str, _Part], make: Callable[..., object]) -> None:
        self._name = name
        self._parts = parts
        self._make = make
        self._positional = make is _together
        plain = [part for part in parts.values() if isinstance(part, _Plain)]
        # A tuple of numbers and the like: most of what there is many of.
        self._plain = plain if hasattr(make, "_make") and len(plain) == len(parts) else None

    def encode(self, value: Any, blob: Blob) -> Any:
        if self._plain is not None:
            return list(value)
        if self._positional:
            return [part.encode(one, blob) for part, one in zip(self._parts.values(), value, strict=True)]
        return [part.encode(getattr(value, name), blob) for name, part in self._parts.items()]

    def decode(self, data: Any, blob: memoryview, where: str) -> Any:
        if type(data) is not list or len(data) != len(self._parts):
            raise _wrong(where, f"a list of {len(self._parts)} for {self._name}")
        if self._plain is not None and all(
            part.takes(one) for part, one in zip(self._plain, data, strict=True)
        ):
            return self._make(*data)
        found = {
            name: part.decode(one, blob, f"{where}.{name}")
            for (name, part), one in zip(self._parts.items(), data, strict=True)
        }
        try:
            return self._make(*found.values()) if self._positional else self._make(**found)
        except (TypeError, ValueError) as error:
            raise SnapshotError(f"the snapshot is damaged: {error}") from None


class _Alternatives(_Part):
    """One of several types, at most one of which is not a class; or None, too."""

    def __init__(self, parts: list[_Part], optional: bool) -> None:
        self._parts = [one for one in parts if not (isinstance(one, _Plain) and one.kind is NoneType)]
        self._optional = optional

    def encode(self, value: Any, blob: Blob) -> Any:
        if value is None and self._optional:
            return None
        if len(self._parts) == 1:
            return self._parts[0].encode(value, blob)
        at = next(
            at
            for at, part in enumerate(self._parts)
            if isinstance(part, _Fields) and type(value) is part._make
        )
        return at, self._parts[at].encode(value, blob)

    def decode(self, data: Any, blob: memoryview, where: str) -> Any:
        if data is None and self._optional:
            return None
        if len(self._parts) == 1:
            return self._parts[0].decode(data, blob, where)
        if type(data) is not list or len(data) != 2 or type(data[0]) is not int:
            raise _wrong(where, "an alternative and its value")
        if not 0 <= data[0] < len(self._parts):
            raise _wrong(where, "one of the alternatives")
        return self._parts[data[0]].decode(data[1], blob, where)
