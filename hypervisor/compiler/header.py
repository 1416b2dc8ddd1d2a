"""<xen.h> for kernels in C, made from the ABI's declarations: numbers, offsets and structs by their C names.

Pointers are numbers of 32 bits, as they are in the declarations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paravane.abi import catalog
from paravane.abi.layout import Array, Chars, Layout, Scalar, Union
from paravane.asm.include_gen import symbols

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.abi.layout import Kind

_TYPES: Final = {
    "B": "uint8_t",
    "H": "uint16_t",
    "I": "uint32_t",
    "Q": "uint64_t",
    "b": "int8_t",
    "h": "int16_t",
    "i": "int32_t",
    "q": "int64_t",
}


def xen_header() -> str:
    """The text of the header. Every struct asserts its size: the compiler lays out what is declared here."""
    lines = ["#ifndef XEN_H", "#define XEN_H", "#include <stdint.h>"]
    lines += (f"#define {name} {value:#x}" for name, value in symbols().items())
    known: set[str] = set()
    for module in catalog.MODULES:
        for layout in catalog.layouts(module).values():
            lines += _struct(layout, known)
    return "\n".join((*lines, "#endif", ""))


def _struct(layout: Layout[Any], known: set[str]) -> Iterator[str]:
    """A struct, after those it is made of. The parts of an anonymous one stand where they are used."""
    if layout.name in known or "." in layout.name:
        return
    known.add(layout.name)
    for inner in _inner(layout):
        yield from _struct(inner, known)
    yield f"struct {layout.name} {{ {_fields(layout)} }};"
    yield f'_Static_assert(sizeof(struct {layout.name}) == {layout.size}, "{layout.name}");'


def _inner(kind: Kind) -> Iterator[Layout[Any]]:
    """The structs inside a kind, whatever is around them."""
    parts: list[Kind] = []
    if isinstance(kind, Layout):
        parts = [field.kind for field in kind.fields]
    elif isinstance(kind, Array):
        parts = [kind.element]
    elif isinstance(kind, Union):
        parts = [*kind.members.values()]
    for part in parts:
        if isinstance(part, Layout):
            yield part
        yield from _inner(part)


def _fields(layout: Layout[Any]) -> str:
    return " ".join(_declaration(field.kind, field.c_name) for field in layout.fields)


def _declaration(kind: Kind, name: str) -> str:
    """A member, with its semicolon."""
    if isinstance(kind, Scalar):
        aligned = f" __attribute__((aligned({kind.align})))" if kind.align else ""
        return f"{_TYPES[kind.code]} {name}{aligned};"
    if isinstance(kind, Chars):
        return f"char {name}[{kind.count}];"
    if isinstance(kind, Array):
        return _declaration(kind.element, f"{name}[{kind.count}]")
    if isinstance(kind, Union):
        members = " ".join(_declaration(member, inner) for inner, member in kind.members.items())
        return f"union {{ {members} }} {name};"
    return f"struct {{ {_fields(kind)} }} {name};" if "." in kind.name else f"struct {kind.name} {name};"
