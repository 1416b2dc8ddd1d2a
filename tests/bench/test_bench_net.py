"""What a network costs: packets between two domains, and datagrams out through passt and back."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from paravane import DomainConfig, Machine
from paravane.abi.netif import NetTxFlag
from paravane.devices.net.passt import GATEWAY, GUEST
from paravane.devices.net.vif import Vif, parse_vif
from paravane.time.clock import HostClock
from tests.support.needs import path_with
from tests.support.netfront import Netfront
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 128
DATAGRAMS = 32
PATIENCE = 20.0
ASLEEP = """
    .include "runtime.inc"
    XEN_NOTES asleep
    .data
request: .long 0, 0, 0, 0           # struct sched_poll: no port, no end
    .text
main:
    movl $SCHEDOP_poll, %ebx
    movl $request, %ecx
    HYPERCALL sched_op
    jmp main
"""
"""Sleeps with its upcalls masked: events for a frontend outside of it do not wake it."""


@pytest.fixture
def pair() -> Iterator[tuple[Netfront, Netfront]]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        kernel = image(BLOCK)
        domains = [machine.create(kernel, DomainConfig(memory=MEMORY, devices=(Vif(),))) for _ in range(2)]
        one, other = (Netfront(machine, domain) for domain in domains)
        one.connect(posted=1)
        other.connect(posted=0)
        other.send((one.mac + other.mac + b"\x88\xb5").ljust(60, b"\0"))  # where it is
        yield one, other


@pytest.mark.parametrize("size", [64, 1500])
def test_packets(benchmark: Any, pair: tuple[Netfront, Netfront], size: int) -> None:
    """A batch of packets and one event, without a guest: from one domain's ring through the switch into the
    other one's. The floor copies as many bytes from page to page, once out and once in."""
    one, other = pair
    frame = (other.mac + one.mac + b"\x88\xb5").ljust(size, b"\xa5")

    def setup() -> None:
        one.statuses()
        other.received()
        other.post(BATCH - len(other.posted))
        for _ in range(BATCH):
            one.request(frame)

    benchmark.pedantic(one.event, setup=setup, rounds=20)
    assert len(other.received()) == BATCH
    _, page = one.buffer
    target = memoryview(bytearray(4096))

    def floor() -> None:
        for _ in range(BATCH):
            data = bytes(page[:size])
            target[:size] = data

    _report(benchmark, BATCH, size, _time(floor))


def test_a_large_packet(benchmark: Any, pair: tuple[Netfront, Netfront]) -> None:
    """As above, with a TCP packet of 64000 bytes that both sides take whole."""
    one, other = pair
    size = 64_000
    layers = Ether(src=one.mac.hex(":"), dst=other.mac.hex(":")) / IP() / UDP() / bytes(size - 42)
    frame = bytes(layers)
    pages = [one.page() for _ in range(-(-size // 4096))]

    def setup() -> None:
        one.statuses()
        other.received()
        other.post(len(pages) - len(other.posted))
        for number, page in enumerate(pages):
            part = frame[number * 4096 : (number + 1) * 4096]
            more = NetTxFlag.more_data if number < len(pages) - 1 else 0
            flags = NetTxFlag.csum_blank | more
            one.request(part, flags, size=size if number == 0 else None, page=page)

    benchmark.pedantic(one.event, setup=setup, rounds=20)
    assert [len(data) for data in other.received()] == [size]
    source, target = bytes(size), memoryview(bytearray(size))

    def floor() -> None:
        target[:] = bytes(memoryview(source))

    _report(benchmark, 1, size, _time(floor))


def test_datagrams_through_passt(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams to a server on the host's loopback and back, so many at a time, without a guest. The floor is
    the same between two sockets of the host."""
    monkeypatch.setenv("PATH", path_with("passt"))
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(PATIENCE)
    port = server.getsockname()[1]
    with server, Machine(Machine.size_for(MEMORY), clock=HostClock()) as machine:
        config = DomainConfig(memory=MEMORY, devices=(parse_vif("passt"),))
        front = Netfront(machine, machine.create(image(ASLEEP), config))
        front.connect(posted=DATAGRAMS)
        link = Ether(src=front.mac.hex(":"), dst=_gateway(front))
        frame = bytes(link / IP(src=GUEST, dst=GATEWAY) / UDP(sport=5000, dport=port) / bytes(1000))

        def round_trip() -> None:
            front.statuses()
            for _ in range(DATAGRAMS):
                front.request(frame)
            front.event()
            for _ in range(DATAGRAMS):
                data, address = server.recvfrom(2048)
                server.sendto(data, address)
            _await(front, DATAGRAMS)

        benchmark.pedantic(round_trip, rounds=5, warmup_rounds=1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:

            def floor() -> None:
                for _ in range(DATAGRAMS):
                    client.sendto(bytes(1000), ("127.0.0.1", port))
                for _ in range(DATAGRAMS):
                    data, address = server.recvfrom(2048)
                    server.sendto(data, address)
                for _ in range(DATAGRAMS):
                    client.recv(2048)

            _report(benchmark, DATAGRAMS, len(frame), _time(floor))


def _gateway(front: Netfront) -> str:
    """Its Ethernet address."""
    question = ARP(hwsrc=front.mac.hex(":"), psrc=GUEST, pdst=GATEWAY)
    front.send(bytes(Ether(src=front.mac.hex(":"), dst="ff:ff:ff:ff:ff:ff") / question))
    (answer,) = _await(front, 1)
    return str(Ether(answer)[ARP].hwsrc)


def _await(front: Netfront, count: int) -> list[bytes]:
    """Serve the machine's inputs until so many frames have come, and post their pages again. Others that
    passt sends by itself are left out."""
    frames: list[bytes] = []
    deadline = time.monotonic() + PATIENCE
    while len(frames) < count and time.monotonic() < deadline:
        front.machine.run(timeout=0.001)
        frames += [frame for frame in front.received() if frame[:6] == front.mac]
        front.post(DATAGRAMS - len(front.posted))
    return frames


def _time(floor: Callable[[], None]) -> float:
    """The shortest of five runs, in seconds."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        floor()
        best = min(best, time.perf_counter() - began)
    return best


def _report(benchmark: Any, packets: int, size: int, floor: float) -> None:
    if benchmark.stats is None:
        return
    took = benchmark.stats.stats.min
    benchmark.extra_info["packets a second"] = round(packets / took)
    benchmark.extra_info["megabytes a second"] = round(packets * size / took / 1e6, 1)
    benchmark.extra_info["floor, packets a second"] = round(packets / floor)
    benchmark.extra_info["times the floor"] = round(took / floor, 1)
