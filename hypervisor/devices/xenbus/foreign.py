"""Frames of a guest that are mapped by their numbers, as only the control domain may (a foreign mapping).

The framebuffer's protocol is older than grants: its frontend names machine frames, and its backend has to see
to it that they are that guest's own. Each is held while it is mapped, so that it stays what it is, whatever
the guest's balloon or page tables do, and outlives the guest if need be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.memory import DomainMemory


class ForeignMapping:
    """Frames that a backend may use until it closes the mapping.

    `pages` are they, in order (4096 bytes each, 'B'), read-only unless the mapping is writable. The guest
    goes on writing to them as it likes.
    """

    def __init__(self, memory: DomainMemory, mfns: Sequence[int], *, writable: bool) -> None:
        """Hold frames of the domain of `memory`, all or none. Raises Refusal(EINVAL) for one that is not its
        own, or that a page of page tables or descriptors lies in where the mapping is writable."""
        self._machine = memory.machine
        self._writable = writable
        self._held: list[int] = []
        self.pages: list[memoryview] = []
        ram = memory.machine.ram.bytes
        view = ram if writable else ram.toreadonly()
        try:
            for mfn in mfns:
                self._machine.hold(mfn, memory.domid, writable=writable)
                self._held.append(mfn)
                self.pages.append(view[mfn << PAGE_SHIFT : (mfn + 1) << PAGE_SHIFT])
        except Refusal:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the frames. Idempotent."""
        # Whoever still has a page can neither use it nor keep the machine's memory from being freed.
        for page in self.pages:
            page.release()
        self.pages.clear()
        while self._held:
            mfn = self._held.pop()
            if self._writable:
                self._machine.ram.code_changed(mfn)
            self._machine.let_go(mfn, writable=self._writable)
