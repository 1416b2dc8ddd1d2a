"""Records of timers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from paravane.trace.records import TimerRecord

if TYPE_CHECKING:
    from paravane.platform import Platform
    from paravane.time.timers import TimerName

_OWNER = re.compile(r"d(\d+)(?:v(\d+))?")
_OWNERS = 1024
"""Names whose owners are remembered."""


class TimerSource:
    """Observes the timers of domains and vcpus (paravane.time.timers). The machine's own are not told: they
    end slices, which is what the records of scheduling say."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def told(self, what: str, name: TimerName, deadline: int) -> None:
        owner = _owner(name.owner)
        if owner is None:
            return
        platform, (domid, vcpu) = self._platform, owner
        _, running, place = platform.trace.here(domid)
        if what == "expired" or vcpu not in (None, running):
            place = None
        head = (platform.clock.now(), domid, vcpu, place)
        platform.trace.write(TimerRecord(*head, what, name.kind, deadline))


@lru_cache(_OWNERS)
def _owner(name: str) -> tuple[int, int | None] | None:
    """The domain and vcpu of a timer's owner, `d1v0` or `d1`."""
    found = _OWNER.fullmatch(name)
    if found is None:
        return None
    return int(found[1]), None if found[2] is None else int(found[2])
