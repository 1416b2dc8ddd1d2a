"""The TLB fill of one vcpu: what its C code is told."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from paravane.gateway.structs import FLUSH, OWN_FILL, SET_PAGE, Tlb
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.cpu.native_fill import FillView
    from paravane.gateway.native import Native


class VcpuTlb:
    """A processor's TLB fill in C (paravane.cpu.native_fill.NativeFill)."""

    def __init__(self, native: Native) -> None:
        self._native = native  # its code stays as long as this does
        self._block = Tlb()
        self._code: Any = None
        self.address = native.tlb_fill
        self.user = ctypes.addressof(self._block)

    @property
    def filled(self) -> int:
        """Translations that it made."""
        return int(self._block.filled)

    def has_code(self, mfn: int) -> bool:
        """Something may have been translated from the frame."""
        return self._code is not None and self._code[mfn] != 0

    def connect(self, view: FillView) -> None:
        """It is about to be called, for this processor."""
        block = self._block
        # Memory that nobody has touched yet takes none of the host's.
        self._code = (ctypes.c_uint8 * (view.ram_size >> PAGE_SHIFT))()
        block.code = ctypes.cast(self._code, ctypes.POINTER(ctypes.c_uint8))
        block.words = ctypes.cast(view.words, ctypes.POINTER(ctypes.c_uint32))
        block.ram = ctypes.cast(view.ram, ctypes.POINTER(ctypes.c_uint8))
        block.ram_size = view.ram_size
        block.own = ctypes.cast(view.own, OWN_FILL)
        block.set_page = ctypes.cast(view.set_page, SET_PAGE)
        block.flush = ctypes.cast(view.flush, FLUSH)
        block.cr0, block.cr3, block.cr4 = view.cr0, view.cr3, view.cr4

    def forget(self, mfns: Iterable[int]) -> None:
        """No code of these frames is left, and no translation."""
        for mfn in mfns:
            self._code[mfn] = 0

    def forget_all(self) -> None:
        """No code is left, and no translation."""
        ctypes.memset(self._code, 0, ctypes.sizeof(self._code))
