"""What a machine is made of, for who saves and restores it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.classes import dataclass

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.faults import Faults
    from paravane.inbox import Inbox
    from paravane.lives import Lives
    from paravane.platform import Platform
    from paravane.registry import Registry
    from paravane.run_loop import RunLoop
    from paravane.sched import Policy
    from paravane.toolstack import ControlDomain, Toolstack
    from paravane.variation import Variation


@dataclass(frozen=True, slots=True)
class Parts:
    """`policy` is the one that whoever made the machine chose."""

    platform: Platform
    registry: Registry[Domain, ControlDomain]
    toolstack: Toolstack
    loop: RunLoop
    lives: Lives
    inbox: Inbox
    policy: Policy
    seed: int
    slice_instructions: int
    variation: Variation
    faults: Faults | None
