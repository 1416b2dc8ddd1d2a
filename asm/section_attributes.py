"""The ELF attributes that the name of a section implies."""

from __future__ import annotations

from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_TLS,
    SHF_WRITE,
    SHT_FINI_ARRAY,
    SHT_INIT_ARRAY,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PREINIT_ARRAY,
    SHT_PROGBITS,
)

_RW = SHF_ALLOC | SHF_WRITE
_DEFAULTS: tuple[tuple[str, int, int], ...] = (
    (".text", SHF_ALLOC | SHF_EXECINSTR, SHT_PROGBITS),
    (".init", SHF_ALLOC | SHF_EXECINSTR, SHT_PROGBITS),
    (".fini", SHF_ALLOC | SHF_EXECINSTR, SHT_PROGBITS),
    (".rodata", SHF_ALLOC, SHT_PROGBITS),
    (".data", _RW, SHT_PROGBITS),
    (".bss", _RW, SHT_NOBITS),
    (".note", 0, SHT_NOTE),
    (".data1", _RW, SHT_PROGBITS),
    (".rodata1", SHF_ALLOC, SHT_PROGBITS),
    (".init_array", _RW, SHT_INIT_ARRAY),
    (".fini_array", _RW, SHT_FINI_ARRAY),
    (".preinit_array", _RW, SHT_PREINIT_ARRAY),
    (".tdata", _RW | SHF_TLS, SHT_PROGBITS),
    (".tbss", _RW | SHF_TLS, SHT_NOBITS),
    (".comment", 0, SHT_PROGBITS),
    (".note.GNU-stack", 0, SHT_PROGBITS),
)


def implied_attributes(name: str) -> tuple[int, int] | None:
    """Flags and kind by GNU as's naming rules; None for a name that says nothing."""
    for prefix, flags, kind in reversed(_DEFAULTS):  # the more special names come last
        if name == prefix or name.startswith(prefix + "."):
            return flags, kind
    if name.startswith(".debug_"):
        return 0, SHT_PROGBITS
    return None
