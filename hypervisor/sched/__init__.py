"""Who runs next: the policy interface, and the policies that follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.sched.bvt import BorrowedVirtualTime
from paravane.sched.credit import Credit
from paravane.sched.entity import MAX_CAP, STANDARD_WEIGHT, Entity, Share
from paravane.sched.interleaved import Interleaved
from paravane.sched.policy import FOREVER, Policy, Turn
from paravane.sched.round_robin import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

POLICIES: Final[Mapping[str, Callable[[], Policy]]] = {
    policy.name: policy for policy in (BorrowedVirtualTime, Credit, RoundRobin)
}
"""Each policy by the name that `--sched` knows; the first one is the default."""

__all__ = [
    "FOREVER",
    "MAX_CAP",
    "POLICIES",
    "STANDARD_WEIGHT",
    "BorrowedVirtualTime",
    "Credit",
    "Entity",
    "Interleaved",
    "Policy",
    "RoundRobin",
    "Share",
    "Turn",
]
