"""The vcpu that asks, as the hypercalls see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import trace as traces
from paravane.guest_copy import GuestCopy
from paravane.trace import Kind

if TYPE_CHECKING:
    from paravane.control_plane import ControlPlane
    from paravane.domain import Domain
    from paravane.platform import Platform
    from paravane.refusal import Refusal
    from paravane.vcpu import Hypercalls, Vcpu


class Caller(GuestCopy):
    """The owners of what a hypercall may change, and copies from and to the memory of who asks.

    `control` is what the machine does for its control domain. `in_multicall` says that the hypercall is an
    entry of a list.
    """

    def __init__(self, platform: Platform, domain: Domain, vcpu: Vcpu, control: ControlPlane) -> None:
        super().__init__(vcpu.cpu, domain.memory.space.hole)
        self.platform = platform
        self.domain = domain
        self.vcpu = vcpu
        self.control = control
        self.vcpu_id = vcpu.vcpu_id
        self.paging = vcpu.paging
        self.traps = vcpu.traps
        self.time = vcpu.time
        self.run_state = vcpu.run_state
        self.budget = vcpu.budget
        self.clock = platform.clock
        self.in_multicall = False

    @property
    def hypercall(self) -> Hypercalls:
        """Makes another hypercall in the name of the same vcpu."""
        return self.vcpu.hypercall

    def refused(self, request: str, refusal: Refusal) -> None:
        """Put a refusal where people look for it: the log and the trace."""
        self.domain.log.debug("%s refused: %s", request, refusal)
        trace = self.platform.trace
        if trace.wants(Kind.REFUSAL):
            head = (self.clock.now(), self.domain.domid, self.vcpu_id, self.vcpu.call_place())
            trace.write(traces.RefusalRecord(*head, request, refusal.errno, refusal.sentence))
