"""A ring of bytes that a backend shares with a guest: one direction of the console's or of xenstore's page.

Data and both indices are in guest memory and the guest's to write at any time. They are read anew for every
operation, checked and masked; nothing is remembered from one operation to the next. Indices run freely,
modulo 2**32, as Xen's public headers have them (public/io/console.h, public/io/xs_wire.h).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from paravane.abi.layout import Layout

_INDEX_MASK: Final = 0xFFFF_FFFF


class RingFault(Exception):
    """The indices say that the ring holds more than it can: the guest wrote nonsense there."""


class ByteRing:
    """The ring called `name` in a shared page (a writable memoryview of bytes) that is laid out as a public
    header says: `size` bytes, a power of two, in that field, with the indices `<name>_cons`, `<name>_prod`.

    Every method but `release` raises RingFault when the indices are impossible, and has changed nothing then.
    """

    def __init__(self, page: memoryview, layout: Layout[Any], name: str, size: int) -> None:
        offsets, indices = layout.offsets, name.rstrip("_")
        self._page = page
        self._words = page.cast("I")
        self._data = offsets[name]
        self._consumer = offsets[f"{indices}_cons"] >> 2
        self._producer = offsets[f"{indices}_prod"] >> 2
        self.size = size

    @property
    def used(self) -> int:
        """Bytes that wait to be consumed."""
        return self._indices()[1]

    @property
    def room(self) -> int:
        """Bytes that can be produced before the ring is full."""
        return self.size - self._indices()[1]

    def peek(self) -> bytes:
        """Everything that waits, left in the ring."""
        consumer, used = self._indices()
        return self._copy_out(consumer, used)

    def consume(self, count: int) -> None:
        """Give the producer `count` bytes of the ring back; never more than there are."""
        consumer, used = self._indices()
        self._words[self._consumer] = (consumer + min(count, used)) & _INDEX_MASK

    def take(self) -> bytes:
        """Everything that waits, out of the ring."""
        consumer, used = self._indices()
        taken = self._copy_out(consumer, used)
        self._words[self._consumer] = (consumer + used) & _INDEX_MASK
        return taken

    def put(self, data: bytes | bytearray) -> int:
        """Produce as much of the front of `data` as fits; how many bytes that was."""
        consumer, used = self._indices()
        count = min(len(data), self.size - used)
        if count:
            producer = (consumer + used) & _INDEX_MASK
            start = producer & (self.size - 1)
            first = min(count, self.size - start)
            at = self._data
            self._page[at + start : at + start + first] = data[:first]
            self._page[at : at + count - first] = data[first:count]
            # The index last: who sees it sees the bytes.
            self._words[self._producer] = (producer + count) & _INDEX_MASK
        return count

    def release(self) -> None:
        """Let go of the page. Nothing else may be called after."""
        self._words.release()

    def _indices(self) -> tuple[int, int]:
        """The consumer index and how many bytes wait."""
        consumer, producer = self._words[self._consumer], self._words[self._producer]
        used = (producer - consumer) & _INDEX_MASK
        if used > self.size:
            raise RingFault(
                f"indices {consumer:#x} and {producer:#x} are {used} bytes apart in a ring of {self.size}"
            )
        return consumer, used

    def _copy_out(self, consumer: int, count: int) -> bytes:
        start = consumer & (self.size - 1)
        first = min(count, self.size - start)
        at = self._data
        return bytes(self._page[at + start : at + start + first]) + bytes(self._page[at : at + count - first])
