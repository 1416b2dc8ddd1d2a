"""The hypervisor's own console, as far as guests write to it (console_io), and what it has said so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK: Final = 127
"""Bytes of a guest's text that are taken at a time."""

LINE: Final = 199
"""Bytes of a line that are kept until it ends: Xen's DOMAIN_PBUF_SIZE, without its NUL."""

RING: Final = 16 << 10
"""Bytes of lines that are kept for the control domain, as with Xen's default `conring_size`."""

_INDEX: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class ConsoleRingState:
    """All that has to be kept of the ring: its bytes, the position after them, that of the first unread
    one."""

    kept: bytes
    end: int
    read: int


class ConsoleRing:
    """The last lines that the hypervisor has put out, for whoever may read them (XEN_SYSCTL_readconsole).

    Positions count bytes since the machine began, in 32 bits as in Xen.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._end = 0
        self._read = 0

    def save(self) -> ConsoleRingState:
        """What `restore` goes on from."""
        return ConsoleRingState(self._kept, self._end, self._read)

    def restore(self, state: ConsoleRingState) -> None:
        """Go on from what `save` gave. Raises ValueError, a sentence, for positions that cannot be."""
        if len(state.kept) > RING or not state.end - len(state.kept) <= state.read <= state.end:
            raise ValueError("the positions in the hypervisor's console cannot be")
        self._kept, self._end, self._read = state.kept, state.end, state.read

    def put(self, line: str) -> None:
        """Keep a line. When the ring is full the oldest bytes are lost."""
        data = line.encode("ascii", "replace") + b"\n"
        self._kept = (self._kept + data)[-RING:]
        self._end += len(data)
        self._read = max(self._read, self._end - len(self._kept))

    def read(self, count: int, index: int | None) -> tuple[bytes, int]:
        """At most `count` bytes from the first one that was not cleared, or from position `index` if that is
        after it; and the position that comes after them."""
        start = self._read
        if index is not None:
            ahead = index - start & _INDEX - 1
            start += ahead if ahead <= self._end - start else 0
        first = start - (self._end - len(self._kept))
        data = self._kept[first : first + count]
        return data, start + len(data) & _INDEX - 1

    def clear(self, position: int) -> None:
        """Forget what comes before a position that `read` gave."""
        self._read += min(position - self._read & _INDEX - 1, self._end - self._read)


class HypervisorConsole:
    """Lines that a guest writes, each put out whole with the domain in front, as Xen puts them out.

    `sink` takes a line of text. Bytes that are not printable ASCII are dropped: what a guest writes cannot
    command the terminal it is shown on.
    """

    def __init__(self, domid: int, sink: Callable[[str], None]) -> None:
        self._prefix = f"(d{domid}) "
        self._sink = sink
        self._line = ""

    @property
    def line(self) -> str:
        """The line that the guest has not ended yet."""
        return self._line

    @line.setter
    def line(self, text: str) -> None:
        self._line = text[:LINE]

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
