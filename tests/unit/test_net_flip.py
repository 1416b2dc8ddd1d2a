"""Packets by exchange: a network interface whose frontend gets pages in place of those that it gave away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.abi.grant_table import GrantFlag
from paravane.abi.netif import NetifRsp
from paravane.abi.xenbus import XenbusState
from paravane.devices.net.vif import Vif
from tests.support.netfront import PAGE, FlippingNetfront, Netfront
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator

ERROR = NetifRsp.ERROR
NONE = (ERROR, -1, b"")
"""No frame came."""


@pytest.fixture
def pair() -> Iterator[tuple[Netfront, FlippingNetfront]]:
    """One that copies, and one whose pages are exchanged."""
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        kernel = image(BLOCK)
        domains = [machine.create(kernel, DomainConfig(memory=MEMORY, devices=(Vif(),))) for _ in range(2)]
        one, other = Netfront(machine, domains[0]), FlippingNetfront(machine, domains[1])
        one.connect()
        assert other.connect(posted=4) is XenbusState.Connected
        yield one, other
        assert machine.audit() == []


def frame(source: Netfront, destination: Netfront, size: int = 60) -> bytes:
    return (destination.mac + source.mac + b"\x88\xb5").ljust(size, b"\xa5")


def test_the_page_that_comes_has_the_packet_and_nothing_else(pair: tuple[Netfront, FlippingNetfront]) -> None:
    one, other = pair
    memory, first = one.machine.platform.memory, other.posted[0][0]
    pages = other.domain.memory.tot_pages
    used = memory.allocate_own(3)
    for mfn in used:
        memory.ram.write(mfn << 12, b"\x77" * PAGE)  # somebody's secret
    memory.free_own(used)
    sent = [frame(one, other), frame(one, other, PAGE + 100)]
    for data in sent:
        one.send(data)
    assert other.notified()
    parts = [sent[0], sent[1][:PAGE], sent[1][PAGE:]]
    assert other.arrived() == [
        (len(part), other.PFN + first + number, part.ljust(PAGE, b"\0")) for number, part in enumerate(parts)
    ]
    assert other.domain.memory.tot_pages == pages + 3


def test_who_says_nothing_of_exchange_is_one_of_the_first_frontends(
    pair: tuple[Netfront, FlippingNetfront],
) -> None:
    one, other = pair
    other.switch(XenbusState.Closed)
    other.remove("feature-rx-flip")
    assert other.switch(XenbusState.Connected) is XenbusState.Connected
    one.send(frame(one, other))
    assert [status for status, _, _ in other.arrived()] == [60]


@pytest.mark.parametrize(
    ("flags", "domid"),
    [(GrantFlag.permit_access, 0), (GrantFlag.accept_transfer | GrantFlag.transfer_committed, 0)]
    + [(GrantFlag.accept_transfer, 1), (GrantFlag.invalid, 0)],
)
def test_an_entry_that_accepts_nothing_gets_nothing(
    pair: tuple[Netfront, FlippingNetfront],
    flags: int,
    domid: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = pair
    free = one.machine.platform.memory.nr_free
    ref = other.posted.pop(0)[0]
    other.grant(ref, 0x77, flags=flags | domid << 16)
    one.send(frame(one, other))
    assert other.entry(ref) == (flags | domid << 16, 0x77)
    assert other.rx.take()[0][6:] == ERROR.to_bytes(2, "little", signed=True)
    assert "a frame cannot be received: " in caplog.text
    assert other.device.received.dropped == 1
    assert one.machine.platform.memory.nr_free == free
    one.send(frame(one, other))
    assert len(other.arrived()) == 1


def test_a_reference_beyond_the_table_gets_nothing(pair: tuple[Netfront, FlippingNetfront]) -> None:
    one, other = pair
    other.rx._write(0, bytes(4) + b"\xff\xff\xff\xff")
    one.send(frame(one, other))
    assert other.rx.take()[0][6:] == ERROR.to_bytes(2, "little", signed=True)


def test_a_domain_gets_no_more_pages_than_it_may_have(pair: tuple[Netfront, FlippingNetfront]) -> None:
    one, other = pair
    memory = other.domain.memory
    memory.max_pages = memory.tot_pages + 1
    for _ in range(2):
        one.send(frame(one, other))
    assert [got[0] for got in other.arrived()] == [60, ERROR]
    assert (other.device.received.dropped, memory.tot_pages) == (1, memory.max_pages)
    memory.max_pages += 10
    one.send(frame(one, other))
    assert other.arrived()[0][0] == 60


def test_a_machine_without_free_frames_loses_the_packet(pair: tuple[Netfront, FlippingNetfront]) -> None:
    one, other = pair
    memory = one.machine.platform.memory
    taken = memory.allocate_own(memory.nr_free)
    one.send(frame(one, other))
    assert other.arrived() == [NONE]
    assert other.device.received.dropped == 1
    memory.free_own(taken[:1])
    one.send(frame(one, other))
    assert other.arrived()[0][0] == 60
    memory.free_own(taken[1:])


def test_a_receiver_that_dies_takes_only_its_own_with_it(pair: tuple[Netfront, FlippingNetfront]) -> None:
    one, other = pair
    machine = one.machine
    free = machine.platform.memory.nr_free + other.domain.memory.tot_pages + other.domain.memory.xen_frames
    for _ in range(6):  # two more than there are pages for
        one.send(frame(one, other))
    machine.destroy(other.domain)
    assert one.send(frame(one, other)) == [NetifRsp.OKAY]
    assert machine.platform.memory.nr_free >= free
    assert machine.audit() == []
