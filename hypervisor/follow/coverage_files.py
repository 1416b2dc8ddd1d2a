"""Coverage as files: drcov for disassemblers, lcov for reports, and source with counts for people."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from paravane.follow.coverage import hit
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.follow.coverage import Coverage
    from paravane.image.source_text import SourceText

_ENTRY: Final = struct.Struct("<IHH")
_LARGEST: Final = 0xFFFF


def drcov(coverage: Coverage, path: str, _sources: SourceText) -> bytes:
    """DynamoRIO's format, version 2, with the kernel as its only module: its range, entry and `path`, then
    each block once, as its offset, size and module."""
    image = coverage.image
    blocks = sorted(coverage.blocks)
    head = (
        "DRCOV VERSION: 2\nDRCOV FLAVOR: drcov\n"
        "Module Table: version 2, count 1\n"
        "Columns: id, base, end, entry, checksum, timestamp, path\n"
        f" 0, {image.virt_start:#x}, {image.virt_end:#x}, {image.entry:#x}, "
        f"0x00000000, 0x00000000, {shown(path)}\n"
        f"BB Table: {len(blocks)} bbs\n"
    )
    entries = (_ENTRY.pack(start - image.virt_start, min(size, _LARGEST), 0) for start, size in blocks)
    return head.encode() + b"".join(entries)


def lcov(coverage: Coverage, _path: str, sources: SourceText) -> bytes:
    """The tracefile of lcov(1): for each source file its lines with code (geninfo(1), DA, LF and LH).

    A file is named by its absolute path, for genhtml(1) ends when it cannot read one of them."""
    text = ["TN:\n"]
    for file, counts in coverage.by_line().items():
        text.append(f"SF:{shown(sources.path(file))}\n")
        text += (f"DA:{line},{count}\n" for line, count in counts.items())
        text.append(f"LF:{len(counts)}\nLH:{hit(counts)}\nend_of_record\n")
    return "".join(text).encode("utf-8", "backslashreplace")


def annotated(coverage: Coverage, _path: str, sources: SourceText) -> bytes:
    """Every source file with a count before each line that has code, `#####` before what was never executed.
    Of a file that cannot be read the counts alone."""
    return "".join(_annotated(coverage, sources)).encode("utf-8", "backslashreplace")


def _annotated(coverage: Coverage, sources: SourceText) -> Iterator[str]:
    for file, counts in coverage.by_line().items():
        yield f"{shown(file)}: {hit(counts)} of {len(counts)} lines executed\n"
        lines = sources.lines(file)
        for number in range(1, max(len(lines), *counts) + 1):
            count = counts.get(number)
            if count is None and not lines:
                continue
            mark = "" if count is None else str(count) if count else "#####"
            text = shown(lines[number - 1].expandtabs().rstrip("\r")) if number <= len(lines) else ""
            yield f"{mark:>10} {number:6} | {text}".rstrip() + "\n"
        yield "\n"


FORMS: Final[dict[str, Callable[[Coverage, str, SourceText], bytes]]] = {
    ".drcov": drcov,
    ".info": lcov,
    ".txt": annotated,
}
"""What makes the bytes of a file, by its suffix; of the coverage, the image's path and source files."""
