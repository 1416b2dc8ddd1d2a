"""What flags, types and names of sections mean in ELF."""

from __future__ import annotations

from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXCLUDE,
    SHF_EXECINSTR,
    SHF_GNU_RETAIN,
    SHF_GROUP,
    SHF_LINK_ORDER,
    SHF_MERGE,
    SHF_STRINGS,
    SHF_TLS,
    SHF_WRITE,
    SHT_FINI_ARRAY,
    SHT_INIT_ARRAY,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PREINIT_ARRAY,
    SHT_PROGBITS,
)

FLAGS = {
    "a": SHF_ALLOC, "w": SHF_WRITE, "x": SHF_EXECINSTR, "M": SHF_MERGE, "S": SHF_STRINGS, "G": SHF_GROUP,
    "T": SHF_TLS, "o": SHF_LINK_ORDER, "e": SHF_EXCLUDE, "R": SHF_GNU_RETAIN, "d": 0,
}  # fmt: skip
"""Letter in the flags of `.section` -> SHF_*."""

KINDS = {
    "progbits": SHT_PROGBITS, "nobits": SHT_NOBITS, "note": SHT_NOTE, "init_array": SHT_INIT_ARRAY,
    "fini_array": SHT_FINI_ARRAY, "preinit_array": SHT_PREINIT_ARRAY,
}  # fmt: skip
"""Type in `.section`, without its `@` -> SHT_*."""

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
