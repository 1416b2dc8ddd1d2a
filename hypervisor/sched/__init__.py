"""Who runs next: the policy interface, and the policies behind it."""

from hypervisor.sched.policy import Policy
from hypervisor.sched.round_robin import RoundRobin

__all__ = ["Policy", "RoundRobin"]
