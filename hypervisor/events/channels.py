"""The event channels of a guest: its ports, and their delivery by the ABI of its choice."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.event_channel import (
    EVTCHN_2L_NR_CHANNELS,
    EVTCHN_FIFO_CONTROL_BLOCK,
    EvtchnFifo,
)
from paravane.classes import dataclass
from paravane.events.fifo import Fifo
from paravane.events.port import usable
from paravane.events.port_table import PortTable
from paravane.events.ports import never_paused
from paravane.events.two_level import TwoLevel
from paravane.events.upcalls import Upcalls
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from paravane.events.fifo import FifoState, Frames
    from paravane.events.port import Port
    from paravane.events.ports import Exchange
    from paravane.events.upcalls import Memory
    from paravane.vcpu_info import VcpuInfo

MAX_EVENT_CHANNELS: Final = 1023
"""The highest port of a domain whose configuration does not say: xl's default of `max_event_channels`."""

_LAST_OFFSET: Final = PAGE_SIZE - EVTCHN_FIFO_CONTROL_BLOCK.size


@dataclass(frozen=True, slots=True)
class EventState:
    """All that has to be kept of a domain's event channels besides its memory, which holds what is pending
    and masked: its ports, the machine addresses of its vcpu_infos, the port each poller waits for, the ports
    that fire with the page of their event word, the FIFO ABI if that is in use, and the port that a
    reset under way goes on with."""

    ports: tuple[Port | None, ...]
    vcpu_infos: tuple[int | None, ...]
    pollers: dict[int, int | None]
    late: frozenset[int] = frozenset()
    fifo: FifoState | None = None
    next_reset: int = 0


