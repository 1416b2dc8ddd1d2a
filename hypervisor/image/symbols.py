"""Names for addresses: the image's symbol table (System V ABI, "Symbol Table")."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from hypervisor.image.elf import SHN_ABS, SHN_UNDEF, STB_LOCAL, STT_FILE, STT_SECTION, SYMBOL, readable

if TYPE_CHECKING:
    from hypervisor.image.elf import Elf, ElfSymbol

MAX_NAME: Final = 256
"""Longest name in bytes; the rest is cut off. Many symbols may share one string table's bytes."""


class Symbols:
    """The named addresses of an image, both ways."""

    def __init__(self, named: dict[str, int], by_address: list[tuple[int, str]]) -> None:
        """`by_address` is sorted by address, one name each."""
        self._named = named
        self._starts = [address for address, _ in by_address]
        self._names = [name for _, name in by_address]

    def __len__(self) -> int:
        return len(self._starts)

    def address_of(self, name: str) -> int | None:
        """Where `name` lies; a global symbol wins over local ones of that name."""
        return self._named.get(name)

    def at(self, address: int) -> tuple[str, int] | None:
        """The nearest symbol at or below `address` and the distance to it in bytes."""
        index = bisect_right(self._starts, address) - 1
        return None if index < 0 else (self._names[index], address - self._starts[index])


def read_symbols(elf: Elf) -> Symbols:
    """The symbols of a file: none when it has no symbol table. Entries without a name are left out."""
    tables = elf.symbol_table()
    if tables is None:
        return Symbols({}, [])
    table, strings = tables
    raw = elf.contents(table.sh_offset, table.sh_size - table.sh_size % SYMBOL.size, "symbol table")
    texts = bytes(elf.contents(strings.sh_offset, strings.sh_size, "string table")) + b"\0"
    found: list[tuple[int, bool, str]] = []
    for symbol in SYMBOL.iter_unpack(raw):
        if not _names_an_address(symbol) or symbol.st_name >= len(texts):
            continue
        name = _name_at(texts, symbol.st_name)
        if name:
            found.append((symbol.st_value, symbol.st_info >> 4 != STB_LOCAL, name))
    # Of several names for one address, or addresses of one name, the last one stays: a global one.
    found.sort(key=itemgetter(0, 1))
    by_address = {address: name for address, _, name in found}
    named = {name: address for address, _, name in sorted(found, key=itemgetter(1))}
    return Symbols(named, list(by_address.items()))


def _name_at(texts: bytes, start: int) -> str:
    end = min(texts.find(b"\0", start), start + MAX_NAME)
    return readable(texts[start:end])


def _names_an_address(symbol: ElfSymbol) -> bool:
    return symbol.st_info & 0xF not in (STT_SECTION, STT_FILE) and symbol.st_shndx not in (SHN_UNDEF, SHN_ABS)
