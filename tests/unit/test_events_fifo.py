"""The FIFO delivery ABI: what changes in the pages a guest sees, by the rules of Xen's event_fifo.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.event_channel import EVTCHN_FIFO_LINK_MASK, EvtchnStat, Virq
from paravane.events import HostPort, Status
from paravane.refusal import Refusal
from paravane.report.waits import ports
from tests.support.event_machine import BUSY, LINKED, MASKED, PENDING, EventGuest, EventMachine

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT = 7


@pytest.fixture
def machine() -> EventMachine:
    return EventMachine({1: 2, 2: 1})


@pytest.fixture
def guest(machine: EventMachine) -> EventGuest:
    machine.guests[1].use_fifo()
    return machine.guests[1]


def refused(errno: Errno, call: Callable[..., object], *args: object) -> None:
    with pytest.raises(Refusal) as caught:
        call(*args)
    assert caught.value.errno is errno


def test_a_port_is_linked_ready_and_raises_an_upcall(guest: EventGuest) -> None:
    port = guest.events.bind_ipi(1)
    guest.events.send(port)
    assert guest.event_word(port) == PENDING | LINKED
    assert guest.ready(1) == 1 << DEFAULT
    assert guest.head(1, DEFAULT) == port
    assert guest.ready(0) == 0
    assert guest.woken == [1]
    assert guest.upcall(1)
    assert guest.pending() == set(), "nothing changes in shared_info"


def test_ports_come_out_in_the_order_they_fired(guest: EventGuest) -> None:
    ports = [guest.events.bind_ipi(0) for _ in range(4)]
    for port in reversed(ports):
        guest.events.send(port)
    assert [guest.event_word(port) & EVTCHN_FIFO_LINK_MASK for port in ports] == [0, *ports[:-1]]
    assert guest.woken == [0], "a queue that holds something raises no second upcall"
    assert guest.take_fifo(0) == ports[::-1]
    guest.events.send(ports[2])
    assert guest.take_fifo(0) == [ports[2]]


def test_a_linked_port_only_turns_pending_again(guest: EventGuest) -> None:
    port = guest.events.bind_ipi(0)
    guest.events.send(port)
    guest.words[guest.at(port)] &= ~PENDING
    guest.upcall(0)
    guest.events.send(port)
    assert guest.event_word(port) == PENDING | LINKED
    assert not guest.upcall(0)


def test_a_masked_port_only_turns_pending_and_unmasking_links_it(guest: EventGuest) -> None:
    port = guest.events.bind_ipi(0)
    guest.words[guest.at(port)] = MASKED
    guest.events.send(port)
    assert guest.event_word(port) == PENDING | MASKED
    assert guest.events.is_masked(port)
    assert not guest.upcall(0)
    guest.events.unmask(port)
    assert guest.event_word(port) == PENDING | LINKED
    assert guest.head(0, DEFAULT) == port
    assert guest.upcall(0)


def test_unmasking_a_port_that_did_not_fire_links_nothing(guest: EventGuest) -> None:
    port = guest.events.bind_ipi(0)
    guest.words[guest.at(port)] = MASKED
    guest.events.unmask(port)
    assert guest.event_word(port) == 0
    assert guest.woken == []


def test_queues_are_by_priority(guest: EventGuest) -> None:
    ports = [guest.events.bind_ipi(0) for _ in range(4)]
    for port, priority in zip(ports, (15, 3, 15, 0), strict=True):
        guest.events.set_priority(port, priority)
        guest.events.send(port)
    assert guest.ready(0) == 1 << 15 | 1 << 3 | 1
    assert guest.take_fifo(0) == [ports[3], ports[1], ports[0], ports[2]]


def test_a_port_changes_queues_once_the_guest_has_taken_it_out(guest: EventGuest) -> None:
    first, second, third = (guest.events.bind_ipi(0) for _ in range(3))
    guest.events.send(first)
    guest.events.send(second)
    guest.events.set_priority(second, 2)
    assert guest.ready(0) == 1 << DEFAULT, "where it is linked it stays"
    assert guest.take_fifo(0) == [first, second]
    guest.events.send(second)
    assert guest.head(0, 2) == second
    # It was the end of the old queue, and must not be taken for it while it is in the new one.
    guest.events.send(third)
    assert guest.head(0, DEFAULT) == third
    assert guest.event_word(second) & EVTCHN_FIFO_LINK_MASK == 0
    assert guest.take_fifo(0) == [second, third]


def test_a_port_that_moves_to_another_vcpu_goes_to_that_ones_queue(guest: EventGuest) -> None:
    loop = guest.events.alloc_unbound(1, 1)
    other = guest.events.bind_interdomain(1, loop)
    assert guest.take_fifo(0) == [other]
    guest.events.bind_vcpu(other, 1)
    guest.events.send(loop)
    assert guest.take_fifo(0) == []
    assert guest.take_fifo(1) == [other]


def test_an_end_that_the_guest_took_out_makes_the_next_port_a_head(guest: EventGuest) -> None:
    first, second = guest.events.bind_ipi(0), guest.events.bind_ipi(0)
    guest.events.send(first)
    guest.words[guest.at(first)] = 0
    guest.events.send(second)
    assert guest.event_word(first) == 0
    assert guest.head(0, DEFAULT) == second


def test_linking_clears_busy_and_whatever_link_there_was(guest: EventGuest) -> None:
    first, second = guest.events.bind_ipi(0), guest.events.bind_ipi(0)
    guest.events.send(first)
    guest.words[guest.at(first)] |= BUSY | 0x1FFFF | 1 << 20
    guest.events.send(second)
    assert guest.event_word(first) == PENDING | LINKED | 1 << 20 | second


def test_a_closed_port_is_not_given_away_while_it_is_linked(guest: EventGuest) -> None:
    port = guest.events.bind_ipi(0)
    guest.events.set_priority(port, 0)
    guest.events.send(port)
    guest.events.close(port)
    assert guest.event_word(port) == LINKED
    assert guest.events.bind_ipi(0) == port + 1
    assert guest.take_fifo(0) == [], "the guest takes it out and ignores it"
    assert guest.events.bind_ipi(0) == port
    assert guest.events.priority(port) == DEFAULT


def test_nothing_is_lost_for_ports_whose_page_comes_late(machine: EventMachine) -> None:
    guest = machine.guests[1]
    early, later, silent = (guest.events.bind_ipi(at) for at in (0, 1, 0))
    guest.events.send(early)
    guest.use_fifo(pages=0)
    guest.events.send(later)
    guest.events.unmask(later)
    guest.events.close(silent)
    assert not guest.events.is_pending(later)
    assert guest.events.is_masked(later), "without a word it counts as masked"
    guest.upcall(0)
    guest.events.expand_array(guest.mfns[2])
    assert guest.take_fifo(0) == [early]
    assert guest.take_fifo(1) == [later]
    assert guest.event_word(silent) == 0


def test_without_a_control_block_an_event_is_lost(machine: EventMachine) -> None:
    guest = machine.guests[1]
    port = guest.events.bind_ipi(1)
    guest.events.init_control(0, guest.mfns[0], 0)
    guest.events.expand_array(guest.mfns[2])
    guest.events.send(port)
    assert guest.event_word(port) == 0
    guest.events.init_control(1, guest.mfns[0], 72)
    guest.events.send(port)
    assert guest.take_fifo(1) == [port]


def test_where_a_control_block_can_be(machine: EventMachine) -> None:
    guest, other = machine.guests[1], machine.guests[2]
    refused(Errno.EOPNOTSUPP, guest.events.expand_array, guest.mfns[2])
    refused(Errno.ENOENT, guest.events.init_control, 2, guest.mfns[0], 4095)
    for offset in (4, 4096 - 72 + 8, 4096, 0xFFFF_FFF8):
        refused(Errno.EINVAL, guest.events.init_control, 0, guest.mfns[0], offset)
    for gfn in (other.mfns[0], 0, machine.memory.m2p_frames.start, 512, 1 << 40):
        refused(Errno.EINVAL, guest.events.init_control, 0, gfn, 0)
    assert not guest.events.uses_fifo
    assert machine.held == 0
    assert guest.events.init_control(0, guest.mfns[0], 4096 - 72) == 17
    refused(Errno.EINVAL, guest.events.init_control, 0, guest.mfns[1], 0)
    refused(Errno.EINVAL, guest.events.expand_array, other.mfns[0])
    assert machine.held == 1


def test_a_page_table_is_no_page_of_events(machine: EventMachine, guest: EventGuest) -> None:
    table = guest.mfns[9]
    domain = machine.registry.at(1).memory
    assert domain is not None
    machine.memory.types.get_page_and_type(table, 1, domain.space.root - 2)
    refused(Errno.EINVAL, guest.events.expand_array, table)


def test_the_array_ends_at_131072_ports() -> None:
    guest = EventMachine({1: 1}, max_port=200_000).guests[1]
    guest.use_fifo(pages=0)
    for _ in range(128):
        guest.events.expand_array(guest.mfns[3])
    refused(Errno.ENOSPC, guest.events.expand_array, guest.mfns[3])


def test_there_are_131071_ports_and_no_more() -> None:
    guest = EventMachine({1: 1}, max_port=200_000).guests[1]
    for port in range(1, 1024):
        assert guest.events.bind_ipi(0) == port
    refused(Errno.ENOSPC, guest.events.bind_ipi, 0)
    guest.use_fifo()
    assert [guest.events.bind_ipi(0) for _ in range(131_072 - 1024)][-1] == 131_071
    refused(Errno.ENOSPC, guest.events.bind_ipi, 0)


def test_priorities_are_for_ports_in_use(guest: EventGuest) -> None:
    port = guest.events.bind_ipi(0)
    refused(Errno.EINVAL, guest.events.set_priority, port, 16)
    refused(Errno.EINVAL, guest.events.set_priority, 64, 0)
    for unused in (0, port + 1):
        refused(Errno.EACCES, guest.events.set_priority, unused, 16)
    guest.events.set_priority(port, 15)
    assert guest.events.priority(port) == 15


def test_a_reset_goes_back_to_two_levels_and_gives_the_pages_back(
    machine: EventMachine, guest: EventGuest
) -> None:
    assert machine.held == 3
    port = guest.events.bind_ipi(0)
    guest.events.send(port)
    assert guest.events.reset(DomId.SELF, bool)
    assert machine.held == 0
    refused(Errno.EOPNOTSUPP, guest.events.expand_array, guest.mfns[2])
    refused(Errno.ENOSYS, guest.events.set_priority, port, 0)
    port = guest.events.bind_ipi(0)
    guest.events.send(port)
    assert guest.pending() == {port}
    guest.use_fifo()
    assert guest.take_fifo(0) == [port]


def test_a_page_that_the_guest_gives_away_stays_until_it_is_let_go(
    machine: EventMachine, guest: EventGuest
) -> None:
    free = machine.memory.nr_free
    machine.memory.free([guest.mfns[0], guest.mfns[2]])
    port = guest.events.bind_ipi(0)
    guest.events.send(port)
    assert guest.take_fifo(0) == [port]
    assert machine.memory.nr_free == free
    guest.events.reset(1, lambda: True)
    assert machine.memory.nr_free == free + 2


def test_a_preempted_reset_leaves_the_fifo_abi_in_the_end(machine: EventMachine, guest: EventGuest) -> None:
    for _ in range(70):
        guest.events.bind_ipi(0)
    assert not guest.events.reset(1, lambda: False)
    assert guest.events.uses_fifo
    assert guest.events.reset(1, lambda: False, resuming=True)
    assert not guest.events.uses_fifo
    assert machine.held == 0


def test_a_domain_that_goes_gives_the_pages_back(machine: EventMachine, guest: EventGuest) -> None:
    offered = guest.events.alloc_unbound(1, 2)
    machine.guests[2].events.bind_interdomain(1, offered)
    guest.events.destroy()
    guest.events.destroy()
    assert machine.held == 0
    assert machine.guests[2].events.status(2, 1) == Status(EvtchnStat.unbound, domid=1)


def test_pollers_wake_for_a_masked_port_once(guest: EventGuest) -> None:
    port = guest.events.bind_ipi(0)
    guest.words[guest.at(port)] = MASKED
    assert guest.events.poll(1, [port])
    guest.events.send(port)
    assert guest.woken == [1]
    assert not guest.events.poll(1, [port])


def test_domains_of_different_abis_talk(machine: EventMachine, guest: EventGuest) -> None:
    other = machine.guests[2]
    offered = guest.events.alloc_unbound(1, 2)
    local = other.events.bind_interdomain(1, offered)
    assert other.take_2l(0) == {local}
    other.events.send(local)
    assert guest.take_fifo(0) == [offered]
    guest.events.send(offered)
    assert other.take_2l(0) == {local}


def test_backends_and_virtual_interrupts_reach_a_fifo_guest(machine: EventMachine, guest: EventGuest) -> None:
    timer = guest.events.bind_virq(Virq.TIMER, 1)
    offered = guest.events.alloc_unbound(1, 0)
    backend: HostPort = machine.host.bind(1, offered, lambda: None)
    guest.events.raise_virq(Virq.TIMER, 1)
    backend.notify()
    assert guest.events.unmasked() == (timer, offered)
    assert (guest.take_fifo(0), guest.take_fifo(1)) == ([offered], [timer])


def test_a_moved_vcpu_info_is_where_upcalls_come(machine: EventMachine, guest: EventGuest) -> None:
    target = guest.mfns[20] << 12
    guest.events.move_vcpu_info(0, target)
    machine.ram.bytes[target] = 0
    guest.events.send(guest.events.bind_ipi(0))
    assert machine.ram.bytes[target] == 1


@pytest.mark.parametrize("value", [0, 0xFFFF_FFFF, LINKED, 0x2000_0001, 0x5555_5555])
def test_scribbling_over_the_pages_harms_nobody_else(
    machine: EventMachine, guest: EventGuest, value: int
) -> None:
    """The end of a queue is known without the guest's pages, so nothing in them says where to write."""
    mine = {mfn for mfn in (*guest.mfns, guest.shared_info >> 12)}
    before = {
        mfn: bytes(machine.ram.bytes[mfn << 12 : mfn + 1 << 12]) for mfn in range(512) if mfn not in mine
    }
    ports = [guest.events.bind_ipi(at % 2) for at in range(6)]
    for at, port in enumerate(ports):
        guest.events.send(port)
        for mfn in (guest.mfns[0], guest.mfns[2]):
            for index in range(1024):
                machine.ram.words[mfn << 10 | index] = value
        guest.events.set_priority(port, at)
        guest.events.send(port)
        guest.events.unmask(port)
    guest.events.reset(1, lambda: True)
    assert before == {mfn: bytes(machine.ram.bytes[mfn << 12 : mfn + 1 << 12]) for mfn in before}


def test_reports_tell_priority_and_masks(guest: EventGuest) -> None:
    plain, urgent = guest.events.bind_ipi(0), guest.events.bind_ipi(0)
    guest.events.set_priority(urgent, 0)
    guest.words[guest.at(urgent)] = MASKED
    guest.events.send(urgent)
    assert list(ports(0, guest.events)) == [
        "  upcall not pending, not masked, by the FIFO ABI",
        f"  port {urgent}, ipi: priority 0, pending, masked",
        f"  port {plain}, ipi",
    ]
