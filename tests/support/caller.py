"""The vcpu that asks, without a processor: what the hypercalls are tried on one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from paravane.cpu import PageFault
from paravane.hypercalls import call
from paravane.preemption import PreemptionBudget
from paravane.x86 import PageFaultCode

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller
    from paravane.refusal import Refusal


class FakeCaller:
    """Its memory is `size` bytes from address 0 on; nothing is written that starts at a `read_only` address.

    `domain` and `platform` have what the hypercall under test asks of them, and nothing else: a subclass puts
    the owners there. `refusals` are "request: sentence", in order.
    """

    def __init__(self, size: int = 4096) -> None:
        self.memory = bytearray(size)
        self.read_only = range(0)
        self.domain = SimpleNamespace(domid=1)
        self.platform = SimpleNamespace()
        self.in_multicall = False
        self.entry = 0
        self.budget = PreemptionBudget(lambda: self.entry, lambda: False)
        self.refusals: list[str] = []

    def copy_from_guest(self, va: int, size: int) -> bytes:
        """Raises PageFault."""
        if va + size > len(self.memory):
            raise PageFault(va, PageFaultCode.user_mode)
        return bytes(self.memory[va : va + size])

    def copy_to_guest(self, va: int, data: bytes) -> None:
        """Raises PageFault."""
        if va + len(data) > len(self.memory) or va in self.read_only:
            raise PageFault(va, PageFaultCode.user_mode | PageFaultCode.write_access)
        self.memory[va : va + len(data)] = data

    def refused(self, request: str, refusal: Refusal) -> None:
        self.refusals.append(f"{request}: {refusal.sentence}")

    def hypercall(self, number: int, arguments: tuple[int, ...]) -> int | None:
        """Another hypercall of the same entry. Raises Preempted."""
        # The one place where the stand-in passes for the real one.
        return call(cast("Caller", self), number, arguments)

    def call(self, number: int, *arguments: int) -> int:
        """One entry into the hypervisor: what goes into EAX. Raises Preempted."""
        self.entry += 1
        result = self.hypercall(number, (*arguments, *[0] * (6 - len(arguments))))
        assert result is not None
        return result
