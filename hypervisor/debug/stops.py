"""What a debugger can set, and why a guest stopped, in the protocol's words; and its threads."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass

if TYPE_CHECKING:
    from paravane.vcpu import Vcpu


BEGINNING: Final = "replaylog:begin"
"""The reason of a stop where nothing is known of what was before."""


class PointError(ValueError):
    """A breakpoint, or a range to watch, that there cannot be; the message is one sentence."""


class Signo(IntEnum):
    """Signals by their numbers in the protocol: what a stop looks like to a debugger."""

    INT = 2
    TRAP = 5
    ABRT = 6
    SEGV = 11


class Kind(IntEnum):
    """Types of the packets Z and z."""

    SOFTWARE = 0
    HARDWARE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the guest stopped: a signal and which vcpu; `reason` in the protocol's words (`swbreak:`); and what
    there is to say to a person."""

    signal: Signo
    vcpu: Vcpu
    reason: str = ""
    sentence: str = ""


def thread_of(vcpu: Vcpu) -> int:
    """A vcpu's thread id: ids count from 1."""
    return vcpu.vcpu_id + 1


def thread_info(vcpu: Vcpu) -> str:
    """What a debugger shows of a thread besides its name and place."""
    return f"domain {vcpu.domid} vcpu {vcpu.vcpu_id}, {vcpu.run_state.resting.name}"
