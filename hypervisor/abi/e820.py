"""Entries of the memory map that XENMEM_memory_map returns (ACPI specification, INT 15h E820h)."""

from enum import IntEnum
from typing import Annotated

from paravane.abi.layout import U64, UINT32, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("E820_")
class E820Type(IntEnum):
    """What a range of memory is."""

    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4
    UNUSABLE = 5


class E820Entry(NamedTuple):
    """A range of guest-physical memory, 20 bytes packed."""

    addr: U64
    size: U64
    type: Annotated[int, UINT32, E820Type]


E820ENTRY = Layout("e820entry", E820Entry)
