"""What a machine was at some places of its run, in so much memory and no more."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from paravane.classes import dataclass
from paravane.snapshot.codec import Blob
from paravane.snapshot.pages import Pages
from paravane.snapshot.state import CODEC, MachineSaved
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.history.position import Position
    from paravane.recording import Place

MOST: Final = 32
"""Checkpoints that are kept."""

MOST_BYTES: Final = 256 << 20
"""Bytes that they may take together, but for the first and the last one, which are kept whatever they
take."""

_FAST: Final = 1
_EMPTY: Final = Pages(b"", b"", b"")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One of them: the place, in the run and in the journal, how many instructions and how much work came
    before, and the machine. `pages` and `pieces` are shared with others that have the same."""

    position: Position
    place: Place
    instructions: int
    work: int
    text: bytes
    frames: bytes
    which: bytes
    pages: tuple[bytes, ...]
    pieces: tuple[bytes, ...]

    def machine(self) -> MachineSaved:
        """What `Machine.rewind` takes."""
        blob = memoryview(b"".join(self.pieces))
        saved: MachineSaved = CODEC.decode(MachineSaved, json.loads(zlib.decompress(self.text)), blob)
        return replace(saved, pages=Pages(self.frames, self.which, b"".join(self.pages)))

    @property
    def size(self) -> int:
        """Bytes that it has for itself alone."""
        return len(self.text) + len(self.frames) + len(self.which)

    def shared(self) -> tuple[bytes, ...]:
        """What others may have as well."""
        return self.pages + self.pieces


class Checkpoints:
    """Those of one run, from the first one to the last. Where there are too many the one goes whose
    neighbours are nearest for how long ago it was: the farther back, the fewer there are."""

    def __init__(self) -> None:
        self._kept: list[Checkpoint] = []
        self._contents: dict[bytes, list[Any]] = {}  # what is shared: itself, and how often it is
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def first(self) -> Checkpoint:
        """The beginning. There has to be one."""
        return self._kept[0]

    def before(self, position: Position) -> list[Checkpoint]:
        """Those before a place, the nearest one first."""
        return [one for one in reversed(self._kept) if one.position < position]

    def last(self, position: Position) -> Checkpoint:
        """The nearest one that is not after a place; the first one for a place before all."""
        found = [one for one in self._kept if one.position <= position]
        return found[-1] if found else self._kept[0]

    def keep(
        self, saved: MachineSaved, position: Position, place: Place, instructions: int, work: int
    ) -> None:
        """Keep what a machine is now, unless it is known what it was here."""
        if any(one.position == position for one in self._kept):
            return
        blob = Blob()
        header = CODEC.encode(MachineSaved, replace(saved, pages=_EMPTY), blob)
        text = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), _FAST)
        contents = saved.pages.contents
        pages = [contents[at : at + PAGE_SIZE] for at in range(0, len(contents), PAGE_SIZE)]
        one = Checkpoint(
            position,
            place,
            instructions,
            work,
            text,
            saved.pages.frames,
            saved.pages.which,
            self._share(pages),
            self._share(blob.pieces),
        )
        self._kept.append(one)
        self._kept.sort(key=lambda one: one.position)
        self.size += one.size
        while len(self._kept) > 2 and (len(self._kept) > MOST or self.size > MOST_BYTES):
            self._drop(self._least(work))

    def cut(self, position: Position) -> None:
        """What came after a place is nothing any more."""
        while len(self._kept) > 1 and self._kept[-1].position > position:
            self._drop(len(self._kept) - 1)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._contents.clear()
        self.size = 0

    def _least(self, work: int) -> int:
        """Which one is missed least by who is where so much work was done."""

        def gap(at: int) -> float:
            width = self._kept[at + 1].work - self._kept[at - 1].work
            return width / (1 + abs(work - self._kept[at].work))

        return min(range(1, len(self._kept) - 1), key=gap)

    def _drop(self, at: int) -> None:
        one = self._kept.pop(at)
        self.size -= one.size
        for content in one.shared():
            entry = self._contents[content]
            entry[1] -= 1
            if not entry[1]:
                del self._contents[content]
                self.size -= len(content)

    def _share(self, contents: Sequence[bytes]) -> tuple[bytes, ...]:
        """The same contents, each of which is there once."""
        found = []
        for content in contents:
            entry = self._contents.get(content)
            if entry is None:
                entry = self._contents[content] = [content, 0]
                self.size += len(content)
            entry[1] += 1
            found.append(entry[0])
        return tuple(found)
