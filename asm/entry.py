"""Where a kernel starts: the symbol `_start`, or the ENTRY note of Xen."""

from __future__ import annotations

import difflib
import struct
from typing import TYPE_CHECKING

from paravane.asm.program import SHT_NOTE, STT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.asm.diagnostics import Reporter
    from paravane.asm.program import Section, Symbol

_XEN_ELFNOTE_ENTRY = 1  # public/elfnote.h


def find_entry(sections: Sequence[Section], symbols: Sequence[Symbol], reporter: Reporter) -> int:
    """The entry address; reports an error and returns 0 when nothing names one."""
    starts = [symbol for symbol in symbols if symbol.name == "_start" and symbol.kind != STT_FILE]
    if starts:
        return starts[-1].value
    for section in sections:
        if section.kind == SHT_NOTE:
            for name, kind, content in notes(section.data):
                if name == b"Xen\0" and kind == _XEN_ELFNOTE_ENTRY and len(content) == 4:
                    return int.from_bytes(content, "little")
    names = [symbol.name for symbol in symbols if symbol.section is not None]
    close = difflib.get_close_matches("_start", names, 1)
    hint = f"; is it `{close[0]}`?" if close else ""
    reporter.error(f"no entry point: define `_start`, or give a Xen ENTRY note{hint}", None)
    return 0


def notes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Name, type and content of each ELF note; ends at the first that is cut short."""
    pos = 0
    while pos + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, pos)
        start = pos + 12
        content = start + (name_size + 3 & ~3)
        if content + size > len(data):
            return
        yield data[start : start + name_size], kind, data[content : content + size]
        pos = content + (size + 3 & ~3)
