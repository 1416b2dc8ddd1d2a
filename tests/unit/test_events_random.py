"""Three domains do to their ports whatever comes to mind; the connections stay consistent."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.abi.event_channel import EvtchnStat
from paravane.cpu import Ram
from paravane.events import EventChannels, EventState, Exchange, HostEvents, HostPort
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID
from tests.support.residents import Resident, Residents

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
SOME_PORTS = (*range(12), 63, 64, 1023, 1024, 0xFFFF_FFFF)
SOME_DOMAINS = (0, 1, 2, 3, 9, int(DomId.SELF), int(DomId.INVALID))


class Machine:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.memory = Ram(8)
        registry = Residents()
        self.exchange = Exchange(registry)
        self.host = HostEvents(self.exchange)
        registry.enter(Resident(CONTROL_DOMID, events=self.host.ports))
        self.heard = 0
        self.host_ports: list[HostPort] = []
        self.guests = {domid: self.guest(domid) for domid in (1, 2, 3)}
        self.residents = {domid: Resident(domid, events=guest) for domid, guest in self.guests.items()}
        for resident in self.residents.values():
            registry.enter(resident)

    def guest(self, domid: int, state: EventState | None = None) -> EventChannels:
        return EventChannels(
            domid,
            self.exchange,
            self.memory,
            domid * PAGE,
            nr_vcpus=2,
            wake=lambda vcpu_id: None,
            state=state,
        )

    def restore(self, domid: int) -> None:
        """Go on with another object that was made of what there is to be kept."""
        before = self.guests[domid]
        state = before.save_state()
        self.guests[domid] = self.residents[domid].events = self.guest(domid, state)
        assert self.guests[domid].save_state() == state

    def hear(self) -> None:
        self.heard += 1

    def step(self) -> None:
        pick = self.random.choice
        guest = self.guests[pick((1, 2, 3))]
        port, dom, vcpu_id = pick(SOME_PORTS), pick(SOME_DOMAINS), pick((0, 1, 2))
        actions: list[Callable[[], object]] = [
            lambda: guest.alloc_unbound(pick((guest.domid, DomId.SELF, dom)), dom),
            lambda: guest.bind_interdomain(dom, port),
            lambda: guest.bind_virq(pick((0, 1, 2, 7, 23, 24)), vcpu_id),
            lambda: guest.bind_ipi(vcpu_id),
            lambda: guest.bind_vcpu(port, vcpu_id),
            lambda: guest.close(port),
            lambda: guest.send(port),
            lambda: guest.unmask(port),
            lambda: guest.status(dom, port),
            lambda: guest.poll(vcpu_id % 2, [port]),
            lambda: guest.reset(dom) if self.random.random() < 0.05 else None,
            lambda: self.host_ports.append(self.host.bind(guest.domid, port, self.hear)),
            lambda: pick(self.host_ports).notify() if self.host_ports else None,
            lambda: pick(self.host_ports).close() if self.host_ports else None,
            self.scribble,
            lambda: self.restore(guest.domid),
        ]
        with suppress(Refusal):
            pick(actions)()

    def scribble(self) -> None:
        """A guest may write anything into the pages it shares."""
        self.memory.words[self.random.randrange(PAGE // 4, 4 * PAGE // 4)] = self.random.getrandbits(32)

    def check(self) -> None:
        for domid, guest in self.guests.items():
            for port in range(64):
                status = guest.status(domid, port)
                if status.status is EvtchnStat.interdomain and status.domid != 0:
                    other = self.guests[status.domid].status(status.domid, status.port)
                    assert (other.status, other.domid, other.port) == (EvtchnStat.interdomain, domid, port)
                elif status.status is EvtchnStat.interdomain:
                    assert any(held.port == status.port and held.connected for held in self.host_ports)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_sequence_of_requests_breaks_a_connection(seed: int) -> None:
    machine = Machine(seed)
    for _ in range(1500):
        machine.step()
        if machine.random.random() < 0.1:
            machine.check()
    machine.check()
    assert machine.heard, "the walk reached a backend"
    machine.guests[2].close_all()
    for held in machine.host_ports:
        held.close()
    for domid in (1, 3):
        machine.guests[domid].close_all()
        assert all(
            machine.guests[domid].status(domid, port).status is EvtchnStat.closed for port in range(64)
        )
