"""Who runs next: the policy interface, and the policies that follow it."""

from paravane.sched.policy import Entity, Policy
from paravane.sched.round_robin import RoundRobin

__all__ = ["Entity", "Policy", "RoundRobin"]
