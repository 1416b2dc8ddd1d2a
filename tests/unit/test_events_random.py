"""Three domains do to their ports whatever comes to mind; the connections stay consistent."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.abi.event_channel import EvtchnStat
from paravane.refusal import Refusal
from tests.support.event_machine import EventMachine

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.events import EventChannels, HostPort

SOME_PORTS = (*range(12), 63, 64, 1023, 1024, 0xFFFF_FFFF)
SOME_DOMAINS = (0, 1, 2, 3, 9, int(DomId.SELF), int(DomId.INVALID))


class Machine:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = EventMachine(dict.fromkeys((1, 2, 3), 2))
        self.host = self.machine.host
        self.heard = 0
        self.host_ports: list[HostPort] = []

    @property
    def guests(self) -> dict[int, EventChannels]:
        return {domid: guest.events for domid, guest in self.machine.guests.items()}

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
            lambda: (
                guest.reset(dom, lambda: pick((False, True)), resuming=pick((False, True)))
                if self.random.random() < 0.05
                else None
            ),
            lambda: self.host_ports.append(self.host.bind(guest.domid, port, self.hear)),
            lambda: pick(self.host_ports).notify() if self.host_ports else None,
            lambda: pick(self.host_ports).close() if self.host_ports else None,
            self.scribble,
            self.machine.guests[guest.domid].restore,
            lambda: guest.init_control(vcpu_id, pick(self.frames(guest.domid)), pick((0, 72, 4096 - 72, 4))),
            lambda: guest.expand_array(pick(self.frames(guest.domid))),
            lambda: guest.set_priority(port, pick((0, 7, 15, 16))),
        ]
        with suppress(Refusal):
            pick(actions)()

    def reset(self, guest: EventChannels, dom: int) -> None:
        """Now and then: in one go, in portions, or from the middle of one."""
        if self.random.random() < 0.05:
            resuming = self.random.random() < 0.3
            while not guest.reset(dom, lambda: self.random.random() < 0.5, resuming=resuming):
                resuming = True

    def frames(self, domid: int) -> list[int]:
        """Frames that a guest may have taken for its own; only a few, so that they are used twice."""
        own, other = self.machine.guests[domid], self.machine.guests[domid % 3 + 1]
        return [*own.mfns[:4], own.shared_info >> 12, other.mfns[0], 0, 1 << 40]

    def scribble(self) -> None:
        """A guest may write anything into the pages it shares."""
        guest = self.machine.guests[self.random.choice((1, 2, 3))]
        mfn = self.random.choice([*guest.mfns[:4], guest.shared_info >> 12])
        self.machine.ram.words[mfn << 10 | self.random.randrange(1024)] = self.random.getrandbits(32)

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
    machine.guests[2].destroy()
    for held in machine.host_ports:
        held.close()
    for domid in (1, 3):
        machine.guests[domid].destroy()
        assert all(
            machine.guests[domid].status(domid, port).status is EvtchnStat.closed for port in range(64)
        )
    assert machine.machine.held == 0
