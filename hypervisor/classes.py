"""Dataclasses and named tuples that take little to make: `dataclass` and `NamedTuple` as in the library.

The library writes and compiles methods for each class when that is made. A boot makes 200, and would spend a
fifth of its time on it. Here `__init__` and `__new__` are compiled at their first call, for what has
instances; the rest is shared. The type checker sees the originals, and `dataclasses.fields` and `replace`,
`copy`, pickles and patterns work as with them.

Left out, since nobody here asks for it: order, keyword-only fields and `InitVar`; generic named tuples, and
those made by a call.
"""

from __future__ import annotations

import dataclasses
from collections import _tuplegetter  # type: ignore[attr-defined] # what named tuples read their fields with
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - given on to others
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414
    from typing import Self


def _dataclass(
    *, frozen: bool = False, slots: bool = False, eq: bool = True, repr: bool = True
) -> Callable[[type[Any]], Any]:
    """As `dataclasses.dataclass`."""

    def make(cls: Any) -> Any:
        def first(instance: Any, /, *values: Any, **named: Any) -> None:
            made.__init__ = _init(made, fields, frozen=frozen)
            made.__init__(instance, *values, **named)

        own = vars(cls)
        methods: dict[str, Any] = {"__init__": first}
        if repr:
            methods["__repr__"] = _shown
        if eq:
            methods |= {"__eq__": _equal, "__hash__": _hash if frozen else None}
        if frozen:
            methods |= {"__setattr__": _refuse, "__delattr__": _refuse, "__setstate__": _set_state}
        for name, method in methods.items():
            if name not in own or (name == "__hash__" and own[name] is None):
                setattr(cls, name, method)
        bare = dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False, slots=slots)
        made: Any = bare(cls)
        fields = dataclasses.fields(made)
        compared = staticmethod(_values(one.name for one in fields if one.compare))
        matched = tuple(one.name for one in fields if one.init)
        for name, value in (("_compared", compared), ("__match_args__", matched)):
            setattr(made, name, value)
        return made

    return make


def _init(cls: type[Any], fields: Iterable[dataclasses.Field[Any]], *, frozen: bool) -> Any:
    """The `__init__` of a dataclass."""
    known: dict[str, Any] = {"UNTOLD": dataclasses.MISSING, "set_field": object.__setattr__}
    parameters, lines = ["self"], []
    for one in fields:
        value = one.name
        if one.default_factory is not dataclasses.MISSING:
            known[f"new_{one.name}"] = one.default_factory
            value = f"new_{one.name}()"
            if one.init:
                parameters.append(f"{one.name}=UNTOLD")
                value = f"{value} if {one.name} is UNTOLD else {one.name}"
        elif one.default is not dataclasses.MISSING:
            known[f"usual_{one.name}"] = one.default
            if one.init:
                parameters.append(f"{one.name}=usual_{one.name}")
            else:
                value = f"usual_{one.name}"
        elif one.init:
            parameters.append(one.name)
        else:
            continue
        lines.append(f"set_field(self, {one.name!r}, {value})" if frozen else f"self.{one.name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    return _compiled(cls, "__init__", parameters, lines or ["pass"], known)


def _compiled(
    cls: type[Any], name: str, parameters: list[str], lines: list[str], known: dict[str, Any]
) -> Any:
    """A method of a class, made of its parts; `known` is what its names mean."""
    exec("\n    ".join([f"def {name}({', '.join(parameters)}):", *lines]), known)
    method = known[name]
    method.__module__, method.__qualname__ = cls.__module__, f"{cls.__qualname__}.{name}"
    return method


def _values(names: Iterable[str]) -> Callable[[Any], Any]:
    """The values of these attributes, or the only one's."""
    wanted = tuple(names)
    return attrgetter(*wanted) if wanted else lambda instance: ()


@recursive_repr()
def _shown(self: Any) -> str:
    fields = (f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(fields)})"


def _equal(self: Any, other: Any) -> Any:
    return self._compared(self) == self._compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _refuse(self: Any, name: str, value: object = None) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _set_state(self: Any, state: Any) -> None:
    """What `copy` and pickles give back to an instance that nobody may assign to."""
    for part in state if isinstance(state, tuple) else (state,):
        for name, value in (part or {}).items():
            object.__setattr__(self, name, value)


class _Tuple(tuple[Any, ...]):
    """What all named tuples have."""

    __slots__ = ()
    # Not annotated: it is no field.
    _fields = cast("tuple[str, ...]", ())

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        """One of these values, of which there must be as many as fields."""
        made = tuple.__new__(cls, values)
        if len(made) != len(cls._fields):
            raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
        return made

    def _replace(self, /, **changed: Any) -> Self:
        made = self._make(map(changed.pop, self._fields, self))
        if changed:
            raise ValueError(f"Got unexpected field names: {list(changed)!r}")
        return made

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({values})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


class _Making(type):
    """Makes of a class with annotations a named tuple, whose metaclass is `type`."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = tuple(body.get("__annotations__", ()))
        defaults = {field: body.pop(field) for field in fields if field in body}
        if [*defaults] != [*fields[len(fields) - len(defaults) :]]:
            raise TypeError(f"{name}: a field without a default follows one with one")
        getters = {field: _tuplegetter(at, f"Field {at}") for at, field in enumerate(fields)}

        def first(cls: type[Any], /, *values: Any, **named: Any) -> Any:
            made.__new__ = staticmethod(_new(made, fields, defaults))
            return made.__new__(cls, *values, **named)

        own = {"_fields": fields, "_field_defaults": defaults, "__match_args__": fields, "__slots__": ()}
        made: Any = type(name, (_Tuple,), {"__new__": first, **body, **getters, **own})
        return made


def _new(cls: type[Any], fields: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    """The `__new__` of a named tuple."""
    known = {"new_tuple": tuple.__new__} | {f"usual_{name}": value for name, value in defaults.items()}
    parameters = [f"{name}=usual_{name}" if name in defaults else name for name in fields]
    values = "".join(f"{name}, " for name in fields)
    return _compiled(cls, "__new__", ["_cls", *parameters], [f"return new_tuple(_cls, ({values}))"], known)


class _NamedTuple(metaclass=_Making):
    """As `typing.NamedTuple`, to be derived from."""


if not TYPE_CHECKING:
    dataclass, NamedTuple = _dataclass, _NamedTuple
