"""What a domain has mapped of others, by the handles it was given for that (Xen's maptrack)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.grants.use import GrantState

HANDLES_PER_FRAME: Final = 256


@dataclass(slots=True)
class MappedGrant:
    """A grant that is mapped: entry `ref` of domain `domid`, by the GNTMAP_* flags that are left of those it
    was mapped with. `giver` tells that domain from a later one with its number."""

    domid: int
    giver: GrantState
    ref: int
    flags: int


@dataclass(frozen=True, slots=True)
class KeptGrant:
    """A `MappedGrant` as it is kept; `alive` says that the domain which granted it is still there."""

    handle: int
    domid: int
    alive: bool
    ref: int
    flags: int


@dataclass(frozen=True, slots=True)
class MaptrackState:
    """All that has to be kept of a domain's handles: frames of them, those that are free in the order in
    which they are given out, and what the others map."""

    nr_frames: int
    free: tuple[int, ...]
    mapped: tuple[KeptGrant, ...]


class Maptrack:
    """One domain's handles.

    They come as they do from Xen to the first vcpu of a domain: frame after frame, each in order, and one
    that was given back only after those that are free already. One always stays free, as the end of that
    list.
    """

    def __init__(self, max_frames: int) -> None:
        self.max_frames = max_frames
        self._nr_frames = 0
        self._free: deque[int] = deque()
        self._mapped: dict[int, MappedGrant] = {}

    @property
    def nr_frames(self) -> int:
        """Frames that Xen would have for the handles given out so far."""
        return self._nr_frames

    def save(self, is_alive: Callable[[MappedGrant], bool]) -> MaptrackState:
        """What `restore` goes on from."""
        mapped = tuple(
            KeptGrant(handle, one.domid, is_alive(one), one.ref, one.flags)
            for handle, one in self._mapped.items()
        )
        return MaptrackState(self._nr_frames, tuple(self._free), mapped)

    def restore(self, state: MaptrackState, giver: Callable[[KeptGrant], GrantState]) -> None:
        """Go on from what `save` gave. Raises ValueError, a sentence, for more than there can be."""
        handles = [*state.free, *(one.handle for one in state.mapped)]
        if state.nr_frames > self.max_frames or len(handles) > state.nr_frames * HANDLES_PER_FRAME:
            raise ValueError(f"a domain cannot have {len(handles)} handles in {state.nr_frames} frames")
        self._nr_frames = state.nr_frames
        self._free = deque(state.free)
        self._mapped = {
            one.handle: MappedGrant(one.domid, giver(one), one.ref, one.flags) for one in state.mapped
        }

    def take(self) -> int | None:
        """A handle for a mapping to come, or None when there are as many as there can be."""
        if len(self._free) > 1:
            return self._free.popleft()
        if self._nr_frames == self.max_frames:
            return None
        first = self._nr_frames * HANDLES_PER_FRAME
        self._nr_frames += 1
        self._free.extendleft(reversed(range(first + 1, first + HANDLES_PER_FRAME)))
        return first

    def give_back(self, handle: int) -> None:
        """The handle maps nothing, or no more."""
        self._mapped.pop(handle, None)
        self._free.append(handle)

    def enter(self, handle: int, mapped: MappedGrant) -> None:
        """What the handle that was taken maps."""
        self._mapped[handle] = mapped

    def find(self, handle: int) -> MappedGrant | None:
        return self._mapped.get(handle)

    def drain(self) -> Iterator[MappedGrant]:
        """Everything that is still mapped, each forgotten as it comes."""
        while self._mapped:
            yield self._mapped.popitem()[1]

    def __iter__(self) -> Iterator[MappedGrant]:
        return iter(self._mapped.values())
