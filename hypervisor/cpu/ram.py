"""Machine memory: one anonymous mapping that Python and every engine share."""

import ctypes
import mmap
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

_ZERO_PAGE = bytes(PAGE_SIZE)
_WORTH_A_CALL = 8
"""Neighbouring frames that the host is asked to forget: for fewer the call costs more than to fill them."""


class CodeHolder(Protocol):
    """Something that keeps code translated from machine frames and can drop it."""

    def drop_code(self, mfns: Sequence[int]) -> None: ...


class Ram:
    """`nr_frames` machine frames of 4 KiB from machine address 0.

    The views (`bytes`, `words`, `quads`) write without telling the engines: whoever changes a frame that may
    hold code through a view calls `code_changed` afterwards. `write` and `clear_frame` do so themselves.
    """

    def __init__(self, nr_frames: int) -> None:
        """MemoryError when the host has not so much."""
        if nr_frames < 1:
            raise ValueError(f"machine memory needs at least one frame, not {nr_frames}")
        self.nr_frames = nr_frames
        self.size = nr_frames << PAGE_SHIFT
        try:
            self._map = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            raise MemoryError(f"the host has no {self.size >> 20} MiB of memory for a machine") from None
        anchor = ctypes.c_char.from_buffer(self._map)
        self.host_address = ctypes.addressof(anchor)
        del anchor
        self.bytes = memoryview(self._map)
        self.words = self.bytes.cast("I")
        self.quads = self.bytes.cast("Q")
        self.code_map = bytearray(nr_frames)
        """A byte for each frame: not 0 where code was translated from it. It never changes its size, so that
        whoever has its address may keep that."""
        self.lent: Counter[int] = Counter()
        """Frames that guests of more than one domain may have mapped, and how often: the engine of one does
        not notice what another stores there."""
        self._holders: list[CodeHolder] = []

    def attach(self, holder: CodeHolder) -> None:
        """Tell `holder` from now on when code it may have translated changes."""
        self._holders.append(holder)

    def detach(self, holder: CodeHolder) -> None:
        """Forget `holder`. Must precede the release of what it mapped."""
        self._holders = [other for other in self._holders if other is not holder]
        if not self._holders:
            self.code_map[:] = bytes(self.nr_frames)

    def read(self, maddr: int, size: int) -> bytes:
        """`size` bytes from machine address `maddr`. IndexError outside machine memory."""
        self._check(maddr, size)
        return self.bytes[maddr : maddr + size].tobytes()

    def write(self, maddr: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` and drop the code translated from the frames touched."""
        size = len(data)
        self._check(maddr, size)
        self.bytes[maddr : maddr + size] = data
        if size:
            self._drop_run(range(maddr >> PAGE_SHIFT, (maddr + size - 1 >> PAGE_SHIFT) + 1))

    def clear_frame(self, mfn: int) -> None:
        """Fill one frame with zeroes."""
        self.write(mfn << PAGE_SHIFT, _ZERO_PAGE)

    def clear_frames(self, run: range) -> None:
        """Fill a run of frames of machine memory with zeroes. Neighbours are given back to the host, which
        gives them anew, empty, when they are next used; a frame that was never used is only looked at, which
        takes no memory of the host."""
        view = self.bytes
        if run.step == 1 and len(run) >= _WORTH_A_CALL and sys.platform == "linux":
            # Linux alone promises that private memory it is told to forget is zero afterwards (madvise(2)).
            self._map.madvise(mmap.MADV_DONTNEED, run.start << PAGE_SHIFT, len(run) << PAGE_SHIFT)
        else:
            for mfn in run:
                frame = view[mfn << PAGE_SHIFT : mfn + 1 << PAGE_SHIFT]
                if frame.tobytes() != _ZERO_PAGE:
                    frame[:] = _ZERO_PAGE
        self._drop_run(run)

    def code_changed(self, mfn: int) -> None:
        """Frame `mfn` was changed through a view: drop what was translated from it."""
        if self.code_map[mfn]:
            self._drop((mfn,))

    def close(self) -> None:
        """Release the memory. Every engine must have been closed before. Idempotent."""
        if self._holders:
            raise ValueError("machine memory is still mapped by a processor")
        for view in (self.quads, self.words, self.bytes):
            view.release()
        # A slice somebody still holds keeps the mapping alive until it goes.
        with suppress(BufferError):
            self._map.close()

    def _check(self, maddr: int, size: int) -> None:
        # A negative address or size would quietly slice from the other end of memory.
        if maddr < 0 or size < 0 or maddr + size > self.size:
            raise IndexError(f"machine range {maddr:#x}+{size:#x} is outside machine memory")

    def _drop_run(self, run: range) -> None:
        """The frames of `run` were changed."""
        code = self.code_map
        if run.step != 1:
            self._drop([mfn for mfn in run if code[mfn]])
            return
        stale, at = [], code.find(1, run.start, run.stop)
        while at >= 0:
            stale.append(at)
            at = code.find(1, at + 1, run.stop)
        self._drop(stale)

    def _drop(self, stale: Sequence[int]) -> None:
        """Frames with code were changed."""
        for mfn in stale:
            self.code_map[mfn] = 0
        if stale:
            for holder in self._holders:
                holder.drop_code(stale)
