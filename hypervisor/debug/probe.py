"""The debugger as one vcpu's processor sees it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from paravane.classes import dataclass
from paravane.debug.stops import Kind, Signo, Stop

if TYPE_CHECKING:
    from paravane.cpu.debugger import Watched
    from paravane.history import History
    from paravane.vcpu import Vcpu


@dataclass(slots=True)
class Points:
    """Breakpoints and watched ranges, each with the kinds it was set as."""

    kinds: dict[int, set[Kind]] = field(default_factory=dict)
    watched: dict[tuple[Kind, int, int], Watched] = field(default_factory=dict)


class Attached(Protocol):
    """What a probe is of (`paravane.debug.target.Target`)."""

    history: History | None
    points: Points

    def stop(self, stop: Stop) -> bool:
        """Have the domain stop here."""
        ...


class Probe:
    """The debugger as one vcpu's processor sees it."""

    def __init__(self, target: Attached, vcpu: Vcpu) -> None:
        self._target = target
        self.vcpu = vcpu

    @property
    def breakpoints(self) -> dict[int, set[Kind]]:
        return self._target.points.kinds if self._looks else {}

    @property
    def watched(self) -> list[Watched]:
        return list(self._target.points.watched.values()) if self._looks else []

    @property
    def _looks(self) -> bool:
        """Nothing is of interest on a way back that is known."""
        history = self._target.history
        return history is None or history.looks or not history.traveling

    def at_breakpoint(self, address: int) -> bool:
        history = self._target.history
        if history is not None and history.timeline.steps_at(self.vcpu):
            return False
        software = Kind.SOFTWARE in self._target.points.kinds[address]
        return self._met("swbreak:" if software else "hwbreak:", access=False)

    def accessed(self, watched: Watched, before: bytes) -> bool:
        name = {(False, True): "watch", (True, False): "rwatch"}.get(
            (watched.reads, watched.writes), "awatch"
        )
        return self._met(f"{name}:{watched.start:x}", access=True)

    def stepped(self) -> None:
        self._target.stop(Stop(Signo.TRAP, self.vcpu))

    def _met(self, reason: str, *, access: bool) -> bool:
        history = self._target.history
        if history is not None and history.traveling:
            return history.note(self.vcpu, reason, access=access)
        return self._target.stop(Stop(Signo.TRAP, self.vcpu, reason))
