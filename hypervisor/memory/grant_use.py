"""Grants in use: what is kept of them, and a granted frame in a backend's hands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from paravane.abi.grant_table import GrantStatus
    from paravane.cpu.ram import Ram


class GrantRefusal(Refusal):
    """A grant operation that is refused: `status` is what its own struct reports."""

    def __init__(self, status: GrantStatus, sentence: str) -> None:
        super().__init__(Errno.EINVAL, f"{status.name}: {sentence}")
        self.status = status


@dataclass(slots=True)
class ActiveGrant:
    """An entry in use: by whom, which frame it was when the use began, and how often."""

    domid: int
    mfn: int
    readers: int = 0
    writers: int = 0


@dataclass(slots=True)
class GrantState:
    """All that is known of a grant table besides the entries that the guest writes: its frames, the entries
    in use by reference, and whether its domain is gone. Plain, so that it can be saved.
    """

    frames: list[int] = field(default_factory=list)
    active: dict[int, ActiveGrant] = field(default_factory=dict)
    closed: bool = False


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
