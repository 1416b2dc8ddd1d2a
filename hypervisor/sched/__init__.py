"""Who runs next: the policy interface, and the policies behind it."""

from paravane.sched.policy import Policy
from paravane.sched.round_robin import RoundRobin

__all__ = ["Policy", "RoundRobin"]
