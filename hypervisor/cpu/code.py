"""What was translated, and what may have changed since without the engine's noticing.

An engine notices its own guest's stores into translated code through the mapping that the code was fetched
by. It misses what another engine stores, and what is stored through a second mapping that is NX, but for
the first store since it last forgot its translations of addresses. So frames are remembered as they were
when code was translated from them, and compared wherever a change may come to light.
"""

from collections.abc import Iterable
from typing import Final

from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.bounds import MovableHook
from paravane.cpu.ram import Ram
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

# While a hook of any memory kind lies over a frame the engine looks at every store into it. This kind is
# never called; it costs every other page some 10 ns a hook at its first store after a flush.
_INERT: Final = numbers.UC_HOOK_MEM_WRITE_PROT
_MOST_WATCHED: Final = 16
_MOST_FRAMES: Final = 8192


class CodeGroup:
    """Processors whose guests may store into each other's code: the vcpus of one domain."""

    def __init__(self) -> None:
        self.last_runner: object | None = None


class _Frame:
    """A frame when code was last translated from it, and where that code is: offset and size in bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.pieces: set[tuple[int, int]] = set()


class TranslatedCode:
    """The frames that one processor translated code from."""

    def __init__(self, ram: Ram, engine: api.Engine, group: CodeGroup | None) -> None:
        self._ram = ram
        self._engine = engine
        self._group = group
        self._frames: dict[int, _Frame] = {}
        self._watched: dict[int, MovableHook] = {}
        self.misses_no_store = False
        """The TLB is filled so that its guest's stores into code are always noticed (gateway/tlb.c)."""

    @property
    def is_full(self) -> bool:
        """More frames than are worth remembering: time to drop all code."""
        return len(self._frames) > _MOST_FRAMES

    def note(self, maddr: int, size: int) -> bool:
        """`size` bytes of one frame were translated from machine address `maddr`, as they are now.

        True when other code of that frame was changed and may not have been translated anew: all of the
        frame's is to be dropped.
        """
        mfn, piece = maddr >> PAGE_SHIFT, (maddr & PAGE_SIZE - 1, size)
        self._ram.code_map[mfn] = 1
        content = self._content(mfn)
        frame = self._frames.get(mfn)
        if frame is None:
            frame = self._frames[mfn] = _Frame(content)
            if not self.misses_no_store:
                # The TLB has other mappings from when this was data: stores there are not looked at.
                self._engine.flush_tlb()
        before, frame.content = frame.content, content
        frame.pieces.add(piece)
        if before == content:
            return False
        if not self.misses_no_store:
            # Its guest stores into this frame: from now on no store there goes unseen.
            self._watch(mfn)
        return any(
            before[start : start + length] != content[start : start + length]
            for start, length in frame.pieces
            if (start, length) != piece
        )

    def among(self, mfns: Iterable[int]) -> list[int]:
        """Those of the frames that something is translated from."""
        return [mfn for mfn in mfns if mfn in self._frames]

    def forget(self, mfns: Iterable[int]) -> None:
        """Nothing translated from these frames is left."""
        for mfn in mfns:
            self._frames.pop(mfn, None)

    def forget_all(self) -> None:
        """Nothing translated is left."""
        self._frames.clear()

    def changed_since(self, runner: object) -> list[int]:
        """The frames that other members of the group, or domains that share them, changed since `runner`, who
        runs now, last ran."""
        suspects: Iterable[int] = self._ram.lent.keys() & self._frames.keys() if self._ram.lent else ()
        if self._group is not None:
            previous, self._group.last_runner = self._group.last_runner, runner
            if previous is not runner:
                suspects = self._frames
        return [mfn for mfn in suspects if self._content(mfn) != self._frames[mfn].content]

    def _watch(self, mfn: int) -> None:
        """Have every store into the frame seen, through whatever mapping."""
        hook = self._watched.pop(mfn, None)
        if hook is None:
            if len(self._watched) < _MOST_WATCHED:
                hook = MovableHook(self._engine, _INERT, api.NOTHING)
            else:
                # The one that was needed longest ago.
                hook = self._watched.pop(next(iter(self._watched)))
            hook.point(mfn << PAGE_SHIFT, (mfn << PAGE_SHIFT) + PAGE_SIZE - 1)
        self._watched[mfn] = hook
        # What the engine remembers of an address says also whether stores there are looked at.
        self._engine.flush_tlb()

    def _content(self, mfn: int) -> bytes:
        return self._ram.bytes[mfn << PAGE_SHIFT : (mfn << PAGE_SHIFT) + PAGE_SIZE].tobytes()
