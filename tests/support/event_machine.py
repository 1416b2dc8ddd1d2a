"""Domains that have memory and event channels and nothing else, and what their guests see of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.event_channel import (
    EVTCHN_FIFO_CONTROL_BLOCK,
    EVTCHN_FIFO_LINK_MASK,
    EVTCHN_FIFO_MAX_QUEUES,
    EvtchnFifo,
)
from paravane.abi.shared_info import SHARED_INFO, VCPU_INFO
from paravane.cpu import PAE, Ram
from paravane.events import MAX_EVENT_CHANNELS, EventChannels, EventState, Exchange, HostEvents
from paravane.registry import CONTROL_DOMID
from tests.support.residents import Resident, Residents, new_domain_memory, new_machine_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = 4096
PAGES = 40
"""Pages of each guest."""

PENDING, MASKED, LINKED, BUSY = (
    1 << bit for bit in (EvtchnFifo.PENDING, EvtchnFifo.MASKED, EvtchnFifo.LINKED, EvtchnFifo.BUSY)
)
_HEAD = EVTCHN_FIFO_CONTROL_BLOCK.offsets["head"]


class EventGuest:
    """One guest: its frames by pfn, and its side of the pages that it shares with the hypervisor."""

    def __init__(self, machine: EventMachine, domid: int, nr_vcpus: int, max_port: int) -> None:
        self.domid = domid
        self.nr_vcpus = nr_vcpus
        self.woken: list[int] = []
        self.words = machine.ram.words
        self._machine, self._max_port = machine, max_port
        self._memory = new_domain_memory(machine.memory, domid, PAE, max_pages=PAGES, max_vcpus=nr_vcpus)
        self.mfns = list(self._memory.populate(PAGES))
        self.shared_info = self._memory.share_xen_frame() << 12
        self.events = self._channels(None)

    def restore(self) -> None:
        """Go on with another object, made of what there is to be kept."""
        state = self.events.save_state()
        self.events = self._channels(state)
        assert self.events.save_state() == state

    def _channels(self, state: EventState | None) -> EventChannels:
        machine = self._machine
        events = EventChannels(
            self.domid,
            machine.exchange,
            machine.ram,
            machine.memory,
            self.shared_info,
            nr_vcpus=self.nr_vcpus,
            wake=self.woken.append,
            max_port=self._max_port,
            state=state,
        )
        machine.registry.at(self.domid).events = events
        return events

    # What every guest has.

    def upcall(self, vcpu_id: int) -> bool:
        """Whether the vcpu's upcall is pending; it is not afterwards."""
        at = self.shared_info + vcpu_id * VCPU_INFO.size
        was, self._machine.ram.bytes[at] = self._machine.ram.bytes[at], 0
        return bool(was)

    # Two levels.

    def word(self, array: str, index: int) -> int:
        """Word `index` of `evtchn_pending` or `evtchn_mask`."""
        return self.words[(self.shared_info + SHARED_INFO.offsets[array] >> 2) + index]

    def set_word(self, array: str, index: int, value: int) -> None:
        self.words[(self.shared_info + SHARED_INFO.offsets[array] >> 2) + index] = value

    @property
    def pending_word(self) -> int:
        """Where in `words` the first word of `evtchn_pending` is."""
        return int(self.shared_info + SHARED_INFO.offsets["evtchn_pending"]) >> 2

    def pending(self) -> set[int]:
        """The ports that are pending in shared_info."""
        words = [self.word("evtchn_pending", index) for index in range(32)]
        return {port for port in range(1024) if words[port // 32] >> port % 32 & 1}

    def take_2l(self, vcpu_id: int) -> set[int]:
        """Handle an upcall: every port of the selected words that is pending and not masked."""
        self.upcall(vcpu_id)
        at = self.shared_info + vcpu_id * VCPU_INFO.size + VCPU_INFO.offsets["evtchn_pending_sel"] >> 2
        selected, self.words[at] = self.words[at], 0
        taken = set()
        for index in range(32):
            if selected >> index & 1:
                bits = self.word("evtchn_pending", index) & ~self.word("evtchn_mask", index)
                self.set_word("evtchn_pending", index, self.word("evtchn_pending", index) & ~bits)
                taken |= {index * 32 + bit for bit in range(32) if bits >> bit & 1}
        return taken

    # FIFO. Pages 0 and 1 are for control blocks, those from 2 on for the event array.

    def use_fifo(self, pages: int = 1) -> None:
        """Give a control block for each vcpu, and pages of the event array."""
        for vcpu_id in range(self.nr_vcpus):
            self.events.init_control(vcpu_id, self.mfns[vcpu_id // 32], vcpu_id % 32 * 72)
        for page in range(pages):
            self.events.expand_array(self.mfns[2 + page])

    def clear_fifo_pages(self) -> None:
        """Forget what an earlier use of the FIFO ABI has left in its pages."""
        for mfn in self.mfns[:4]:
            self._machine.ram.clear_frame(mfn)

    def at(self, port: int) -> int:
        """Where in `words` the event word of a port is."""
        return self.mfns[2 + port // 1024] << 10 | port % 1024

    def event_word(self, port: int) -> int:
        return self.words[self.at(port)]

    def control(self, vcpu_id: int) -> int:
        """Where in `words` the control block of a vcpu is."""
        return self.mfns[vcpu_id // 32] << 10 | vcpu_id % 32 * 18

    def ready(self, vcpu_id: int) -> int:
        return self.words[self.control(vcpu_id)]

    def head(self, vcpu_id: int, priority: int) -> int:
        return self.words[self.control(vcpu_id) + (_HEAD >> 2) + priority]

    def take_fifo(self, vcpu_id: int) -> list[int]:
        """Handle an upcall as guests do: empty the queues that are ready, the most urgent first. Gives the
        ports that were pending and not masked, in order."""
        self.upcall(vcpu_id)
        at = self.control(vcpu_id)
        ready, self.words[at] = self.words[at], 0
        taken = []
        for priority in range(EVTCHN_FIFO_MAX_QUEUES):
            port = self.head(vcpu_id, priority) if ready >> priority & 1 else 0
            while port:
                word = self.event_word(port)
                self.words[self.at(port)] = word & ~(LINKED | EVTCHN_FIFO_LINK_MASK)
                if word & (PENDING | MASKED) == PENDING:
                    self.words[self.at(port)] &= ~PENDING
                    taken.append(port)
                port = word & EVTCHN_FIFO_LINK_MASK
        return taken


class EventMachine:
    """A machine of such guests, by number, and the host. `vcpus`: how many each guest has."""

    def __init__(self, vcpus: Mapping[int, int], max_port: int = MAX_EVENT_CHANNELS) -> None:
        self.ram = Ram(512)
        self.registry = Residents()
        self.exchange = Exchange(self.registry)
        self.host = HostEvents(self.exchange)
        self.registry.enter(Resident(CONTROL_DOMID, events=self.host.ports))
        self.memory = new_machine_memory(self.ram, self.registry)
        self.guests = {domid: EventGuest(self, domid, count, max_port) for domid, count in vcpus.items()}

    @property
    def held(self) -> int:
        """How often frames are held for the hypervisor."""
        return self.memory.held.total()
