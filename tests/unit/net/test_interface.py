"""Network interfaces on the bus: rings, features, and what is done for those who cannot."""

from __future__ import annotations

import argparse
import struct
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from paravane import DomainConfig, Machine
from paravane.abi.netif import NetifExtraType, NetifGsoType, NetifRsp, NetRxFlag, NetTxFlag
from paravane.abi.xenbus import XenbusState
from paravane.devices.net import parse_rule
from paravane.devices.net.choices import MOST_QUEUES
from paravane.devices.net.multicast import MOST_GROUPS
from paravane.devices.net.vif import Vif, located, parse_vif
from paravane.tools.machine_options import settle_clock
from tests.support.frontend import FrontRing
from tests.support.lan import BROADCAST, Lan, closed, packet, plain
from tests.support.netfront import PAGE, Netfront
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


OKAY, ERROR, NULL = NetifRsp.OKAY, NetifRsp.ERROR, NetifRsp.NULL
BLANK = NetTxFlag.csum_blank


def test_the_nodes_are_xls_and_netbacks(lan: Lan) -> None:
    (front,) = lan("mac=00:16:3e:01:02:03,bridge=br0,rate=10Mb/s,ip=10.0.0.2,mtu=9000")
    shown = {
        "mac": "00:16:3e:01:02:03",
        "bridge": "br0",
        "rate": "62500,50000",
        "ip": "10.0.0.2",
        "mtu": "9000",
        "handle": "0",
        "type": "vif",
        "online": "1",
        "state": "2",
        "hotplug-status": "connected",
        "feature-sg": "1",
        "feature-rx-copy": "1",
        "feature-rx-flip": "1",
        "feature-multicast-control": "1",
        "feature-dynamic-multicast-control": "1",
        "feature-split-event-channels": "1",
        "multi-queue-max-queues": str(MOST_QUEUES),
    }
    assert {name: front.backend(name) for name in shown} == shown
    assert not front.has("feature-ctrl-ring")
    store = front.machine.store
    assert store.read(f"{front.front}/mac") == b"00:16:3e:01:02:03"
    assert store.read(f"{front.front}/mtu") == b"9000"


