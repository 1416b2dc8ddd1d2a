"""Our dataclasses and named tuples beside those of the standard library: made alike, they do alike."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import typing
from array import array
from dataclasses import field, fields, replace
from typing import Any, ClassVar

import pytest

from paravane import classes


def _dataclasses(make: Any) -> dict[str, Any]:
    """Each kind of dataclass, made by one or the other."""

    @make(slots=True)
    class State:
        """With all kinds of fields."""

        first: int
        count: int = 3
        items: list[int] = field(default_factory=list)
        cell: array[int] = field(default_factory=lambda: array("Q", (0,)), compare=False, repr=False)
        late: int = field(default=7, init=False)
        shared: ClassVar[int] = 5

        def __post_init__(self) -> None:
            self.late += self.first

    @make(frozen=True, slots=True)
    class Value:
        """May be a key."""

        name: str
        size: int = 1

    @make(frozen=True)
    class Open:
        """Without slots."""

        name: str
        size: int = 1

    @make(eq=False)
    class Same:
        """Equal to itself."""

        name: str
        size: int = 1

    @make(slots=True, repr=False)
    class Told:
        """What it has of its own stays."""

        name: str
        size: int = 1

        def __repr__(self) -> str:
            return f"<{self.name}>"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, type(self)) and self.name == other.name

        def __hash__(self) -> int:
            return 9

    @make(frozen=True)
    class Sub(Open):
        """With a field more."""

        more: int = 2

    @make(slots=True)
    class Empty:
        """Nothing."""

    made = (State, Value, Open, Same, Told, Sub, Empty)
    return {cls.__name__: cls for cls in made}


OURS, THEIRS = _dataclasses(classes._dataclass), _dataclasses(dataclasses.dataclass)
ALIKE = pytest.mark.parametrize("name", ["Value", "Open", "Same", "Told", "Sub"])


def _outcome(act: Any) -> Any:
    """What comes of it, without the address of an object."""
    try:
        return act()
    except Exception as error:
        return type(error), str(error)


@ALIKE
@pytest.mark.parametrize(
    "arguments", [(), ("a",), ("a", 2), ("a", 2, 3, 4)], ids=["none", "one", "two", "too-many"]
)
@pytest.mark.parametrize("named", [{}, {"size": 4}, {"odd": 1}], ids=["", "named", "unknown"])
def test_it_is_made_of_the_same_arguments(name: str, arguments: tuple[Any, ...], named: Any) -> None:
    def shown(cls: Any) -> Any:
        made = cls(*arguments, **named)
        return [(one.name, getattr(made, one.name)) for one in fields(made)]

    assert _outcome(lambda: shown(OURS[name])) == _outcome(lambda: shown(THEIRS[name]))


@ALIKE
def test_it_compares_and_is_shown_alike(name: str) -> None:
    def told(cls: Any) -> Any:
        one, like, other = cls("a", 1), cls("a"), cls("b", 1)
        return (
            repr(one).rpartition(".")[2] if name != "Told" else repr(one),
            [one == like, one == other, one != other, one == "a"],
            _outcome(lambda: hash(one) == hash(like)),
            cls.__match_args__,
            replace(other, size=8).size,
            copy.copy(other).name,
            copy.deepcopy(other).size,
        )

    assert told(OURS[name]) == told(THEIRS[name])


@pytest.mark.parametrize("name", ["Value", "Open", "Sub"])
def test_what_is_frozen_stays_as_it_is(name: str) -> None:
    for made in (OURS[name]("a"), THEIRS[name]("a")):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'size'"):
            made.size = 2
        with pytest.raises(dataclasses.FrozenInstanceError):
            del made.size
        assert made.size == 1


def test_a_field_may_have_a_factory_and_be_left_out() -> None:
    for cls in (OURS["State"], THEIRS["State"]):
        one, other = cls(1), cls(1, items=[], cell=array("Q", (4,)))
        assert one.items is not other.items
        assert (one.late, one.count, one.shared) == (8, 3, 5)
        assert one == other
        assert repr(one).endswith("State(first=1, count=3, items=[], late=8)")
        with pytest.raises(TypeError, match="unhashable"):
            hash(one)
        with pytest.raises(AttributeError):
            one.unknown = 1
        with pytest.raises(TypeError):
            cls(1, late=4)


def test_one_without_fields_is_like_any_other() -> None:
    for cls in (OURS["Empty"], THEIRS["Empty"]):
        assert cls() == cls()
        assert repr(cls()).endswith("Empty()")


def test_what_holds_itself_can_be_shown() -> None:
    state = OURS["State"](1)
    state.items.append(state)
    assert repr(state).endswith("State(first=1, count=3, items=[...], late=8)")


def test_what_instances_have_is_compiled_when_there_is_one() -> None:
    ours = _dataclasses(classes._dataclass)["Value"]
    stub = ours.__init__
    ours("a")
    assert ours.__init__ is not stub
    assert ours.__init__.__qualname__.endswith("Value.__init__")


class OurPoint(classes.NamedTuple):
    """Ours."""

    x: int
    y: int
    z: int = 3

    @property
    def sum(self) -> int:
        """Of all."""
        return self.x + self.y + self.z


class TheirPoint(typing.NamedTuple):
    """The library's."""

    x: int
    y: int
    z: int = 3

    @property
    def sum(self) -> int:
        """Of all."""
        return self.x + self.y + self.z


class OurNamed(OurPoint):
    """Derived from one."""

    __slots__ = ()


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2), (1, 2, 4), (1, 2, 3, 4)], ids=len)
@pytest.mark.parametrize("named", [{}, {"y": 5}, {"z": 6}, {"odd": 1}], ids=["", "y", "z", "unknown"])
def test_a_tuple_is_made_of_the_same_arguments(arguments: tuple[int, ...], named: dict[str, int]) -> None:
    def told(cls: Any) -> Any:
        try:
            return tuple(cls(*arguments, **named))
        except TypeError:
            return TypeError

    assert told(OurPoint) == told(TheirPoint)


def test_a_tuple_does_what_the_librarys_does() -> None:
    def told(cls: Any) -> Any:
        one = cls(1, 2)
        return (
            repr(one).removeprefix(cls.__name__),
            (one.x, one.y, one.z, one.sum, one[1], len(one), hash(one) == hash((1, 2, 3)), one == (1, 2, 3)),
            (cls._fields, cls._field_defaults, cls.__match_args__, cls.__slots__, type(cls)),
            tuple(one._replace(y=9)),
            one._asdict(),
            tuple(cls._make([4, 5, 6])),
            _outcome(lambda: cls._make([4])),
            _outcome(lambda: one._replace(odd=1)),
            _outcome(lambda: setattr(one, "x", 3))[0],
            typing.get_type_hints(cls),
        )

    assert told(OurPoint) == told(TheirPoint)


def test_a_tuple_survives_copies_and_pickles() -> None:
    for one in (OurPoint(1, 2), OurNamed(1, 2)):
        for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            assert other == one
            assert type(other) is type(one)


def test_what_is_derived_from_a_tuple_is_of_its_own_kind() -> None:
    made = OurNamed(1, 2)
    assert (type(made), made.sum, made._replace(x=4)) == (OurNamed, 6, (4, 2, 3))
    assert type(made._replace(x=4)) is OurNamed
    assert repr(made) == "OurNamed(x=1, y=2, z=3)"


def test_a_field_without_a_default_comes_first() -> None:
    with pytest.raises(TypeError, match="a field without a default"):
        classes._Making("Odd", (classes._NamedTuple,), {"__annotations__": {"a": "int", "b": "int"}, "a": 1})