class EventChannels(PortTable):
    """What a domain owns. `shared_info` is the machine address of its shared_info page (zeroed before).

    `wake(vcpu_id)` is called when a vcpu gets an upcall that was not pending yet, or a port it polls fires.
    Delivery is by two levels until the guest asks for the FIFO ABI.
    """

    def __init__(
        self,
        domid: int,
        exchange: Exchange,
        memory: Memory,
        frames: Frames,
        shared_info: int,
        *,
        nr_vcpus: int,
        wake: Callable[[int], None],
        max_port: int = MAX_EVENT_CHANNELS,
        privileged: bool = False,
        paused: Callable[[], bool] = never_paused,
        state: EventState | None = None,
    ) -> None:
        """`state`: go on from what `save_state` gave."""
        self._memory = memory
        self._frames = frames
        self._shared_info = shared_info
        self._upcalls = Upcalls(memory, shared_info, nr_vcpus, wake)
        self._two_level = TwoLevel(memory, shared_info, self._upcalls)
        self._fifo: Fifo | None = None
        self._late: set[int] = set()
        self.two_level_at = array("q", (shared_info,))
        """For native code: `shared_info`, or 0 where the FIFO ABI is in use."""
        self.polling = self._upcalls.polling
        ports = None if state is None else state.ports
        super().__init__(
            domid,
            exchange,
            self._two_level,
            nr_vcpus,
            ports,
            max_port=max_port,
            privileged=privileged,
            paused=paused,
        )
        if state is not None:
            self._upcalls.restore(state.vcpu_infos, state.pollers)
            self._late.update(state.late)
            self._next_reset = state.next_reset
            if state.fifo is not None:
                self._use_fifo(self._new_fifo(state.fifo.copy()))
        # The fast path of every return to the guest: no layer in between.
        self.upcall_due = self._upcalls.due

    def save_state(self) -> EventState:
        """What a later `EventChannels` over the same memory goes on from."""
        fifo = None if self._fifo is None else self._fifo.state.copy()
        return EventState(self.save(), *self._upcalls.save(), frozenset(self._late), fifo, self._next_reset)

    def destroy(self) -> None:
        """The domain goes: close every port for good, and give the pages of the FIFO ABI back."""
        super().destroy()
        self._leave_fifo()

    def reset_own(self, go_on: Callable[[], bool], *, resuming: bool) -> bool:
        """As `PortTable.reset_own`; in the end delivery is by two levels again."""
        done = super().reset_own(go_on, resuming=resuming)
        if done:
            self._leave_fifo()
        return done

    # Vcpus.

    def vcpu_info(self, vcpu_id: int) -> VcpuInfo:
        """Where a vcpu's vcpu_info is, now and later: a vcpu above 31 has none before it registers one."""
        return self._upcalls.infos[vcpu_id]

    def move_vcpu_info(self, vcpu_id: int, maddr: int) -> None:
        """VCPUOP_register_vcpu_info on a frame the caller has typed: see `Upcalls.move`."""
        self._upcalls.move(vcpu_id, maddr)

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
            if self._delivery.is_pending(port):
                return False
            polled.append(port)
        self._upcalls.poll(vcpu_id, polled[0] if len(polled) == 1 else None)
        return True

    def stop_poll(self, vcpu_id: int) -> None:
        self._upcalls.stop_poll(vcpu_id)

    # The FIFO ABI.

    def init_control(self, vcpu_id: int, gfn: int, offset: int) -> int:
        """EVTCHNOP_init_control: deliver to a vcpu through the control block at byte `offset` of a frame.
        The first one switches the domain to the FIFO ABI, with every port at the default priority; what is
        pending by the 2-level ABI fires with the page of its event word. Returns the bits of a link.

        Raises Refusal: -ENOENT without such a vcpu, -EINVAL for a place where no control block can be.
        """
        self._check_vcpu(vcpu_id)
        if offset > _LAST_OFFSET or offset & 7:
            raise Refusal(Errno.EINVAL, f"a FIFO control block cannot be at offset {offset:#x} of a page")
        fifo = self._fifo or self._new_fifo()
        fifo.add_control_block(vcpu_id, gfn, offset)
        if self._fifo is None:
            created = range(1, min(len(self._ports), EVTCHN_2L_NR_CHANNELS))
            self._late.update(port for port in created if self._two_level.is_pending(port))
            self._use_fifo(fifo)
        return EvtchnFifo.LINK_BITS

    def expand_array(self, gfn: int) -> None:
        """EVTCHNOP_expand_array: the frame has the event words of the next 1024 ports, and those of them that
        fired too early fire now. Raises Refusal: -EOPNOTSUPP before the first control block, -EINVAL,
        -ENOSPC."""
        if self._fifo is None:
            raise Refusal(Errno.EOPNOTSUPP, "no FIFO control block was set up")
        added = self._fifo.add_page(gfn)
        for port in sorted(self._late.intersection(range(added.start, min(added.stop, len(self._ports))))):
            entry = self._ports[port]
            self._fifo.set_pending(port, entry.vcpu_id if entry is not None else 0)

    def set_priority(self, port: int, priority: int) -> None:
        """EVTCHNOP_set_priority. Raises Refusal: -EINVAL, -ENOSYS by the 2-level ABI, -EACCES for a port that
        is not in use."""
        entry = self._existing(port)
        if self._fifo is None:
            raise Refusal(Errno.ENOSYS, "the 2-level event ABI knows no priorities")
        if not usable(entry):
            raise Refusal(Errno.EACCES, f"port {port} of domain {self.domid} is not in use: no priority")
        self._fifo.set_priority(port, priority)

    # What reports and the trace ask.

    @property
    def uses_fifo(self) -> bool:
        """Whether the guest has chosen the FIFO ABI."""
        return self._fifo is not None

    def is_pending(self, port: int) -> bool:
        return self._delivery.is_pending(port)

    def is_masked(self, port: int) -> bool:
        return self._delivery.is_masked(port)

    def priority(self, port: int) -> int | None:
        """The priority of a port, 0 the most urgent; None by the 2-level ABI."""
        return None if self._fifo is None else self._fifo.priority(port)

    def unmasked(self) -> tuple[int, ...]:
        """The ports that are pending and not masked."""
        return self._two_level.unmasked() if self._fifo is None else self._fifo.unmasked(len(self._ports))

    def polled(self, vcpu_id: int) -> int | None:
        """The one port that a vcpu polls; None: it polls several, any of which will do, or does not poll."""
        return self._upcalls.pollers.get(vcpu_id)

    def upcall_state(self, vcpu_id: int) -> tuple[bool, bool] | None:
        """Whether a vcpu has an upcall pending, and whether it masks upcalls; None without a vcpu_info."""
        return self._upcalls.state(vcpu_id)

    def _new_fifo(self, state: FifoState | None = None) -> Fifo:
        return Fifo(self.domid, self._memory, self._frames, self._upcalls, self._late, state)

    def _use_fifo(self, fifo: Fifo) -> None:
        self._delivery = self._fifo = fifo
        self.two_level_at[0] = 0

    def _leave_fifo(self) -> None:
        """Go back to the 2-level ABI, with the guest's pages its own again."""
        if self._fifo is not None:
            self._delivery = self._two_level
            self.two_level_at[0] = self._shared_info
            self._fifo.close()
            self._fifo = None
