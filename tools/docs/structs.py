"""Xen's structs as text: offsets, types and names, and the numbers that a field may have."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any, Final

from paravane.abi import catalog
from paravane.abi.layout import Array, Chars, Layout, Scalar, Union
from paravane.abi.names import C_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from enum import IntEnum

    from paravane.abi.layout import Kind

_TYPES: Final = {
    "B": "uint8", "H": "uint16", "I": "uint32", "Q": "uint64",
    "b": "int8", "h": "int16", "i": "int32", "q": "int64",
}  # fmt: skip
_WIDTH: Final = 100
_INDENT: Final = " " * 9
_TOGETHER: Final = "\0"
"""A blank at which no line ends."""


def layouts() -> Mapping[str, Layout[Any]]:
    """Every struct of the ABI by Xen's name."""
    return {name: layout for module in catalog.MODULES for name, layout in catalog.layouts(module).items()}


def describe(layout: Layout[Any]) -> Iterator[str]:
    """The struct as lines: a head, what its declaration says, then a line for each field, with the offset in
    bytes."""
    yield f"struct {layout.name}, {layout.size} bytes"
    text = inspect.getdoc(layout.type) or ""
    # A tuple that was declared without a word has its signature for one.
    if not text.startswith(f"{layout.type.__name__}("):
        indent = "  "
        yield from textwrap.wrap(
            " ".join(text.split()), _WIDTH, initial_indent=indent, subsequent_indent=indent
        )
    for field in layout.fields:
        yield f"  {field.offset:5}  {_type(field.kind):<26}{field.c_name}"
        if isinstance(field.kind, Union):
            yield f"{_INDENT}{', '.join(field.kind.members)}"
        if field.names is not None:
            yield from _numbers(field.names)


def _type(kind: Kind) -> str:
    if isinstance(kind, Scalar):
        return _TYPES[kind.code]
    if isinstance(kind, Chars):
        return f"char[{kind.count}]"
    if isinstance(kind, Array):
        return f"{_type(kind.element)}[{kind.count}]"
    if isinstance(kind, Layout):
        return f"struct {kind.name}"
    return "union"


def _numbers(names: type[IntEnum]) -> Iterator[str]:
    """The values of a number set, as sources spell them."""
    spelling = C_NAMES.get(names)
    values = ", ".join(
        f"{spelling.assembler(name) if spelling else name.rstrip('_')}{_TOGETHER}{number:#x}"
        for name, number in names.__members__.items()
    )
    for line in textwrap.wrap(values, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT):
        yield line.replace(_TOGETHER, " ")
