"""The switch, the firewall and rates: who gets which frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1Q, Dot3, Ether

from paravane.devices.net import (
    NOTHING,
    Credit,
    Firewall,
    Frame,
    Identity,
    NetError,
    Offloads,
    Rate,
    Rule,
    Switch,
    Verdict,
    numbered_mac,
    parse_mac,
    parse_rate,
    parse_rule,
)
from paravane.devices.net.firewall import Direction
from paravane.devices.net.switch import AGEING, MOST_STATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.devices.net import Port

MACS = [bytes.fromhex(f"00163e0000{number:02x}") for number in range(4)]
ALL = b"\xff" * 6


@dataclass
class Host:
    """A station that keeps what it is told, and has room for so many frames."""

    offloads: Offloads = NOTHING
    room: int = 1000
    frames: list[bytes] = field(default_factory=list)

    def deliver(self, frame: Frame) -> bool:
        if len(self.frames) >= self.room:
            return False
        self.frames.append(frame.data)
        return True


class Clock:
    now = 0


class Lan:
    """A switch with some hosts on it."""

    def __init__(self, hosts: int = 4) -> None:
        self.clock = Clock()
        self.switch = Switch("br0", lambda: self.clock.now)
        self.hosts = [Host() for _ in range(hosts)]
        self.ports: list[Port] = [self.switch.plug(f"vif{at}", host) for at, host in enumerate(self.hosts)]

    def send(self, at: int, destination: bytes, source: bytes | None = None) -> list[int]:
        """Send a frame from one host; which hosts got it."""
        before = [len(host.frames) for host in self.hosts]
        self.ports[at].send(Frame(destination + (source or MACS[at]) + b"\x88\xb5" + bytes(46)))
        return [at for at, host in enumerate(self.hosts) if len(host.frames) > before[at]]


def test_a_frame_goes_to_all_until_its_destination_was_heard() -> None:
    lan = Lan()
    assert lan.send(0, MACS[1]) == [1, 2, 3]
    assert lan.send(1, MACS[0]) == [0]
    assert lan.send(0, MACS[1]) == [1]
    assert lan.send(2, ALL) == [0, 1, 3]
    assert lan.send(2, bytes.fromhex("01005e000001")) == [0, 1, 3]


def test_a_station_that_moves_is_found_where_it_was_heard_last() -> None:
    lan = Lan()
    lan.send(1, ALL)
    lan.send(2, ALL, source=MACS[1])
    assert lan.send(0, MACS[1]) == [2]
    assert lan.send(1, MACS[2]) == [0, 2, 3]  # nothing was ever heard of that one


def test_a_silent_station_is_forgotten() -> None:
    lan = Lan()
    lan.send(1, ALL)
    lan.clock.now = AGEING
    assert lan.send(0, MACS[1]) == [1]
    lan.clock.now += 1
    assert lan.send(0, MACS[1]) == [1, 2, 3]


def test_who_makes_up_addresses_forgets_its_own_only() -> None:
    lan = Lan()
    lan.send(1, ALL)
    lan.send(3, ALL, source=b"\x02" + bytes(5))
    for number in range(MOST_STATIONS):
        lan.send(3, ALL, source=b"\x06" + number.to_bytes(5, "big"))
    assert lan.send(0, MACS[1]) == [1]
    assert lan.send(0, b"\x02" + bytes(5)) == [1, 2, 3]
    assert len(lan.ports[3].heard) == MOST_STATIONS


def test_frames_that_are_nobodys_business_go_nowhere() -> None:
    lan = Lan()
    assert lan.send(0, bytes.fromhex("0180c2000000")) == []  # spanning tree is between neighbours
    assert lan.send(0, MACS[1], source=ALL) == []
    assert lan.ports[0].sent.dropped == 2
    lan.ports[0].send(Frame(bytes(13)))
    assert lan.ports[0].sent.dropped == 3
    lan.send(1, ALL)
    assert lan.send(1, MACS[1]) == []  # to itself: the wire has it already


def test_a_port_that_is_gone_is_told_nothing_and_its_stations_are_looked_for_again() -> None:
    lan = Lan()
    lan.send(1, ALL)
    lan.ports[1].unplug()
    lan.ports[1].unplug()
    assert lan.send(0, MACS[1]) == [2, 3]


def test_a_station_without_room_loses_its_own_frames_only() -> None:
    lan = Lan()
    lan.hosts[1].room = 1
    assert lan.send(0, ALL) == [1, 2, 3]
    assert lan.send(0, ALL) == [2, 3]
    assert (lan.ports[1].received.frames, lan.ports[1].received.dropped) == (1, 1)
    assert lan.ports[2].received.frames == 2
    assert (lan.ports[0].sent.frames, lan.ports[0].sent.bytes) == (2, 120)


def test_each_station_gets_the_frame_as_it_can_take_it() -> None:
    lan = Lan(3)
    lan.hosts[1].offloads = Offloads(checksum4=True, segment4=True)
    packet = Ether(dst="ff:ff:ff:ff:ff:ff", src="00:16:3e:00:00:00") / IP() / TCP() / bytes(2500)
    lan.ports[0].send(Frame(bytes(packet), segment_size=1000))
    assert lan.hosts[1].frames == [bytes(packet)]
    assert len(lan.hosts[2].frames) == 3


def test_a_frame_nobody_could_complete_is_dropped_for_all() -> None:
    lan = Lan(2)
    lan.hosts[1].offloads = Offloads(checksum4=True)
    lan.ports[0].send(Frame(ALL + MACS[0] + b"\x08\x06" + bytes(46), blank=True))
    assert lan.hosts[1].frames == []
    assert lan.ports[0].sent.dropped == 1


# Rules.

US, THEM = "00:16:3e:00:00:01", "00:16:3e:00:00:02"
IDENTITY = Identity(parse_mac(US), (ip_network("10.0.0.2"), ip_network("fd00::2")))


def passes(rules: Sequence[str], packet: Any, direction: str = "out") -> bool:
    firewall = Firewall([parse_rule(rule) for rule in rules], IDENTITY, lambda: 0)
    return firewall.passes(Frame(bytes(packet)), Direction(direction))


OUR = Ether(src=US, dst=THEM)
LLC_SNAP = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x0800)
SNAP_TAG = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x8100)
SOURCE, TARGET = ICMPv6NDOptSrcLLAddr, ICMPv6NDOptDstLLAddr


@pytest.mark.parametrize(
    ("rules", "packet", "direction", "right"),
    [
        ([], OUR / IP() / TCP(), "out", True),
        (["drop"], OUR / IP() / TCP(), "out", False),
        (["drop in"], OUR / IP() / TCP(), "out", True),
        (["drop in"], OUR / IP() / TCP(), "in", False),
        (["drop proto=tcp"], OUR / IP() / UDP(), "out", True),
        (["drop proto=tcp dport=80"], OUR / IP() / TCP(dport=80), "out", False),
        (["drop proto=tcp dport=80"], OUR / Dot1Q(vlan=3) / IP() / TCP(dport=80), "out", False),
        (["drop proto=tcp dport=80"], OUR / IPv6() / TCP(dport=80), "out", False),
        (["drop dport=80-90"], OUR / IP() / UDP(dport=90), "out", False),
        (["drop dport=80-90"], OUR / IP() / UDP(dport=91), "out", True),
        (["drop sport=0"], OUR / IP() / ICMP(), "out", True),
        (["accept proto=icmp", "drop"], OUR / IP() / ICMP(), "out", True),
        (["drop dst=10.1.0.0/16"], OUR / IP(dst="10.1.2.3") / UDP(), "out", False),
        (["drop dst=10.1.0.0/16"], OUR / IP(dst="10.2.2.3") / UDP(), "out", True),
        (["drop dst=::/0"], OUR / IP(dst="10.2.2.3") / UDP(), "out", True),
        (["drop src=fd00::/8"], OUR / IPv6(src="fd12::1") / UDP(), "out", False),
        (["drop type=arp"], OUR / ARP(), "out", False),
        (["drop type=0x88b5"], Ether(src=US, dst=THEM, type=0x88B5) / bytes(46), "out", False),
        (["drop to-mac=broadcast"], Ether(src=US, dst="ff:ff:ff:ff:ff:ff") / IP() / UDP(), "out", False),
        ([f"drop mac={THEM}"], OUR / IP() / UDP(), "out", True),
    ],
)
def test_the_first_rule_that_matches_decides(
    rules: Sequence[str], packet: Any, direction: str, right: bool
) -> None:
    assert passes(rules, packet, direction) is right


@pytest.mark.parametrize(
    ("packet", "right"),
    [
        (OUR / IP(src="10.0.0.2") / UDP(), True),
        (OUR / IP(src="10.0.0.3") / UDP(), False),
        (Ether(src=THEM, dst=US) / IP(src="10.0.0.2") / UDP(), False),
        (OUR / ARP(hwsrc=US, psrc="10.0.0.2"), True),
        (OUR / ARP(hwsrc=US, psrc="10.0.0.3"), False),
        (OUR / ARP(hwsrc=THEM, psrc="10.0.0.2"), False),
        (OUR / ARP(hwsrc=US, psrc="0.0.0.0"), True),
        (OUR / IP(src="0.0.0.0") / UDP(sport=68, dport=67) / BOOTP(), True),
        (OUR / IP(src="0.0.0.0") / UDP(sport=68, dport=68), False),
        (OUR / IPv6(src="fd00::2") / UDP(), True),
        (OUR / IPv6(src="fd00::3") / UDP(), False),
        (OUR / IPv6(src="::", dst="ff02::1:ff00:2") / ICMPv6ND_NS(tgt="fd00::2"), True),
        (OUR / IPv6(src="::") / UDP(), False),
        (OUR / IPv6(src="fe80::216:3eff:fe00:1") / UDP(), True),
        (OUR / IPv6(src="fd00::2") / ICMPv6ND_NA(tgt="fd00::2") / TARGET(lladdr=US), True),
        (OUR / IPv6(src="fd00::2") / ICMPv6ND_NA(tgt="fd00::3") / TARGET(lladdr=US), False),
        (OUR / IPv6(src="fd00::2") / ICMPv6ND_NA(tgt="fd00::2") / TARGET(lladdr=THEM), False),
        (OUR / IPv6(src="fd00::2") / ICMPv6ND_NS(tgt="fd00::9") / SOURCE(lladdr=US), True),
        (OUR / IPv6(src="fd00::2") / ICMPv6ND_NS(tgt="fd00::9") / SOURCE(lladdr=THEM), False),
        (OUR / IPv6(src="fd00::2") / ICMPv6ND_RA() / SOURCE(lladdr=US) / SOURCE(lladdr=THEM), False),
        (OUR / IPv6(src="fd00::2", nh=60) / bytes([58, 0] + [0] * 6) / ICMPv6ND_NA(tgt="fd00::3"), False),
        (Dot3(src=US, dst=THEM) / LLC_SNAP / IP(src="10.0.0.2") / UDP(), True),
        (Dot3(src=US, dst=THEM) / LLC_SNAP / IP(src="10.0.0.3") / UDP(), False),
        (OUR / Dot1Q() / Dot1Q(type=100) / LLC_SNAP / IP(src="10.0.0.3") / UDP(), False),
        (Dot3(src=US, dst=THEM) / SNAP_TAG / Dot1Q() / IP(src="10.0.0.3") / UDP(), False),
        (OUR / Dot1Q(type=100) / LLC_SNAP / IP(src="10.0.0.3") / UDP(), False),
        (Ether(src=US, dst=THEM, type=0x88B5) / bytes(46), True),
    ],
)
def test_what_comes_from_somebody_else_is_spoofed(packet: Any, right: bool) -> None:
    assert passes(["drop spoofed"], packet) is right
    assert passes(["drop spoofed"], packet, "in")


def test_without_addresses_only_the_ethernet_address_is_looked_at() -> None:
    firewall = Firewall([parse_rule("drop spoofed")], Identity(parse_mac(US)), lambda: 0)
    assert firewall.passes(Frame(bytes(OUR / IP(src="1.2.3.4") / UDP())), Direction.OUT)


@pytest.mark.parametrize(
    "data",
    [
        bytes(OUR / IP() / TCP())[:30],
        bytes(OUR / IP(ihl=4) / TCP()),
        bytes(OUR / IP(version=6) / TCP()),
        bytes(OUR / IP(len=2000) / TCP()),
        bytes(OUR / IP() / TCP(dataofs=15)),
        bytes(OUR / IP(flags="MF") / TCP())[:-14],
        bytes(OUR / IP(frag=1, proto=6) / bytes(40)),
        bytes(OUR / IPv6() / IPv6ExtHdrFragment(offset=1, nh=6) / bytes(40)),
        bytes(OUR / IPv6(nh=0) / (bytes([0] * 8) * 20)),
        bytes(OUR / Dot1Q() / Dot1Q() / Dot1Q() / Dot1Q() / IP() / TCP()),
        bytes(Dot3(src=US, dst=THEM) / SNAP_TAG / Dot1Q(type=60) / SNAP_TAG / Dot1Q() / IP() / TCP()),
        bytes(Dot3(src=US, dst=THEM) / LLC_SNAP)[:-1],
        bytes(OUR / IPv6(src="fd00::2") / ICMPv6ND_NA(tgt="fd00::2") / TARGET(len=0)),
        bytes(OUR / IPv6(src="fd00::2") / ICMPv6ND_NA(tgt="fd00::2") / TARGET(len=2)),
        bytes(OUR / IPv6(src="fd00::2", plen=20) / ICMPv6ND_NA(tgt="fd00::2")),
        bytes(OUR / IPv6() / IPv6ExtHdrFragment(m=1, nh=58) / ICMPv6ND_NA(tgt="fd00::2")),
        bytes(OUR / ARP())[:30],
        bytes(OUR / ARP(hwlen=5)),
    ],
)
def test_headers_that_cannot_be_read_pass_no_rules(data: bytes) -> None:
    firewall = Firewall([parse_rule("accept")], IDENTITY, lambda: 0)
    assert not firewall.passes(Frame(data), Direction.OUT)
    assert Firewall([], IDENTITY, lambda: 0).passes(Frame(data), Direction.OUT)


def test_later_fragments_have_no_ports() -> None:
    later = OUR / IP(frag=100, proto=17) / bytes(100)
    assert passes(["drop dport=0"], later)
    assert not passes(["drop proto=udp"], later)


def test_a_rate_drops_what_is_too_much() -> None:
    clock = Clock()
    rules = [parse_rule("rate=1000B/s@1s proto=udp")]
    firewall = Firewall(rules, IDENTITY, lambda: clock.now)
    frame = Frame(bytes(OUR / IP() / UDP() / bytes(358)))
    assert len(frame.data) == 400
    assert [firewall.passes(frame, Direction.OUT) for _ in range(4)] == [True, True, False, False]
    clock.now = 10**9
    assert firewall.passes(frame, Direction.OUT)
    assert firewall.hits == [5]
    assert firewall.passes(Frame(bytes(OUR / ARP())), Direction.OUT)


def test_a_port_keeps_what_its_firewall_refuses() -> None:
    lan = Lan(3)
    lan.ports[1].firewall = Firewall([parse_rule("drop in type=arp")], IDENTITY, lambda: 0)
    lan.ports[0].firewall = Firewall([parse_rule("drop out type=0x88b5")], IDENTITY, lambda: 0)
    lan.ports[0].send(Frame(bytes(Ether(src=US, dst="ff:ff:ff:ff:ff:ff") / ARP())))
    assert [len(host.frames) for host in lan.hosts] == [0, 0, 1]
    assert lan.send(0, ALL) == []
    assert (lan.ports[1].received.refused, lan.ports[0].sent.refused) == (1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "allow",
        "rate",
        "rate=fast",
        "drop sideways",
        "drop proto=quic",
        "drop proto=256",
        "drop dport=65536",
        "drop dport=9-1",
        "drop dport=5-",
        "drop src=10.0.0.256",
        "drop mac=00:16:3e",
        "drop mac=ff:ff:ff:ff:ff:ff",
        "drop in out",
        "drop in spoofed",
        "drop proto=" + "9" * 5000,
    ],
)
def test_a_rule_with_a_mistake_is_told_by_a_sentence(text: str) -> None:
    with pytest.raises(NetError, match=r"^[^\n]+$"):
        parse_rule(text)


def test_a_rule_of_python_is_the_same_as_one_of_text() -> None:
    rule = Rule(Verdict.RATE, rate=Rate(125_000, 50_000), direction=Direction.OUT, protocol=17)
    assert parse_rule("rate=20Mb/s out proto=udp") == rule
    with pytest.raises(ValueError, match="rate"):
        Rule(Verdict.RATE)


# Rates and addresses.


@pytest.mark.parametrize(
    ("text", "size", "interval"),
    [
        ("10Mb/s", 62_500, 50_000),
        ("250KB/s", 12_500, 50_000),
        ("1MB/s@20ms", 20_000, 20_000),
        ("1GB/s@1", 10**9, 10**6),
        ("8b/s@1s", 1, 10**6),
        ("100B/s@10000us", 1, 10_000),
    ],
)
def test_rates_are_read_as_xl_reads_them(text: str, size: int, interval: int) -> None:
    assert parse_rate(text) == Rate(size, interval)
    assert str(parse_rate(text)) == f"{size},{interval}"


@pytest.mark.parametrize(
    "text",
    ["", "10", "10Mb", "10Xb/s", "0b/s", "-1b/s", "5000000000b/s", "1b/s@0s", "1b/s", "09b/s", "9" * 99],
)
def test_no_other_rate_is_taken(text: str) -> None:
    with pytest.raises(NetError):
        parse_rate(text)


def test_credit_is_saved_up_for_a_large_packet() -> None:
    credit = Credit(Rate(1000, 1000), 0)
    interval = 10**6
    waited = 0
    while not credit.take(65_000, waited):
        waited = credit.renewed
    assert waited == 64 * interval
    assert not credit.take(1, waited)
    assert credit.take(1, waited + interval)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 5_000_000)), max_size=60))
def test_no_more_passes_than_the_rate_and_what_was_saved(packets: list[tuple[int, int]]) -> None:
    credit, now, taken = Credit(Rate(1000, 1000), 0), 0, 0
    for size, pause in packets:
        now += pause
        taken += size if credit.take(size, now) else 0
        assert taken <= 1000 + 1000 * (now // 10**6)


def test_addresses() -> None:
    assert parse_mac("0:16:3E:1:2:3") == bytes.fromhex("00163e010203")
    assert numbered_mac(0x010203) == bytes.fromhex("00163e010203")
    for bad in (
        "",
        "00:16:3e:01:02",
        "00-16-3e-01-02-03",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "g" * 17,
    ):
        with pytest.raises(NetError):
            parse_mac(bad)
