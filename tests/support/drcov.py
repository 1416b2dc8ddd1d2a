"""A reader of drcov files by what those who read them (Lighthouse, DynamoRIO's drcov2lcov) go by.

A text head: version and flavor, a table of modules whose columns a line names, and how many blocks there are.
Then the blocks, 8 bytes each and nothing after them: offset in the module, size, the module's id.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = struct.Struct("<IHH")


class Module(NamedTuple):
    """A module of the table, its numbers as such."""

    number: int
    base: int
    end: int
    entry: int
    path: str


class Drcov(NamedTuple):
    """What a file says."""

    modules: tuple[Module, ...]
    blocks: tuple[tuple[int, int, int], ...]
    """Offset, size and module of each block."""


def read(data: bytes) -> Drcov:
    """Raises ValueError for what is no drcov file of version 2, and for one with something left over."""
    lines = _lines(data)
    _expect(next(lines), r"DRCOV VERSION: 2")
    _expect(next(lines), r"DRCOV FLAVOR: \w+")
    count = int(_expect(next(lines), r"Module Table: version 2, count (\d+)")[1])
    columns = _expect(next(lines), r"Columns: (.*)")[1].split(", ")
    modules = tuple(_module(columns, next(lines)) for _ in range(count))
    last = next(lines)
    blocks = int(_expect(last, r"BB Table: (\d+) bbs")[1])
    table = data.partition(last.encode() + b"\n")[2]
    if len(table) != blocks * _BLOCK.size:
        raise ValueError(f"{len(table)} bytes are not {blocks} blocks")
    return Drcov(modules, tuple(_BLOCK.iter_unpack(table)))


def _lines(data: bytes) -> Iterator[str]:
    while data:
        line, _, data = data.partition(b"\n")
        yield line.decode()


def _expect(line: str, pattern: str) -> re.Match[str]:
    found = re.fullmatch(pattern, line)
    if found is None:
        raise ValueError(f"{line!r} is not {pattern}")
    return found


def _module(columns: list[str], line: str) -> Module:
    fields = dict(zip(columns, (word.strip() for word in line.split(", ", len(columns) - 1)), strict=True))
    base, end, entry = (int(fields[name], 16) for name in ("base", "end", "entry"))
    return Module(int(fields["id"]), base, end, entry, fields["path"])
