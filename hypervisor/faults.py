"""Faults that a seed has happen to guests: what Xen and its backends answer when there is no more of
something, when somebody else was faster, when a disk is slow or bad, when packets are lost.

Each subsystem asks one function before it does something that may fail, None where nothing is left to chance.
What fails does so as it would for its usual reason: the same errno or status, the same short count.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final

from paravane import random_state
from paravane.abi.errno import Errno
from paravane.classes import NamedTuple, dataclass
from paravane.devices.faults import FAILS
from paravane.trace import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paravane.devices.xenstore import Store
    from paravane.platform import Platform
    from paravane.variation import Variation

RATES: Final = (1 / 4, 1 / 16, 1 / 64)
"""How often something fails: one of these in each run for each kind. Often, so that two faults meet; and
seldom, so that a kernel comes far enough to meet one late."""

LATEST: Final = 2_000_000_000
SOONEST: Final = 100_000
"""Nanoseconds that a slow disk takes: between a seek that is none and a disk that spins up or tries again."""

KEPT: Final = 100
"""Faults that are remembered, the first ones."""

log = logging.getLogger(__name__)


class Fault(NamedTuple):
    """Of which kind (`paravane.variation.FAULTS`), at which system time in nanoseconds, and what happened."""

    kind: str
    time: int
    sentence: str


@dataclass(frozen=True, slots=True)
class FaultsState:
    """How many may still come, how many there were and the first of them, and the state of each kind's
    chances."""

    left: int | None
    count: int
    first: tuple[Fault, ...]
    chances: Mapping[str, bytes]


class Faults:
    """The faults of one machine. `count` is how many there were, `first` the first of them."""

    def __init__(self, platform: Platform, store: Store, variation: Variation, seed: int) -> None:
        """Have the parts of the machine ask."""
        self._platform = platform
        self._left = variation.most_faults
        self._chances = {kind: _Chance(kind, seed) for kind in variation.faults}
        self.count = 0
        self.first: list[Fault] = []
        if "memory" in variation.faults:
            platform.memory.exhausted = self._no_memory
        if "grants" in variation.faults:
            platform.grants.exhausted = self._no_grants
        if "events" in variation.faults:
            platform.exchange.exhausted = self._no_port
        if "store" in variation.faults:
            store.conflicts = self._conflict
        if "disk" in variation.faults or "net" in variation.faults:
            platform.bus.faults = self

    def save(self) -> FaultsState:
        """What `restore` goes on from."""
        chances = {kind: random_state.save(chance.random) for kind, chance in self._chances.items()}
        return FaultsState(self._left, self.count, tuple(self.first), chances)

    def restore(self, state: FaultsState) -> None:
        """Go on as those would have. Raises ValueError for what is no state of these."""
        limited = self._left is not None
        if set(state.chances) != set(self._chances) or (state.left is not None) != limited:
            raise ValueError("there are chances of other faults")
        if (state.left or 0) < 0 or len(state.first) > min(KEPT, state.count):
            raise ValueError("there cannot be so many faults")
        self._left, self.count, self.first = state.left, state.count, list(state.first)
        for kind, chance in self._chances.items():
            random_state.restore(chance.random, state.chances[kind])

    def disk(self, domid: int, request: str) -> int:
        """See `DeviceFaults`."""
        if not self._strikes("disk"):
            return 0
        chance = self._chances["disk"].random
        if chance.random() < 0.5:
            self._tell("disk", domid, Errno.EIO, f"{request} fails")
            return FAILS
        # As many that take milliseconds as that take seconds.
        late = int(SOONEST * (LATEST / SOONEST) ** chance.random())
        self._tell("disk", domid, Errno.EAGAIN, f"{request} waits {late / 1e6:.1f} ms")
        return late

    def packet(self, domid: int, size: int) -> bool:
        """See `DeviceFaults`."""
        return self._strikes("net") and self._tell(
            "net", domid, Errno.ENOBUFS, f"a frame of {size} bytes is lost"
        )

    def _no_memory(self, domid: int, order: int) -> bool:
        return (
            self._platform.trace.scene is not None
            and self._strikes("memory")
            and self._tell("memory", domid, Errno.ENOMEM, f"no extent of order {order} is free")
        )

    def _no_grants(self, domid: int, wanted: str) -> bool:
        return (
            self._asks(domid)
            and self._strikes("grants")
            and self._tell("grants", domid, Errno.ENOMEM, f"there is no {wanted} for it")
        )

    def _no_port(self, domid: int) -> bool:
        return (
            self._asks(domid)
            and self._strikes("events")
            and self._tell("events", domid, Errno.ENOSPC, "all ports are in use")
        )

    def _conflict(self, domid: int) -> bool:
        return self._strikes("store") and self._tell(
            "store", domid, Errno.EAGAIN, "somebody else has changed what the transaction looked at"
        )

    def _asks(self, domid: int) -> bool:
        """Whether this domain is at work: what the toolstack does for one it has already."""
        scene = self._platform.trace.scene
        return scene is not None and scene.domid == domid

    def _strikes(self, kind: str) -> bool:
        chance = self._chances.get(kind)
        if chance is None or self._left == 0 or chance.random.random() >= chance.rate:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    def _tell(self, kind: str, domid: int, errno: Errno, sentence: str) -> bool:
        """Put a fault where refusals are looked for; it is one to be."""
        now, trace = self._platform.clock.now(), self._platform.trace
        self.count += 1
        if len(self.first) < KEPT:
            self.first.append(Fault(kind, now, sentence))
        log.info("d%d: a fault of %s is injected: %s", domid, kind, sentence)
        if trace.wants(Kind.REFUSAL):
            from paravane.trace import RefusalRecord  # noqa: PLC0415 - loaded for who traces only

            told = f"injected: {sentence}"
            trace.write(RefusalRecord(now, *trace.here(domid), f"fault {kind}", errno, told))
        return True


class _Chance:
    """That of one kind, which those of others do not change."""

    def __init__(self, kind: str, seed: int) -> None:
        self.random = random.Random(f"faults of {kind} {seed}")
        self.rate = self.random.choice(RATES)
