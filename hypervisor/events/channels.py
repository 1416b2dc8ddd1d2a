"""The event channels of a guest: its ports, and their delivery through its shared pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.events.ports import PortTable
from paravane.events.two_level import TwoLevel
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from paravane.events.port import Port
    from paravane.events.ports import Exchange
    from paravane.events.two_level import Memory
    from paravane.vcpu_info import VcpuInfo

_CONTROL_BLOCK_SIZE = 72


@dataclass(frozen=True, slots=True)
class EventState:
    """All that has to be kept of a domain's event channels besides its memory, which holds what is pending
    and masked: its ports, the machine addresses of its vcpu_infos, and the port each poller waits for."""

    ports: tuple[Port | None, ...]
    vcpu_infos: tuple[int | None, ...]
    pollers: dict[int, int | None]


class EventChannels(PortTable):
    """What a domain owns. `shared_info` is the machine address of its shared_info page (zeroed before).

    `wake(vcpu_id)` is called when a vcpu gets an upcall that was not pending yet, or a port it polls fires.
    """

    def __init__(
        self,
        domid: int,
        exchange: Exchange,
        memory: Memory,
        shared_info: int,
        *,
        nr_vcpus: int,
        wake: Callable[[int], None],
        state: EventState | None = None,
    ) -> None:
        self.two_level = TwoLevel(memory, shared_info, nr_vcpus, wake)
        super().__init__(domid, exchange, self.two_level, nr_vcpus, None if state is None else state.ports)
        if state is not None:
            self.two_level.restore(state.vcpu_infos, state.pollers)
        # The fast path of every return to the guest: no layer in between.
        self.upcall_due = self.two_level.upcall_due

    def save_state(self) -> EventState:
        """What a later `EventChannels` over the same memory goes on from."""
        return EventState(self.save(), *self.two_level.save())

    def vcpu_info(self, vcpu_id: int) -> VcpuInfo:
        """Where a vcpu's vcpu_info is, now and later: a vcpu above 31 has none before it registers one."""
        return self.two_level.vcpu_info(vcpu_id)

    def move_vcpu_info(self, vcpu_id: int, maddr: int) -> None:
        """VCPUOP_register_vcpu_info on a frame the caller has typed: see `TwoLevel.move_vcpu_info`."""
        self.two_level.move_vcpu_info(vcpu_id, maddr)

    def poll(self, vcpu_id: int, ports: Iterable[int]) -> bool:
        """SCHEDOP_poll: True when the vcpu is to sleep until `wake`, False when there is something already.

        Ports are taken one by one, until one is pending, masked or not; what follows is not even read, nor is
        anything when an upcall is due. Raises Refusal(EINVAL) for a port that is not in use, and whatever
        reading the next one raises; nobody polls then. Call `stop_poll` when the vcpu wakes for any other
        reason, such as its timeout.
        """
        if self.upcall_due(vcpu_id):
            return False
        polled = []
        for port in ports:
            if not self.usable(port):
                raise Refusal(Errno.EINVAL, f"port {port} of domain {self.domid} is not in use: no poll")
            if self.two_level.is_pending(port):
                return False
            polled.append(port)
        self.two_level.start_poll(vcpu_id, polled[0] if len(polled) == 1 else None)
        return True

    def stop_poll(self, vcpu_id: int) -> None:
        self.two_level.stop_poll(vcpu_id)

    def init_control(self, vcpu_id: int, offset: int) -> None:
        """EVTCHNOP_init_control: no FIFO ABI here, as in Xen before 4.4. Guests stay with two levels."""
        self._check_vcpu(vcpu_id)
        if offset > PAGE_SIZE - _CONTROL_BLOCK_SIZE or offset & 7:
            raise Refusal(Errno.EINVAL, f"a FIFO control block cannot be at offset {offset:#x} of a page")
        raise Refusal(Errno.ENOSYS, "this hypervisor has the 2-level event ABI only")

    def expand_array(self) -> None:
        """EVTCHNOP_expand_array: there is no FIFO event array to expand."""
        raise Refusal(Errno.EOPNOTSUPP, "no FIFO event array was set up")

    def set_priority(self, port: int) -> None:
        """EVTCHNOP_set_priority: the 2-level ABI knows no priorities."""
        self._existing(port)
        raise Refusal(Errno.ENOSYS, "the 2-level event ABI knows no priorities")