def test_a_frame_crosses(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    assert other.notified() in (True, False)
    frame = plain(one)
    assert one.send(frame) == [OKAY]
    assert other.notified()
    assert other.received() == [frame]
    answer = plain(other, one, 1514)
    assert other.send(answer) == [OKAY]
    assert one.received() == [answer]
    assert (one.device.sent.frames, one.device.received.bytes) == (1, 1514)


def test_a_trace_tells_what_the_rings_carried(machine: Machine, pair: tuple[Netfront, Netfront]) -> None:
    told: list[tuple[int, str, str, int, str]] = []

    def ring(domid: int, what: str, device: str, op: str, size: int, number: int | None, status: str) -> None:
        told.append((domid, f"{device} {what}", op, size, status))

    machine.platform.bus.observers.ring = ring
    one, other = pair
    one.send(plain(one))
    one.send(bytes(10))
    assert told == [
        (1, "vif request", "tx", 60, ""),
        (1, "vif response", "tx", 60, "OKAY"),
        (2, "vif response", "rx", 60, "OKAY"),
        (1, "vif request", "tx", 10, ""),
        (1, "vif response", "tx", 10, "ERROR"),
    ]


def test_time_is_the_hosts_where_a_domain_reaches_out() -> None:
    for given, vif, deterministic, right in (
        (None, "passt", False, "host"),
        (None, "tap=tap0", False, "host"),
        (None, "", False, "virtual"),
        (None, "passt", True, "virtual"),
        ("virtual", "passt", False, "virtual"),
    ):
        options = argparse.Namespace(clock=given, deterministic=deterministic)
        settle_clock(options, [parse_vif(vif)])
        assert options.clock == right


def test_addresses_are_of_their_own_unless_they_are_given(lan: Lan) -> None:
    one, other, third = lan("", "", "mac=00:16:3e:aa:bb:cc")
    assert len({one.mac, other.mac, third.mac}) == 3
    assert third.mac.hex() == "00163eaabbcc"


def test_bridges_are_apart(lan: Lan) -> None:
    one, other, third = lan("bridge=a", "bridge=b", "bridge=a")
    for front in (one, other, third):
        front.connect()
    one.send(plain(one))
    assert (other.received(), third.received()) == ([], [plain(one)])


@pytest.mark.parametrize("size", [14, PAGE, PAGE + 1, 9000, 65535])
def test_frames_of_all_sizes(pair: tuple[Netfront, Netfront], size: int) -> None:
    one, other = pair
    frame = plain(one, size=size)
    assert one.send(frame) == [OKAY] * -(-size // PAGE)
    assert other.received() == [frame]


def test_a_frame_longer_than_a_page_is_lost_to_who_cannot_scatter(lan: Lan) -> None:
    one, other = lan("", "")
    one.connect()
    other.connect("request-rx-copy")
    assert one.send(plain(one, size=PAGE + 1)) == [OKAY, OKAY]
    assert one.send(plain(one, size=PAGE)) == [OKAY]
    assert [len(frame) for frame in other.received()] == [PAGE]
    assert other.device.received.dropped == 1


def test_a_blank_checksum_stays_blank_for_who_can_take_it(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    frame = packet(one, other, IP() / UDP(chksum=0x1234) / b"data")
    one.send(frame, BLANK)
    assert other.received_with_flags() == [(frame, NetRxFlag.csum_blank | NetRxFlag.data_validated, None)]


@pytest.mark.parametrize("over", [IP, IPv6])
def test_a_blank_checksum_is_filled_in_for_who_cannot(lan: Lan, over: Callable[[], Any]) -> None:
    one, other = lan("", "")
    one.connect()
    other.connect("request-rx-copy", "feature-sg", "feature-no-csum-offload")
    one.send(packet(one, other, over() / UDP(chksum=0x1234) / b"data"), BLANK)
    assert other.received_with_flags() == [(packet(one, other, over() / UDP() / b"data"), 0, None)]


@pytest.mark.parametrize(("over", "kind"), [(IP, NetifGsoType.TCPV4), (IPv6, NetifGsoType.TCPV6)])
def test_a_large_packet_passes_whole_or_in_segments(lan: Lan, over: Callable[[], Any], kind: int) -> None:
    one, able, unable = lan("", "", "")
    one.connect()
    able.connect()
    unable.connect("request-rx-copy", "feature-sg")
    layers = over() / TCP(chksum=0x1234, flags="PA") / bytes(6000)
    frame = packet(one, able, layers)
    assert one.send(frame, BLANK, segment_size=1400, kind=kind) == [OKAY, NULL, OKAY]
    ((data, flags, segment),) = able.received_with_flags()
    assert (data, segment) == (frame, (1400, kind))
    assert flags & NetRxFlag.csum_blank
    assert len(unable.received()) == 5  # nobody knew yet who is where
    one.send(packet(one, unable, layers), BLANK, segment_size=1400, kind=kind)
    segments = unable.received_with_flags()
    assert len(segments) == 5
    assert sum(len(Ether(data)[TCP].payload) for data, _, _ in segments) == 6000


def test_a_firewall_stands_before_an_interface(machine: Machine) -> None:
    vifs = Vif(rules=(parse_rule("drop out spoofed"), parse_rule("drop in type=0x88b6"))), Vif()
    one, other = (
        Netfront(machine, machine.create(image(BLOCK), DomainConfig(memory=MEMORY, devices=(vif,))))
        for vif in vifs
    )
    one.connect()
    other.connect()
    assert one.send(plain(other)) == [OKAY]
    assert other.received() == []
    assert one.device.sent.refused == 1
    other.send(plain(other)[:12] + b"\x88\xb6" + bytes(46))
    other.send(plain(other))
    assert one.received() == [plain(other)]
    one.switch(XenbusState.Closed)  # nothing is forgiven who connects anew
    assert one.device.firewall.hits == [1, 1]


def test_multicast_control(lan: Lan) -> None:
    one, other = lan("", "")
    one.connect()
    other.connect("request-rx-copy", "request-multicast-control")
    groups = [b"\x33\x33" + number.to_bytes(4, "big") for number in range(MOST_GROUPS + 1)]

    def ask(kind: int, address: bytes) -> list[int]:
        other.request(b"", NetTxFlag.extra_info)
        other.tx.put(struct.pack("<BB6sI", kind, 0, address, 0))
        other.event()
        return other.statuses()

    one.send(plain(one, groups[0]))
    assert other.received() == []
    assert ask(NetifExtraType.MCAST_ADD, groups[0]) == [OKAY, NULL]
    one.send(plain(one, groups[0]))
    one.send(plain(one, groups[1]))
    one.send(plain(one))
    assert [frame[:6] for frame in other.received()] == [groups[0], BROADCAST]
    for group in groups[1:-1]:
        assert ask(NetifExtraType.MCAST_ADD, group) == [OKAY, NULL]
    assert ask(NetifExtraType.MCAST_ADD, groups[-1]) == [ERROR, NULL]
    assert ask(NetifExtraType.MCAST_ADD, groups[0]) == [OKAY, NULL]
    assert ask(NetifExtraType.MCAST_ADD, other.mac) == [ERROR, NULL]
    assert ask(NetifExtraType.MCAST_DEL, groups[0]) == [OKAY, NULL]
    one.send(plain(one, groups[0]))
    assert other.received() == []


def test_multicast_control_is_turned_on_and_off_while_connected(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    group = b"\x33\x33\0\0\0\x01"
    for value, heard in (("1", 0), ("0", 1), ("1", 0)):
        other.write("request-multicast-control", value)
        one.send(plain(one, group))
        one.send(plain(one))
        assert len(other.received()) == heard + 1
    other.remove("request-multicast-control")
    one.send(plain(one, group))
    assert len(other.received()) == 1
    other.write("request-multicast-control", "much")
    assert closed(other, "request-multicast-control is no number")


def test_several_queues_with_channels_of_their_own(lan: Lan) -> None:
    one, other = lan("", "")
    other.connect()
    one.write("multi-queue-num-queues", 2)
    rings = []
    for number in range(2):
        (tx_ref, tx_page), (rx_ref, rx_page) = one.page(), one.page()
        one.write(f"queue-{number}/tx-ring-ref", tx_ref)
        one.write(f"queue-{number}/rx-ring-ref", rx_ref)
        one.write(f"queue-{number}/event-channel-tx", one.listen())
        one.write(f"queue-{number}/event-channel-rx", one.listen())
        rings.append((FrontRing([tx_page], 12), FrontRing([rx_page], 8)))
    one.write("request-rx-copy", 1)
    one.buffer = one.page()
    assert one.switch(XenbusState.Connected) is XenbusState.Connected
    for tx, rx in rings:
        one.tx, one.rx = tx, rx
        one.request(plain(one))
        for _ in range(40):
            rx.put(struct.pack("<HHI", 0, 0, one.page()[0]))
    one.event()
    assert len(other.received()) == 2
    for port in range(30):
        other.send(packet(other, one, IP() / UDP(sport=port) / b"x"))
    counts = [len(rx.take()) for _, rx in rings]
    assert sum(counts) == 30
    assert min(counts) > 5


def test_a_capture_shows_the_wire(lan: Lan, tmp_path: Path) -> None:
    path = tmp_path / "wire.pcap"
    one, other = lan(f"pcap={path}", f"pcap={tmp_path}/./wire.pcap")
    one.connect()
    other.connect()
    one.send(packet(one, other, IP() / TCP(chksum=1) / bytes(5000)), BLANK, segment_size=1400)
    data = path.read_bytes()
    assert data[:4] == bytes.fromhex("4d3cb2a1")
    assert data.count(one.mac) == 4 + 4  # as it was sent, and as it was received


def test_a_capture_is_found_from_another_folder() -> None:
    text = located("bridge=br0, pcap = net.pcap, rate=1MB/s", lambda name: f"/there/{name}")
    assert text == "bridge=br0,pcap=/there/net.pcap,rate=1MB/s"
    assert parse_vif(text).pcap == "/there/net.pcap"
