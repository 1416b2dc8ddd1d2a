"""Ports: who may bind what to what, with Xen's errnos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.event_channel import EvtchnStat, Virq
from paravane.events import HostPort, Status
from paravane.refusal import Refusal
from tests.support.event_machine import EventMachine

if TYPE_CHECKING:
    from collections.abc import Callable


class Machine(EventMachine):
    """Two guests, 1 (two vcpus) and 2, and the host."""

    def __init__(self) -> None:
        super().__init__({1: 2, 2: 1})
        self.one, self.two = self.guests[1].events, self.guests[2].events

    @property
    def woken(self) -> list[int]:
        """The vcpus of guest 1 that were woken."""
        return self.guests[1].woken

    def pending(self, domid: int) -> set[int]:
        return self.guests[domid].pending()

    def mask_all(self) -> None:
        """Mask the first 32 ports of guest 1."""
        self.guests[1].set_word("evtchn_mask", 0, 0xFFFF_FFFF)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def refused(errno: Errno, call: Callable[..., object], *args: object) -> None:
    with pytest.raises(Refusal) as caught:
        call(*args)
    assert caught.value.errno is errno


def test_ports_are_given_lowest_first_from_one(machine: Machine) -> None:
    assert [machine.one.alloc_unbound(DomId.SELF, 0) for _ in range(3)] == [1, 2, 3]
    machine.one.close(2)
    machine.one.close(1)
    assert [machine.one.bind_ipi(0) for _ in range(3)] == [1, 2, 4]


def test_all_1023_ports_can_be_used_and_no_more(machine: Machine) -> None:
    assert [machine.one.bind_ipi(0) for _ in range(1023)] == list(range(1, 1024))
    refused(Errno.ENOSPC, machine.one.bind_ipi, 0)
    refused(Errno.ENOSPC, machine.one.alloc_unbound, DomId.SELF, 0)
    machine.one.close(512)
    assert machine.one.bind_ipi(0) == 512


def test_a_domain_has_as_many_ports_as_its_configuration_says() -> None:
    few = EventMachine({1: 1, 2: 1}, max_port=70).guests[1].events
    assert [few.bind_ipi(0) for _ in range(70)] == list(range(1, 71))
    refused(Errno.ENOSPC, few.bind_ipi, 0)
    assert few.status(1, 127) == Status(EvtchnStat.closed), "ports come into being by the bucket all the same"
    refused(Errno.ENOSPC, few.bind_interdomain, 2, 1)
    few.close(70)
    assert few.alloc_unbound(1, 2) == 70


def test_of_two_mistakes_the_one_that_xen_finds_first_is_told(machine: Machine) -> None:
    for _ in range(1023):
        machine.two.bind_ipi(0)
    refused(Errno.ENOSPC, machine.one.alloc_unbound, 2, 1)
    refused(Errno.ENOSPC, machine.two.bind_interdomain, 1, 60)
    refused(Errno.EEXIST, *_bound_twice(machine))


def _bound_twice(machine: Machine) -> tuple[Callable[..., object], int, int]:
    machine.two.close(1)
    machine.two.bind_virq(Virq.TIMER, 0)
    return machine.two.bind_virq, Virq.TIMER, 0


def test_the_control_domain_may_ask_for_ports_of_others(machine: Machine) -> None:
    control = machine.host.ports
    assert control.alloc_unbound(1, 2) == 1
    assert control.alloc_unbound(1, DomId.SELF) == 2
    assert machine.one.status(1, 1) == Status(EvtchnStat.unbound, domid=2)
    assert control.status(1, 2) == Status(EvtchnStat.unbound, domid=0)
    refused(Errno.ESRCH, control.alloc_unbound, 9, 0)
    refused(Errno.EINVAL, control.reset, 1, bool)
    assert control.status(1, 1).status is EvtchnStat.unbound, "a domain that is not paused keeps its ports"


def test_unbound_ports_can_be_made_in_own_domain_only(machine: Machine) -> None:
    assert machine.one.alloc_unbound(1, 77) == 1
    refused(Errno.EPERM, machine.one.alloc_unbound, 2, 1)
    refused(Errno.EPERM, machine.one.alloc_unbound, 0, 1)
    refused(Errno.ESRCH, machine.one.alloc_unbound, 9, 1)
    assert machine.one.status(DomId.SELF, 1) == Status(EvtchnStat.unbound, domid=77)


def test_two_domains_talk_over_a_channel(machine: Machine) -> None:
    offered = machine.two.alloc_unbound(DomId.SELF, 1)
    machine.one.send(machine.one.bind_interdomain(2, offered))
    assert machine.pending(2) == {offered}
    assert machine.guests[2].woken == [0]
    machine.two.send(offered)
    assert machine.one.status(1, 1) == Status(EvtchnStat.interdomain, domid=2, port=offered)
    assert machine.two.status(2, offered) == Status(EvtchnStat.interdomain, domid=1, port=1)


def test_binding_fires_the_new_end_at_once(machine: Machine) -> None:
    machine.two.alloc_unbound(DomId.SELF, 1)
    local = machine.one.bind_interdomain(2, 1)
    assert machine.pending(1) == {local}
    assert machine.pending(2) == set()


def test_only_a_port_that_waits_for_the_caller_can_be_bound(machine: Machine) -> None:
    offered = machine.two.alloc_unbound(DomId.SELF, 0)
    ipi = machine.two.bind_ipi(0)
    for port in (offered, ipi, 0, 60, 64, 0xFFFF_FFFF):
        refused(Errno.EINVAL, machine.one.bind_interdomain, 2, port)
    refused(Errno.ESRCH, machine.one.bind_interdomain, 3, 1)
    assert machine.one.bind_ipi(0) == 1, "a refused binding leaves no port behind"


def test_a_bound_port_cannot_be_bound_again(machine: Machine) -> None:
    offered = machine.two.alloc_unbound(DomId.SELF, 1)
    machine.one.bind_interdomain(2, offered)
    refused(Errno.EINVAL, machine.one.bind_interdomain, 2, offered)


def test_a_channel_within_one_domain_works_and_closes(machine: Machine) -> None:
    first = machine.one.alloc_unbound(DomId.SELF, DomId.SELF)
    second = machine.one.bind_interdomain(DomId.SELF, first)
    machine.one.send(second)
    assert machine.pending(1) == {first, second}
    machine.one.close(second)
    assert machine.one.status(1, first) == Status(EvtchnStat.unbound, domid=1)
    assert machine.one.status(1, second) == Status(EvtchnStat.closed)


def test_closing_one_end_leaves_the_other_waiting(machine: Machine) -> None:
    offered = machine.two.alloc_unbound(DomId.SELF, 1)
    local = machine.one.bind_interdomain(2, offered)
    machine.one.close(local)
    assert machine.pending(1) == set(), "a freed port is no longer pending"
    assert machine.two.status(2, offered) == Status(EvtchnStat.unbound, domid=1)
    machine.two.send(offered)
    assert machine.pending(1) == set()
    assert machine.one.bind_interdomain(2, offered) == local


def test_close_needs_a_port_in_use(machine: Machine) -> None:
    for port in (0, 1, 63, 64, 0xFFFF_FFFF):
        refused(Errno.EINVAL, machine.one.close, port)


def test_send_reaches_ipis_and_refuses_what_nobody_can_fire(machine: Machine) -> None:
    ipi = machine.one.bind_ipi(1)
    timer = machine.one.bind_virq(Virq.TIMER, 0)
    machine.one.send(ipi)
    assert machine.pending(1) == {ipi}
    assert machine.woken == [1]
    for port in (0, timer, 50, 64, 0xFFFF_FFFF):
        refused(Errno.EINVAL, machine.one.send, port)


def test_virqs_are_per_vcpu_or_global(machine: Machine) -> None:
    timers = [machine.one.bind_virq(Virq.TIMER, vcpu_id) for vcpu_id in (0, 1)]
    console = machine.one.bind_virq(Virq.CONSOLE, 0)
    refused(Errno.EEXIST, machine.one.bind_virq, Virq.TIMER, 1)
    refused(Errno.EEXIST, machine.one.bind_virq, Virq.CONSOLE, 0)
    refused(Errno.EINVAL, machine.one.bind_virq, Virq.CON_RING, 1)
    refused(Errno.EINVAL, machine.one.bind_virq, 24, 0)
    refused(Errno.ENOENT, machine.one.bind_virq, Virq.DEBUG, 2)
    machine.one.raise_virq(Virq.TIMER, 1)
    assert machine.pending(1) == {timers[1]}
    machine.one.bind_vcpu(console, 1)
    machine.woken.clear()
    machine.guests[1].take_2l(1)
    machine.one.raise_virq(Virq.CONSOLE)
    assert machine.woken == [1]
    assert machine.one.status(1, console) == Status(EvtchnStat.virq, 1, virq=Virq.CONSOLE)


def test_a_closed_virq_can_be_bound_again_and_fires_nothing_meanwhile(machine: Machine) -> None:
    port = machine.one.bind_virq(Virq.CONSOLE, 0)
    machine.one.bind_vcpu(port, 1)
    machine.one.close(port)
    machine.one.raise_virq(Virq.CONSOLE)
    assert machine.pending(1) == set()
    assert machine.one.bind_virq(Virq.CONSOLE, 0) == port


def test_what_belongs_to_a_vcpu_stays_there(machine: Machine) -> None:
    timer, ipi = machine.one.bind_virq(Virq.TIMER, 0), machine.one.bind_ipi(0)
    for port in (timer, ipi, 0, 50, 64):
        refused(Errno.EINVAL, machine.one.bind_vcpu, port, 1)
    refused(Errno.ENOENT, machine.one.bind_vcpu, 64, 2)
    unbound = machine.one.alloc_unbound(1, 2)
    machine.one.bind_vcpu(unbound, 1)
    assert machine.one.status(1, unbound).vcpu_id == 1


def test_a_freed_port_notifies_vcpu_0_again(machine: Machine) -> None:
    port = machine.one.bind_ipi(1)
    machine.one.close(port)
    assert machine.one.alloc_unbound(1, 2) == port
    assert machine.one.status(1, port).vcpu_id == 0


def test_physical_interrupts_are_nobodys(machine: Machine) -> None:
    refused(Errno.EPERM, machine.one.bind_pirq, 1)
    refused(Errno.EINVAL, machine.one.bind_pirq, 4096)


def test_status_is_for_own_ports(machine: Machine) -> None:
    assert machine.one.status(DomId.SELF, 0).status == EvtchnStat.closed
    refused(Errno.EINVAL, machine.one.status, DomId.SELF, 64)
    refused(Errno.EPERM, machine.one.status, 2, 1)
    refused(Errno.EINVAL, machine.one.status, 2, 64)
    refused(Errno.ESRCH, machine.one.status, 7, 1)


def test_ports_come_into_being_by_the_bucket(machine: Machine) -> None:
    for _ in range(64):
        machine.one.bind_ipi(0)
    assert machine.one.status(DomId.SELF, 127) == Status(EvtchnStat.closed)
    refused(Errno.EINVAL, machine.one.status, DomId.SELF, 128)


def test_reset_closes_everything_of_the_caller(machine: Machine) -> None:
    offered = machine.two.alloc_unbound(2, 1)
    machine.one.bind_interdomain(2, offered)
    machine.one.bind_virq(Virq.TIMER, 0)
    refused(Errno.EPERM, machine.one.reset, 2, bool)
    refused(Errno.ESRCH, machine.one.reset, 5, bool)
    assert machine.one.reset(DomId.SELF, bool)
    assert machine.one.bind_virq(Virq.TIMER, 0) == 1
    assert machine.two.status(2, offered).status == EvtchnStat.unbound


def test_a_reset_goes_on_where_it_was_preempted(machine: Machine) -> None:
    one, go_on = machine.one, lambda: False
    for _ in range(150):
        one.bind_ipi(0)
    with pytest.raises(Refusal, match="no reset of domain 1 is under way"):
        one.reset(1, go_on, resuming=True)
    assert not one.reset(1, go_on)
    assert [port for port, _ in one.in_use()] == list(range(65, 151))
    refused(Errno.EBUSY, one.reset, 1, go_on)
    machine.guests[1].restore()
    one = machine.guests[1].events
    assert not one.reset(1, go_on, resuming=True)
    assert [port for port, _ in one.in_use()] == list(range(129, 151))
    assert one.reset(1, go_on, resuming=True)
    assert not list(one.in_use())
    assert one.reset(1, go_on)


def test_ports_that_are_opened_during_a_reset_stay(machine: Machine) -> None:
    for _ in range(70):
        machine.one.bind_ipi(0)
    assert not machine.one.reset(1, lambda: False)
    port = machine.one.bind_ipi(0)
    with pytest.raises(Refusal) as caught:
        machine.one.reset(1, lambda: False, resuming=True)
    assert caught.value.errno is Errno.EAGAIN
    assert [number for number, _ in machine.one.in_use()] == [port]
    assert machine.one.reset(1, lambda: False), "the next one is a new one"


def test_the_machines_own_interrupts_are_the_control_domains(machine: Machine) -> None:
    port = machine.host.ports.bind_virq(Virq.DOM_EXC, 0)
    heard: list[int] = []
    machine.host.listen(port, lambda: heard.append(port))
    own = machine.one.bind_virq(Virq.DOM_EXC, 0)
    machine.exchange.raise_global(Virq.DOM_EXC)
    assert heard == [port]
    assert own not in machine.pending(1), "any guest may bind it, and waits in vain"


def test_unmask_touches_only_a_port_that_is_in_use(machine: Machine) -> None:
    machine.mask_all()
    for port in (0, 9):
        machine.one.unmask(port)
    assert machine.guests[1].word("evtchn_mask", 0) == 0xFFFF_FFFF
    machine.one.unmask(machine.one.bind_ipi(0))
    assert machine.guests[1].word("evtchn_mask", 0) == 0xFFFF_FFFF ^ 1 << 1
    refused(Errno.EINVAL, machine.one.unmask, 64)


def test_poll_sleeps_only_when_nothing_is_there(machine: Machine) -> None:
    first, second = machine.one.bind_ipi(0), machine.one.bind_ipi(0)
    machine.mask_all()
    assert machine.one.poll(1, [first])
    machine.one.send(second)
    assert machine.woken == []
    machine.one.send(first)
    assert machine.woken == [1]
    assert not machine.one.poll(1, [first, 9999]), "ports after a pending one are not looked at"
    refused(Errno.EINVAL, machine.one.poll, 1, [9999, first])
    for unused in (0, 9):
        refused(Errno.EINVAL, machine.one.poll, 1, [unused])
    machine.guests[1].set_word("evtchn_mask", 0, 0)
    machine.one.send(machine.one.bind_ipi(1))
    assert not machine.one.poll(1, []), "an upcall is due"


def test_a_backend_binds_a_guests_port_and_hears_it(machine: Machine) -> None:
    heard: list[str] = []
    offered = machine.one.alloc_unbound(DomId.SELF, 0)
    port = machine.host.bind(1, offered, lambda: heard.append("event"))
    assert heard == ["event"], "binding fires the new end"
    machine.one.send(offered)
    assert heard == ["event", "event"]
    port.notify()
    assert machine.pending(1) == {offered}
    assert machine.one.status(1, offered) == Status(EvtchnStat.interdomain, domid=0, port=port.port)


def test_a_backend_outlives_the_guests_end(machine: Machine) -> None:
    heard: list[str] = []
    offered = machine.one.alloc_unbound(DomId.SELF, 0)
    port = machine.host.bind(1, offered, lambda: heard.append("event"))
    assert port.connected
    machine.one.close(offered)
    assert not port.connected
    port.notify()
    assert machine.pending(1) == set()
    port.close()
    port.close()
    port.notify()
    assert port.closed


def test_a_backend_may_notify_from_its_callback(machine: Machine) -> None:
    ports: list[HostPort] = []

    def answer() -> None:
        for port in ports:
            port.notify()

    local = machine.one.alloc_unbound(DomId.SELF, 0)
    ports.append(machine.host.bind(1, local, answer))
    machine.guests[1].take_2l(0)
    machine.one.send(local)
    assert machine.pending(1) == {local}


def test_a_backend_cannot_bind_what_is_not_for_it(machine: Machine) -> None:
    offered = machine.one.alloc_unbound(DomId.SELF, 2)
    refused(Errno.EINVAL, machine.host.bind, 1, offered, lambda: None)
    refused(Errno.ESRCH, machine.host.bind, 5, offered, lambda: None)


def test_a_domain_that_goes_has_no_ports_and_then_no_number_and_its_peers_wait(machine: Machine) -> None:
    offered = machine.two.alloc_unbound(2, 1)
    machine.one.bind_interdomain(2, offered)
    machine.one.destroy()
    assert machine.two.status(2, offered) == Status(EvtchnStat.unbound, domid=1)
    refused(Errno.EINVAL, machine.one.bind_ipi, 0)
    refused(Errno.EINVAL, machine.host.ports.alloc_unbound, 1, 2)
    refused(Errno.EINVAL, machine.two.bind_interdomain, 1, 1)
    machine.registry.leave(1)
    refused(Errno.ESRCH, machine.two.bind_interdomain, 1, 1)
