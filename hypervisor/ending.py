"""Why a run of the machine came back, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.vcpu import Vcpu


class StopReason(Enum):
    """Why `Machine.run` came back; the values are sentences for people."""

    DONE = "every domain has ended"
    TIMEOUT = "the time given was used up"
    TRAPS = "the number of traps given was used up"
    STALLED = "every vcpu is blocked, and no timer or input can wake one"
    INTERRUPTED = "somebody asked it to stop"


@dataclass(frozen=True, slots=True)
class Ending:
    """One return of `Machine.run`: why, and the vcpu that had the processor then, with its domain (None:
    nobody had it)."""

    reason: StopReason
    vcpu: Vcpu | None = None
    domain: Domain | None = None

    def __str__(self) -> str:
        return self.reason.value
