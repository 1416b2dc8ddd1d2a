"""Guests that talk to each other by events: pairs of the kernels that come with the hypervisor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, load_image
from paravane.abi.event_channel import EvtchnStat
from paravane.events import Status
from paravane.trace import Kind, Record, SendRecord, UpcallRecord
from tests.support.boot import HOST_TIMEOUT, kernel_image

KERNELS = Path(__file__).parents[2] / "guest_kernels"
MEMORY = 4 << 20


def consoles(kernel: str, *cmdlines: str) -> list[str]:
    """What each domain of a machine printed, all of them with the same kernel, once they powered off."""
    image = load_image(kernel_image((KERNELS / kernel / f"{kernel}.S").read_text()))
    sizes = [MEMORY] * len(cmdlines)
    with Machine(Machine.size_for(*sizes), slice_instructions=50_000) as machine:
        domains = [machine.create(image, DomainConfig(memory=MEMORY, cmdline=words)) for words in cmdlines]
        machine.run(timeout=HOST_TIMEOUT)
        assert [domain.reason for domain in domains] == [ShutdownReason.poweroff] * len(domains)
        assert machine.audit() == []
        return [domain.console_output().decode() for domain in domains]


@pytest.mark.parametrize("ping", ["", " fifo"])
@pytest.mark.parametrize("pong", ["", " fifo"])
def test_the_ball_comes_back_as_often_as_it_is_sent(ping: str, pong: str) -> None:
    played = consoles("pingpong", f"ping peer=2 balls=50{ping}", f"pong peer=1 balls=50{pong}")
    assert re.fullmatch(r"50 balls came back, after \d+ ticks each\n", played[0])
    assert played[1] == "50 balls sent back\n"


def test_it_does_not_matter_who_comes_first() -> None:
    played = consoles("pingpong", "pong peer=2 balls=20", "ping peer=1 balls=20")
    assert [text.split(",")[0].strip() for text in played] == ["20 balls sent back", "20 balls came back"]


def test_three_pairs_play_at_once() -> None:
    pairs = [[f"ping peer={at + 1} balls=20", f"pong peer={at} balls=20"] for at in (1, 3, 5)]
    played = consoles("pingpong", *(words for pair in pairs for words in pair))
    assert played[1::2] == ["20 balls sent back\n"] * 3


def test_a_storm_is_a_few_events_to_the_neighbour_that_works_beside_it() -> None:
    victim, storm = consoles("storm", "neighbour peer=2 work=1000000", "storm peer=1 count=2000")
    assert storm == "2000 sent\n"
    match = re.fullmatch(r"work done, (\d+) events beside it\n", victim)
    assert match
    assert 1 <= int(match[1]) < 100, "an event that finds its port pending is no second one"


@pytest.mark.parametrize("abi", ["", " fifo"])
def test_events_are_followed_from_their_send_to_their_upcall(abi: str) -> None:
    """All but those that the handler of another event found before an upcall of their own came."""
    records: list[Record] = []
    image = load_image(kernel_image((KERNELS / "pingpong" / "pingpong.S").read_text()))
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=50_000) as machine:
        machine.trace.subscribe(records.append, (Kind.EVENT,))
        for words in ("ping peer=2 balls=5", "pong peer=1 balls=5"):
            machine.create(image, DomainConfig(memory=MEMORY, cmdline=words + abi))
        machine.run(timeout=HOST_TIMEOUT)
    sent = {
        item.flow: item
        for item in records
        if isinstance(item, SendRecord) and item.flow is not None and item.domid and item.to_domid
    }
    told = {flow: item for item in records if isinstance(item, UpcallRecord) for flow in item.flows}
    assert len(sent) == 11, "five balls there and back, and the throw-in"
    followed = [(send, told[flow]) for flow, send in sent.items() if flow in told]
    assert len(followed) >= 8
    for send, upcall in followed:
        assert upcall.domid == send.to_domid
        assert send.to_port in upcall.ports


def test_a_report_names_the_abi_of_a_guest_that_sleeps() -> None:
    image = load_image(kernel_image((KERNELS / "pingpong" / "pingpong.S").read_text()))
    with Machine(Machine.size_for(MEMORY), slice_instructions=50_000) as machine:
        domain = machine.create(image, DomainConfig(memory=MEMORY, cmdline="ping peer=9 fifo"))
        machine.run(timeout=HOST_TIMEOUT, max_traps=2000)
        text = domain.where()
    assert "  upcall not pending, not masked, by the FIFO ABI\n" in text
    assert "  port 3, open for d9\n" in text
    assert ", connected to port" in text


def test_a_peer_that_dies_leaves_a_port_that_waits_for_it() -> None:
    """Who is left goes on: what it sends is dropped, and nobody else can bind to its port."""
    image = load_image(kernel_image((KERNELS / "pingpong" / "pingpong.S").read_text()))
    sizes = [MEMORY] * 3
    with Machine(Machine.size_for(*sizes), slice_instructions=50_000) as machine:
        ping, pong = (
            machine.create(image, DomainConfig(memory=MEMORY, cmdline=f"{words} balls=1000000 fifo"))
            for words in ("ping peer=2", "pong peer=1")
        )
        machine.run(timeout=HOST_TIMEOUT, max_traps=3000)
        assert ping.events.status(1, 3).status is EvtchnStat.interdomain
        machine.destroy(pong)
        assert ping.events.status(1, 3) == Status(EvtchnStat.unbound, domid=2)
        ping.events.send(3)
        other = machine.create(image, DomainConfig(memory=MEMORY, cmdline="pong peer=1"))
        machine.run(timeout=HOST_TIMEOUT, max_traps=3000)
        assert ping.alive
        assert other.alive
        assert ping.events.status(1, 3).status is EvtchnStat.unbound
        assert machine.audit() == []


def test_two_runs_of_a_pair_are_the_same_event_by_event() -> None:
    """With slices counted in instructions it does not matter what else the host does."""
    assert _told() == _told()


def _told() -> list[str]:
    lines: list[str] = []
    image = load_image(kernel_image((KERNELS / "pingpong" / "pingpong.S").read_text()))
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=20_000) as machine:
        machine.trace.subscribe(
            lambda record: lines.append(str(record)), (Kind.EVENT, Kind.SCHEDULE, Kind.TRAP)
        )
        for words in ("ping peer=2 balls=20", "pong peer=1 balls=20 fifo"):
            machine.create(image, DomainConfig(memory=MEMORY, cmdline=words))
        machine.run(timeout=HOST_TIMEOUT)
    return lines
