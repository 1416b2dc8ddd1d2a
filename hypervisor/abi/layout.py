"""C structs of Xen's 32-bit ABI as data: one NamedTuple is the declaration, everything else follows from it.

    class MmuUpdate(NamedTuple):
        ptr: U64
        val: U64

    MMU_UPDATE = Layout("mmu_update", MmuUpdate)

Field types are `Annotated` aliases: the type checker sees `int`, `bytes` or a tuple, `Layout` the C type.
The rules are those of the i386 System V ABI: little endian, and a 64-bit integer aligns to 4 bytes inside
a struct (`U64`) unless Xen's header says `uint64_aligned_t` (`U64_ALIGNED`).
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from mmap import mmap
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar, get_type_hints

from paravane.classes import NamedTuple

T = TypeVar("T", bound=tuple[Any, ...])
Names = type[IntEnum]
ReadBuffer: TypeAlias = bytes | bytearray | memoryview | mmap
WriteBuffer: TypeAlias = bytearray | memoryview | mmap


class Scalar(NamedTuple):
    """An integer: `code` of the struct module, alignment in bytes (0: its size, at most 4)."""

    code: str
    align: int = 0


class Chars:
    """`count` bytes of text or of opaque data: a `bytes` value, padded with NULs when packed."""

    def __init__(self, count: int) -> None:
        self.count = count


class Array:
    """`count` elements, one after the other: a tuple. `element` is a struct code or a nested Layout."""

    def __init__(self, element: "str | Scalar | Layout[Any]", count: int) -> None:
        self.element: Scalar | Layout[Any] = Scalar(element) if isinstance(element, str) else element
        self.count = count


class Union:
    """A C union. Its value is that of the first member, which must be as large as the union; with `raw`, all
    its bytes (decode them with a member's Layout). Every member gets its offsets, as C's designators do."""

    def __init__(self, members: "Mapping[str, Kind]", *, raw: bool = False) -> None:
        self.members = dict(members)
        self.raw = raw


class Named(NamedTuple):
    """The field's name in C, for those that Python cannot spell."""

    c_name: str


Kind: TypeAlias = "Scalar | Chars | Array | Union | Layout[Any]"

UINT8, UINT16, UINT32, UINT64 = Scalar("B"), Scalar("H"), Scalar("I"), Scalar("Q")
UINT64_ALIGNED = Scalar("Q", 8)

U8 = Annotated[int, UINT8]
U16 = Annotated[int, UINT16]
U32 = Annotated[int, UINT32]
U64 = Annotated[int, UINT64]
S8 = Annotated[int, Scalar("b")]
S16 = Annotated[int, Scalar("h")]
S32 = Annotated[int, Scalar("i")]
S64 = Annotated[int, Scalar("q")]
U64_ALIGNED = Annotated[int, UINT64_ALIGNED]
# `unsigned long`, `xen_pfn_t`, `xen_ulong_t` and every XEN_GUEST_HANDLE are 32 bits wide for an x86_32 guest.
ULONG = U32
PTR = U32


class _Plan(NamedTuple):
    """How one kind sits in the struct string and in the tuple. `flat`: one value that needs no work."""

    code: str  # struct codes of `size` bytes, internal padding spelled out
    size: int
    align: int
    flat: bool
    values: int  # how many values `code` yields
    build: Callable[[tuple[Any, ...], int], Any]  # (flat values, position) -> field value
    spread: Callable[[Any], tuple[Any, ...]]  # field value -> flat values


class Field(NamedTuple):
    """One field: Python and C name, byte offset and size, the C type, the number set its values belong to."""

    name: str
    c_name: str
    offset: int
    size: int
    kind: Kind
    names: Names | None


def _first(flat: tuple[Any, ...], position: int) -> Any:
    return flat[position]


def _single(value: Any) -> tuple[Any, ...]:
    return (value,)


def _flat_builder(cls: type[T], values: int) -> Callable[[tuple[Any, ...], int], T]:
    """Build a nested struct of plain values from one slice: a block request holds eleven."""
    new = tuple.__new__
    return lambda flat, position: new(cls, flat[position : position + values])


def _plan_chars(count: int, align: int = 1) -> _Plan:
    def spread(value: bytes) -> tuple[bytes]:
        if len(value) > count:
            raise ValueError(f"{len(value)} bytes do not fit in {count}")
        return (value,)

    return _Plan(f"{count}s", count, align, False, 1, _first, spread)


def _plan_array(array: Array) -> _Plan:
    element, count = _plan(array.element), array.count

    def build(flat: tuple[Any, ...], position: int) -> tuple[Any, ...]:
        if element.flat:
            return flat[position : position + count]
        positions = range(position, position + count * element.values, element.values)
        return tuple([element.build(flat, at) for at in positions])

    def spread(value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(value) != count:
            raise ValueError(f"an array of {count} got {len(value)} elements")
        return tuple(item for part in value for item in element.spread(part))

    values = count * element.values
    return _Plan(element.code * count, element.size * count, element.align, False, values, build, spread)


def _plan_union(union: Union) -> _Plan:
    plans = [_plan(kind) for kind in union.members.values()]
    align = max(plan.align for plan in plans)
    size = _round_up(max(plan.size for plan in plans), align)
    if union.raw:
        return _plan_chars(size, align)
    if plans[0].size != size:
        raise TypeError(f"first union member has {plans[0].size} bytes of {size}: reorder or use raw=True")
    return plans[0]._replace(align=align)


def _plan_layout(layout: "Layout[Any]") -> _Plan:
    return layout.plan


def _plan(kind: Kind) -> _Plan:
    if isinstance(kind, Scalar):
        size = struct.calcsize("<" + kind.code)
        return _Plan(kind.code, size, kind.align or min(size, 4), True, 1, _first, _single)
    if isinstance(kind, Chars):
        return _plan_chars(kind.count)
    if isinstance(kind, Array):
        return _plan_array(kind)
    return _plan_union(kind) if isinstance(kind, Union) else _plan_layout(kind)


def _round_up(offset: int, align: int) -> int:
    return (offset + align - 1) // align * align


class _Member(NamedTuple):
    name: str
    c_name: str
    kind: Kind
    names: Names | None


def _members(cls: type[tuple[Any, ...]]) -> Iterator[_Member]:
    """Read the annotations of a NamedTuple class."""
    for name, hint in get_type_hints(cls, include_extras=True).items():
        metadata = getattr(hint, "__metadata__", ())
        kinds = [item for item in metadata if isinstance(item, (Scalar, Chars, Array, Union, Layout))]
        if len(kinds) != 1:
            raise TypeError(f"{cls.__name__}.{name} needs exactly one C type in its annotation")
        named = [item.c_name for item in metadata if isinstance(item, Named)]
        names = [item for item in metadata if isinstance(item, type) and issubclass(item, IntEnum)]
        yield _Member(name, named[0] if named else name.rstrip("_"), kinds[0], names[0] if names else None)


def _nested_offsets(name: str, kind: Kind, offset: int) -> Iterator[tuple[str, int]]:
    """Dotted names below one field: nested structs, union members, the first element of arrays."""
    if isinstance(kind, Array):
        yield from _nested_offsets(name, kind.element, offset)
    elif isinstance(kind, Layout):
        for inner, inner_offset in kind.offsets.items():
            yield f"{name}.{inner}", offset + inner_offset
    elif isinstance(kind, Union):
        for member, member_kind in kind.members.items():
            yield f"{name}.{member}", offset
            yield from _nested_offsets(f"{name}.{member}", member_kind, offset)


class Layout(Generic[T]):
    """The layout of one C struct for an x86_32 guest, made from a NamedTuple class.

    `name` is Xen's struct tag (a dotted name: an anonymous member of another struct), `size` and `align` are
    bytes, `struct` unpacks the flat values, `offsets` maps field names to byte offsets: fields of nested
    structs and unions are dotted, arrays stand for their first element.

    A layout is worked out when something of it is first asked for: a guest meets a few of them, and all
    together take longer than to boot it. Raises TypeError then, for a class that declares no C struct.
    """

    size: int
    align: int
    struct: Struct
    fields: tuple[Field, ...]
    offsets: Mapping[str, int]
    plan: _Plan
    _plans: tuple[_Plan, ...]
    _flat: bool
    _unpack_from: Callable[[ReadBuffer, int], tuple[Any, ...]]
    _shown: tuple[tuple[str, Kind, Names | None], ...]

    def __init__(self, name: str, cls: type[T], *, last: "Kind | None" = None) -> None:
        """`last`: the kind of the last field, whatever the class says: see `ending_with`."""
        self.name = name
        self.type = cls
        self._last = last

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Asked for what is not there: all that is declared above is, after that."""
            if name not in Layout.__annotations__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            self._lay_out()
            return getattr(self, name)

    def _lay_out(self) -> None:
        members = list(_members(self.type))
        if self._last is not None:
            members[-1] = members[-1]._replace(kind=self._last)
        fields: list[Field] = []
        plans: list[_Plan] = []
        code, offset, align = "", 0, 1
        for member in members:
            plan = _plan(member.kind)
            start = _round_up(offset, plan.align)
            code += "x" * (start - offset) + plan.code
            fields.append(Field(member.name, member.c_name, start, plan.size, member.kind, member.names))
            plans.append(plan)
            offset, align = start + plan.size, max(align, plan.align)
        self.align = align
        self.size = _round_up(offset, align)
        code += "x" * (self.size - offset)
        self.struct = Struct("<" + code)
        self._unpack_from = self.struct.unpack_from
        self.fields = tuple(fields)
        # A last field of no bytes (`ending_with`) has nothing to show.
        self._shown = tuple((item.name.rstrip("_"), item.kind, item.names) for item in fields if item.size)
        self.offsets: Mapping[str, int] = MappingProxyType(dict(self._all_offsets()))
        self._plans = tuple(plans)
        self._flat = all(plan.flat for plan in plans)
        values = sum(plan.values for plan in plans)
        build = _flat_builder(self.type, values) if self._flat else self._build
        self.plan = _Plan(code, self.size, align, False, values, build, self._spread)

    def _all_offsets(self) -> Iterator[tuple[str, int]]:
        for item in self.fields:
            yield item.name, item.offset
            yield from _nested_offsets(item.name, item.kind, item.offset)

    def _build(self, flat: tuple[Any, ...], position: int) -> T:
        built = []
        for plan in self._plans:
            built.append(plan.build(flat, position))
            position += plan.values
        return tuple.__new__(self.type, built)

    def _spread(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(value) != len(self._plans):
            raise ValueError(f"{self.name} has {len(self._plans)} fields, not {len(value)}")
        pairs = zip(self._plans, value, strict=True)
        return tuple(item for plan, part in pairs for item in plan.spread(part))

    def unpack(self, buffer: ReadBuffer, offset: int = 0) -> T:
        """Read one struct at a byte offset. Raises struct.error when the buffer ends too early."""
        if self._flat:
            return tuple.__new__(self.type, self._unpack_from(buffer, offset))
        return self._build(self._unpack_from(buffer, offset), 0)

    def iter_unpack(self, buffer: ReadBuffer) -> Iterator[T]:
        """Read a whole array of structs. Raises struct.error unless the buffer is a whole number of them."""
        if self._flat:
            cls = self.type
            return (tuple.__new__(cls, flat) for flat in self.struct.iter_unpack(buffer))
        return (self._build(flat, 0) for flat in self.struct.iter_unpack(buffer))

    def pack(self, value: T) -> bytes:
        """The struct's bytes, padding zero. Raises struct.error or ValueError if a value does not fit."""
        return self.struct.pack(*(value if self._flat else self._spread(value)))

    def pack_into(self, buffer: WriteBuffer, offset: int, value: T) -> None:
        """Write the struct at a byte offset. Raises as `pack` does, and struct.error for lack of room."""
        self.struct.pack_into(buffer, offset, *(value if self._flat else self._spread(value)))

    def ending_with(self, kind: "Kind") -> "Layout[T]":
        """The same struct up to where its last field begins, and there a field of another kind: the member of
        a union that another field selects. `Chars(0)`: nothing."""
        return Layout(self.name, self.type, last=kind)

    def plain(self, value: T) -> dict[str, Any]:
        """The struct as JSON can hold it: field -> a number, the name of one that has a name, text or hex
        digits of bytes, a list, or the fields of a nested struct. Of a union its first member."""
        pairs = zip(self._shown, value, strict=False)
        return {name: _plain(kind, part, names) for (name, kind, names), part in pairs}

    def __repr__(self) -> str:
        return f"Layout({self.name!r}, {self.size} bytes)"


def _plain(kind: Kind, value: Any, names: Names | None) -> Any:
    if isinstance(value, int):
        return value if names is None or value not in names._value2member_map_ else show_number(value, names)
    if isinstance(value, bytes):
        text = value.rstrip(b"\0")
        return text.decode("ascii") if _is_text(text) else text.hex()
    if isinstance(kind, Union):
        return _plain(next(iter(kind.members.values())), value, names)
    if isinstance(kind, Layout):
        return kind.plain(value)
    assert isinstance(kind, Array)
    return [_plain(kind.element, item, names) for item in value]


def show_number(value: int, names: Names | None = None) -> str:
    """A number as trace text: its name in the number set if it has one, else decimal when small, else hex."""
    if names is not None and value in names._value2member_map_:
        return names(value).name.rstrip("_")
    return str(value) if value < 10 else hex(value)


def _is_text(value: bytes) -> bool:
    return bool(value) and all(32 <= byte < 127 for byte in value)
