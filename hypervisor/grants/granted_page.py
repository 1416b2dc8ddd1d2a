"""A granted frame in the hands of a backend of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from paravane.cpu.ram import Ram


class GrantMapping:
    """A granted frame that a backend may use until it closes the mapping.

    `page` is the frame (4096 bytes, 'B'), read-only unless the mapping is writable. The guest goes on writing
    to it as it likes. `release` ends the use of the grant.
    """

    def __init__(self, ram: Ram, mfn: int, release: Callable[[], None], *, writable: bool) -> None:
        self._ram = ram
        self._release = release
        self.mfn = mfn
        self.writable = writable
        self._closed = False
        whole = ram.bytes[mfn << PAGE_SHIFT : (mfn + 1) << PAGE_SHIFT]
        self.page = whole if writable else whole.toreadonly()

    def written(self) -> None:
        """Say that `page` was written, in case the guest runs code there."""
        self._ram.code_changed(self.mfn)

    def close(self) -> None:
        """Let go of the frame. Closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        # Whoever still has the page can neither use it nor keep the machine's memory from being freed.
        self.page.release()
        if self.writable:
            self.written()
        self._release()

    def __enter__(self) -> memoryview:
        return self.page

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
