"""The hypervisor's own console, as far as guests write to it (console_io)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK: Final = 127
"""Bytes of a guest's text that are taken at a time."""

LINE: Final = 199
"""Bytes of a line that are kept until it ends: Xen's DOMAIN_PBUF_SIZE, without its NUL."""


class HypervisorConsole:
    """Lines that a guest writes, each put out whole with the domain in front, as Xen puts them out.

    `sink` takes a line of text. Bytes that are not printable ASCII are dropped: what a guest writes cannot
    command the terminal it is shown on.
    """

    def __init__(self, domid: int, sink: Callable[[str], None]) -> None:
        self._prefix = f"(d{domid}) "
        self._sink = sink
        self._line = ""

    def write(self, chunk: bytes) -> int:
        """Take text up to the end of its first line: how many bytes that was."""
        end = chunk.find(b"\n")
        taken = chunk if end < 0 else chunk[:end]
        text = "".join(chr(byte) for byte in taken if 0x20 <= byte < 0x7F or byte == 0x09)
        if end < 0 and len(self._line) + len(text) < LINE:
            self._line += text
        else:
            self._put(text)
        return len(taken) + (end >= 0)

    def close(self) -> None:
        """The guest is gone: a line that it did not end is put out as it is."""
        if self._line:
            self._put("")

    def _put(self, text: str) -> None:
        line, self._line = self._line + text, ""
        self._sink(self._prefix + line)
