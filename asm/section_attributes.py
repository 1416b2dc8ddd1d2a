"""The ELF attributes that the name of a section implies."""

from __future__ import annotations

from paravane.asm.program import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS, SHT_NOTE, SHT_PROGBITS

_RW = SHF_ALLOC | SHF_WRITE
_DEFAULTS: tuple[tuple[str, int, int], ...] = (
    (".text", SHF_ALLOC | SHF_EXECINSTR, SHT_PROGBITS),
    (".init", SHF_ALLOC | SHF_EXECINSTR, SHT_PROGBITS),
    (".fini", SHF_ALLOC | SHF_EXECINSTR, SHT_PROGBITS),
    (".rodata", SHF_ALLOC, SHT_PROGBITS),
    (".data", _RW, SHT_PROGBITS),
    (".bss", _RW, SHT_NOBITS),
    (".note", 0, SHT_NOTE),
)


def implied_attributes(name: str) -> tuple[int, int] | None:
    """Flags and kind by GNU as's naming rules; None for a name that says nothing."""
    for prefix, flags, kind in _DEFAULTS:
        if name == prefix or name.startswith(prefix + "."):
            return flags, kind
    return None
