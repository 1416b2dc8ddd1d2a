"""Records of machine frames: their types, and their grants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.trace.records import GrantRecord, PageRecord
from paravane.trace.vocabulary import PAGE_TYPES

if TYPE_CHECKING:
    from paravane.platform import Platform


class PageSource:
    """Observes the types of machine frames (paravane.memory.page_types)."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def told(self, what: str, mfn: int, before: int, after: int) -> None:
        """The record is of the vcpu that asked for the change; of the frame's owner when no guest did."""
        platform = self._platform
        frames, scene = platform.memory.frames, platform.trace.scene
        owner = frames.owner[mfn]
        head = (platform.clock.now(), *platform.trace.here(owner if scene is None else scene.domid))
        uses = frames.type_count[mfn]
        platform.trace.write(PageRecord(*head, what, mfn, owner, PAGE_TYPES[before], PAGE_TYPES[after], uses))


class GrantSource:
    """Observes the use of grants (paravane.grants)."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def told(self, what: str, domid: int, ref: int, by: int, mfn: int, *, writable: bool) -> None:
        platform = self._platform
        head = (platform.clock.now(), *platform.trace.here(domid))
        platform.trace.write(GrantRecord(*head, what, ref, by, mfn, writable))
