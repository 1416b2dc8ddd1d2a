"""Checksums and segmentation, judged by scapy: what was left to others is right afterwards."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q, Ether

from paravane.devices.net import EVERYTHING, NOTHING, Frame, OffloadError, Offloads, fit
from paravane.devices.net.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Callable

ETHER = {"src": "00:16:3e:00:00:01", "dst": "00:16:3e:00:00:02"}
NETWORKS: dict[str, Callable[[], Any]] = {
    "ipv4": lambda: Ether(**ETHER) / IP(src="10.0.0.1", dst="10.0.0.2", id=7),
    "ipv4-options": lambda: Ether(**ETHER) / IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x01" * 8),
    "vlan": lambda: Ether(**ETHER) / Dot1Q(vlan=5) / IP(src="10.0.0.1", dst="10.0.0.2"),
    "ipv6": lambda: Ether(**ETHER) / IPv6(src="fe80::1", dst="fe80::2"),
    "ipv6-extensions": lambda: (
        Ether(**ETHER) / IPv6(src="fe80::1", dst="fe80::2") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
    ),
}
TRANSPORTS: dict[str, Callable[[], Any]] = {
    "tcp": lambda: TCP(sport=1, dport=2, seq=0xFFFF_FF00, flags="PA", options=[("NOP", None)] * 4),
    "udp": lambda: UDP(sport=1, dport=2),
}


def spoilt(packet: Any) -> bytes:
    """The packet with a wrong checksum in its transport header, as a sender with offloads leaves it."""
    bad = packet.copy()
    bad[TCP if TCP in packet else UDP].chksum = 0x1234
    return bytes(bad)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("payload", [b"", b"x", b"even", b"\xff" * 1001])
def test_a_blank_checksum_is_filled_in(network: str, transport: str, payload: bytes) -> None:
    packet = NETWORKS[network]() / TRANSPORTS[transport]() / payload
    (frame,) = fit(Frame(spoilt(packet), blank=True), NOTHING)
    assert frame.data == bytes(packet)
    assert not frame.blank


def test_padding_after_the_packet_is_not_part_of_the_sum() -> None:
    packet = NETWORKS["ipv4"]() / UDP(sport=1, dport=2) / b"x"
    (frame,) = fit(Frame(spoilt(packet) + b"\xee" * 17, blank=True), NOTHING)
    assert frame.data == bytes(packet) + b"\xee" * 17


def test_a_udp_checksum_of_zero_is_written_as_all_ones() -> None:
    """0 would say that there is none."""
    packet = NETWORKS["ipv4"]() / UDP(sport=1, dport=2) / bytes(2)
    left = UDP(bytes(packet[UDP])).chksum
    packet[UDP].payload.load = left.to_bytes(2, "big")
    (frame,) = fit(Frame(spoilt(packet), blank=True), NOTHING)
    assert Ether(frame.data)[UDP].chksum == 0xFFFF


@given(st.binary(max_size=99))
def test_the_sum_is_that_of_the_words(data: bytes) -> None:
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(data) == 0xFFFF - total


@pytest.mark.parametrize("network", NETWORKS)
def test_a_large_packet_becomes_the_segments_it_stands_for(network: str) -> None:
    payload = bytes(range(256)) * 20
    flags = "FPAC"  # C: congestion window reduced
    whole = NETWORKS[network]() / TCP(sport=1, dport=2, seq=0xFFFF_FF00, flags=flags) / payload
    frames = fit(Frame(spoilt(whole), segment_size=1448), NOTHING)
    packets = [Ether(frame.data) for frame in frames]
    assert b"".join(bytes(packet[TCP].payload) for packet in packets) == payload
    assert [len(packet[TCP].payload) for packet in packets] == [1448, 1448, 1448, 776]
    assert [str(packet[TCP].flags) for packet in packets] == ["AC", "A", "A", "FPA"]
    for one, other in pairwise(packets):
        assert other[TCP].seq == (one[TCP].seq + 1448) % 2**32
        if IP in one:
            assert other[IP].id == one[IP].id + 1
    for packet in packets:  # lengths and both checksums as scapy makes them
        again = packet.copy()
        if IP in again:
            del again[IP].len, again[IP].chksum
        else:
            del again[IPv6].plen
        del again[TCP].chksum
        assert bytes(again) == bytes(packet)


def test_what_a_receiver_can_do_is_left_to_it() -> None:
    over4 = Frame(spoilt(NETWORKS["ipv4"]() / TCP() / (b"x" * 3000)), segment_size=1000)
    over6 = Frame(spoilt(NETWORKS["ipv6"]() / TCP() / (b"x" * 3000)), segment_size=1000)
    assert fit(over4, EVERYTHING) == [over4]
    only4 = Offloads(checksum4=True, segment4=True)
    assert fit(over4, only4) == [over4]
    assert len(fit(over6, only4)) == 3
    blank = fit(over4, Offloads(checksum4=True))
    assert [frame.blank for frame in blank] == [True] * 3
    assert [frame.blank for frame in fit(over4, Offloads(segment4=True))] == [False] * 3


@pytest.mark.parametrize(
    "frame",
    [
        Frame(b"\xff" * 12 + b"\x08\x06" + bytes(28), blank=True),
        Frame(bytes(Ether(**ETHER) / IP(proto=1) / bytes(8)), blank=True),
        Frame(bytes(Ether(**ETHER) / IP(frag=5) / UDP()), blank=True),
        Frame(bytes(Ether(**ETHER) / IP(flags="MF") / UDP()), blank=True),
        Frame(bytes(Ether(**ETHER) / IP() / UDP())[:-1], blank=True),
        Frame(bytes(Ether(**ETHER) / IP() / UDP() / bytes(100)), segment_size=10),
        Frame(bytes(Ether(**ETHER) / IP() / TCP() / bytes(60000)), segment_size=1),
    ],
    ids=["arp", "icmp", "fragment", "first-fragment", "cut-short", "segmented-udp", "too-many"],
)
def test_what_cannot_be_done_is_refused(frame: Frame) -> None:
    with pytest.raises(OffloadError):
        fit(frame, NOTHING)


@given(st.binary(max_size=120), st.booleans(), st.integers(0, 70000))
def test_no_bytes_are_too_strange(data: bytes, blank: bool, size: int) -> None:
    """Whatever a guest sends is made fit or refused; half of it looks like TCP over IP at first."""
    for start in (b"", b"\xff" * 12 + b"\x08\x00\x45", b"\xff" * 12 + b"\x86\xdd\x60\0\0\0\0\x20\x06"):
        try:
            fit(Frame(start + data, blank=blank, segment_size=size), NOTHING)
        except OffloadError:
            assert blank or size
