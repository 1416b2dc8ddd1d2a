"""Network interfaces on the bus: rings, features, what is done for those who cannot, and lying frontends."""

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
from paravane.devices.net.receiver import MOST_QUEUED, PATIENCE, POLL
from paravane.devices.net.vif import Vif, parse_vif
from paravane.tools.ctl.actions import VERBS
from paravane.tools.ctl.listings import HEADERS, lines
from paravane.tools.ctl.protocol import RequestError
from paravane.tools.machine_options import settle_clock
from tests.support.frontend import FrontRing
from tests.support.netfront import PAGE, Netfront
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paravane import Image

OKAY, ERROR, NULL = NetifRsp.OKAY, NetifRsp.ERROR, NetifRsp.NULL
BROADCAST = b"\xff" * 6
BLANK = NetTxFlag.csum_blank


@pytest.fixture(scope="module")
def kernel() -> Image:
    return image(BLOCK)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(*[MEMORY] * 3)) as machine:
        yield machine
        assert machine.audit() == []


@pytest.fixture
def lan(machine: Machine, kernel: Image) -> Callable[..., list[Netfront]]:
    """Makes domains, with an interface each as described by a text (or a number of plain ones)."""

    def make(*vifs: str) -> list[Netfront]:
        fronts = []
        for vif in vifs:
            config = DomainConfig(memory=MEMORY, devices=(parse_vif(vif),))
            fronts.append(Netfront(machine, machine.create(kernel, config)))
        return fronts

    return make


@pytest.fixture
def pair(lan: Callable[..., list[Netfront]]) -> tuple[Netfront, Netfront]:
    """Two that are connected, with all that Linux can do."""
    one, other = lan("", "")
    assert one.connect() is XenbusState.Connected
    assert other.connect() is XenbusState.Connected
    return one, other


def plain(source: Netfront, destination: Netfront | bytes = BROADCAST, size: int = 60) -> bytes:
    """A frame of a protocol that nobody knows."""
    to = destination if isinstance(destination, bytes) else destination.mac
    return (to + source.mac + b"\x88\xb5").ljust(size, b"\xa5")


def packet(source: Netfront, destination: Netfront, layers: Any) -> bytes:
    return bytes(Ether(src=source.mac.hex(":"), dst=destination.mac.hex(":")) / layers)


def test_the_nodes_are_xls_and_netbacks(lan: Callable[..., list[Netfront]]) -> None:
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


def test_addresses_are_of_their_own_unless_they_are_given(lan: Callable[..., list[Netfront]]) -> None:
    one, other, third = lan("", "", "mac=00:16:3e:aa:bb:cc")
    assert len({one.mac, other.mac, third.mac}) == 3
    assert third.mac.hex() == "00163eaabbcc"


def test_bridges_are_apart(lan: Callable[..., list[Netfront]]) -> None:
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


def test_a_frame_longer_than_a_page_is_lost_to_who_cannot_scatter(lan: Callable[..., list[Netfront]]) -> None:
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
def test_a_blank_checksum_is_filled_in_for_who_cannot(
    lan: Callable[..., list[Netfront]], over: Callable[[], Any]
) -> None:
    one, other = lan("", "")
    one.connect()
    other.connect("request-rx-copy", "feature-sg", "feature-no-csum-offload")
    one.send(packet(one, other, over() / UDP(chksum=0x1234) / b"data"), BLANK)
    assert other.received_with_flags() == [(packet(one, other, over() / UDP() / b"data"), 0, None)]


@pytest.mark.parametrize(("over", "kind"), [(IP, NetifGsoType.TCPV4), (IPv6, NetifGsoType.TCPV6)])
def test_a_large_packet_passes_whole_or_in_segments(
    lan: Callable[..., list[Netfront]], over: Callable[[], Any], kind: int
) -> None:
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


def test_frames_wait_for_pages_and_what_is_too_much_is_lost(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    frames = [plain(one, size=1500)[:-2] + number.to_bytes(2, "big") for number in range(300)]
    for frame in frames:
        assert one.send(frame) == [OKAY]
    got = other.received()
    assert got == frames[:32]
    while other.rx.get("rsp_prod") < 32 + MOST_QUEUED // 1500:
        other.post(32)
        got += other.received()
    other.post(64)
    got += other.received()
    assert got == frames[: 32 + MOST_QUEUED // 1500]
    assert other.device.received.dropped == 300 - len(got)


def test_a_large_frame_waits_until_all_its_pages_are_there(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    for _ in range(31):
        one.send(plain(one))
    frame = plain(one, size=3 * PAGE)
    one.send(frame)
    assert len(other.received()) == 31
    other.post(1)
    assert other.received() == []
    assert other.rx.get("req_event") == other.rx.produced + 1
    other.post(1)
    assert other.received() == [frame]


def test_a_rate_holds_a_sender_back(lan: Callable[..., list[Netfront]]) -> None:
    one, other = lan("rate=20KB/s@50ms", "")  # 1000 bytes each time
    one.connect()
    other.connect()
    for _ in range(3):
        one.request(plain(one, size=500))
    one.event()
    assert len(one.statuses()) == 2
    assert let_time_pass(one) <= 50_000_000
    assert one.statuses() == [OKAY]
    assert len(other.received()) == 3


def let_time_pass(front: Netfront) -> int:
    """Until the next timer, which a backend has. Nanoseconds."""
    timers, clock = front.machine.platform.timers, front.machine.platform.clock
    began = clock.now()
    clock.idle_until(timers.next_deadline())
    timers.expire(clock.now())
    front.serve()
    return clock.now() - began


def test_frames_that_have_waited_too_long_are_lost(pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    for _ in range(34):
        one.send(plain(one))
    assert other.device.received.dropped == 0
    assert let_time_pass(one) <= PATIENCE
    assert other.device.received.dropped == 2
    assert len(other.received()) == 32
    other.post(1)
    one.send(plain(one, size=61))
    assert [len(frame) for frame in other.received()] == [61]


def test_pages_are_looked_for_where_no_event_tells_of_them(lan: Callable[..., list[Netfront]]) -> None:
    """A frontend without `feature-rx-notify` posts pages in silence."""
    one, other = lan("", "")
    one.connect()
    other.connect("request-rx-copy", posted=1)
    for size in (60, 61, 62):
        one.send(plain(one, size=size))
    assert [len(frame) for frame in other.received()] == [60]
    other.post(1, silently=True)
    assert other.received() == []
    assert let_time_pass(one) <= POLL
    assert [len(frame) for frame in other.received()] == [61]
    assert other.device.received.dropped == 1  # the other one had its chance


def test_a_firewall_stands_before_an_interface(machine: Machine, kernel: Image) -> None:
    vifs = Vif(rules=(parse_rule("drop out spoofed"), parse_rule("drop in type=0x88b6"))), Vif()
    one, other = (
        Netfront(machine, machine.create(kernel, DomainConfig(memory=MEMORY, devices=(vif,)))) for vif in vifs
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


def test_multicast_control(lan: Callable[..., list[Netfront]]) -> None:
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


def test_several_queues_with_channels_of_their_own(lan: Callable[..., list[Netfront]]) -> None:
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


def test_a_capture_shows_the_wire(lan: Callable[..., list[Netfront]], tmp_path: Path) -> None:
    path = tmp_path / "wire.pcap"
    one, other = lan(f"pcap={path}", f"pcap={tmp_path}/./wire.pcap")
    one.connect()
    other.connect()
    one.send(packet(one, other, IP() / TCP(chksum=1) / bytes(5000)), BLANK, segment_size=1400)
    data = path.read_bytes()
    assert data[:4] == bytes.fromhex("4d3cb2a1")
    assert data.count(one.mac) == 4 + 4  # as it was sent, and as it was received


def test_interfaces_come_and_go_while_a_domain_runs(
    machine: Machine, pair: tuple[Netfront, Netfront]
) -> None:
    """By the verbs of `paravane ctl`: the next free number; away when its frontend has let go."""
    one, other = pair
    VERBS["vif-attach"](machine, one.domain, "bridge=xenbr0,mac=00:16:3e:00:00:77")
    added = Netfront(machine, one.domain, 1, first_ref=200)
    assert added.connect() is XenbusState.Connected
    other.send(plain(other))
    assert len(added.received()) == 1
    VERBS["vif-detach"](machine, one.domain, "1")
    assert added.backend_state is XenbusState.Closing
    added.write("state", int(XenbusState.Closed))
    assert machine.store.find(added.back) is None
    VERBS["vif-detach"](machine, one.domain, "0,force")
    VERBS["vif-attach"](machine, one.domain, "")
    assert machine.store.read(f"{one.back}/mac") != one.mac.hex(":").encode()
    for number in ("7", "x"):
        with pytest.raises(RequestError, match="has no network interface"):
            VERBS["vif-detach"](machine, one.domain, number)
    with pytest.raises(ValueError, match="no Ethernet address"):
        VERBS["vif-attach"](machine, one.domain, "mac=5")


def test_interfaces_go_in_the_middle_of_a_burst(lan: Callable[..., list[Netfront]]) -> None:
    """Of a hundred frames one portion has passed when the first receiver is taken away, and another one
    when it is the sender's turn; who stays has all that was sent until then."""
    one, going, staying = lan("", "", "")
    for front in (one, going, staying):
        front.connect(posted=200)
    machine, bus = one.machine, one.machine.platform.bus
    for _ in range(100):
        one.request(plain(one))
    one.domain.events.send(one.port)
    bus.turn()
    VERBS["vif-detach"](machine, going.domain, "0,force")
    before = len(staying.received())
    assert 0 < before < 100
    bus.turn()
    VERBS["vif-detach"](machine, one.domain, "0,force")
    assert not bus.due
    after = len(staying.received())
    assert 0 < after < 100 - before
    VERBS["vif-attach"](machine, one.domain, "")
    back = Netfront(machine, one.domain, first_ref=300)
    back.connect()
    assert back.send(plain(back)) == [OKAY]
    assert staying.received() == [plain(back)]


def test_interfaces_are_listed_as_xl_lists_them(machine: Machine, pair: tuple[Netfront, Netfront]) -> None:
    one, _ = pair
    VERBS["vif-attach"](machine, one.domain, "mac=00:16:3e:00:00:77")
    rows = VERBS["network-list"](machine, one.domain, "")
    tx, rx = one.own("tx-ring-ref"), one.own("rx-ring-ref")
    assert list(lines("network-list", rows)) == [
        f"0   0  {one.mac.hex(':')}      0     4 {one.port:>6} {tx:>5}/{rx:<11} {one.back:<30}",
        f"1   0  00:16:3e:00:00:77      1     1     -1    -1/-1          {one.back[:-1]}1",
    ]
    assert HEADERS["network-list"].split() == (
        ["Idx", "BE", "Mac", "Addr.", "handle", "state", "evt-ch", "tx-/rx-ring-ref", "BE-path"]
    )
    one.write("event-channel", "\x1b[2J")  # for the terminal of whoever asks
    assert VERBS["network-list"](machine, one.domain, "")[0]["port"] == -1
    assert VERBS["block-list"](machine, one.domain, "") == []


# Frontends that do not keep to it.


def closed(front: Netfront, sentence: str) -> bool:
    front.serve()
    return front.backend_state is XenbusState.Closing and sentence in front.backend("error")


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        ({"request-rx-copy": "0", "feature-rx-flip": "0"}, "neither copied into nor exchanged"),
        ({"multi-queue-num-queues": "9"}, "9 queues"),
        ({"multi-queue-num-queues": "0"}, "0 queues"),
        ({"tx-ring-ref": "999999"}, "cannot be mapped"),
        ({"rx-ring-ref": "x"}, "is no number"),
        ({"event-channel": "77"}, "cannot be bound"),
        ({"feature-sg": "-1"}, "is no number"),
    ],
)
def test_a_frontend_that_cannot_connect_is_told_why(
    pair: tuple[Netfront, Netfront], nodes: dict[str, str], sentence: str
) -> None:
    one, other = pair
    one.switch(XenbusState.Closed)
    for name, value in nodes.items():
        one.write(name, value)
    one.switch(XenbusState.Connected)
    assert closed(one, sentence)
    other.send(plain(other))
    assert other.backend_state is XenbusState.Connected


def slot(front: Netfront, flags: int = 0, size: int = 60, offset: int = 0, ref: int | None = None) -> bytes:
    gref = front.buffer[0] if ref is None else ref
    return struct.pack("<IHHHH", gref, offset, flags, 7, size)


EXTRA, MORE = NetTxFlag.extra_info, NetTxFlag.more_data


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ([(MORE, 60)], "ends before its last slot"),
        ([(EXTRA, 60)], "ends before its last slot"),
        ([(EXTRA, 60), bytes(12)], "type 0"),
        ([(EXTRA, 60), b"\x09" + bytes(11)], "type 9"),
        ([(EXTRA, 60), struct.pack("<BBHBBHI", 1, 0, 0, 1, 0, 0, 0)], "segments of 0 bytes"),
        ([(EXTRA, 60), struct.pack("<BBHBBHI", 1, 0, 100, 3, 0, 0, 0)], "segments of type 3"),
        ([(EXTRA, 60), struct.pack("<BBHBBHI", 1, 1, 100, 1, 0, 0, 0)], "ends before its last slot"),
        ([(0, 5000)], "over the end of a page"),
        ([(MORE, 5000), (0, 10)], "over the end of a page"),
        ([(MORE, 5000)] * 21, "more than 20 slots"),
    ],
)
def test_slots_that_are_no_packet_close_the_device(
    pair: tuple[Netfront, Netfront], slots: list[Any], sentence: str
) -> None:
    one, other = pair
    for entry in slots:
        one.tx.put(entry if isinstance(entry, bytes) else slot(one, *entry))
    one.event()
    assert closed(one, sentence)
    assert other.send(plain(other)) == [OKAY]
    one.switch(XenbusState.Initialising)
    assert one.connect() is XenbusState.Connected
    assert one.send(plain(one)) == [OKAY]


@pytest.mark.parametrize(
    "slots",
    [
        [{"size": 13}],
        [{"size": 0}],
        [{"ref": 0xFFFF_FFFF}],
        [{"flags": MORE, "size": 100}, {"size": 101}],
        [{"flags": MORE, "size": 60000}] + [{"flags": MORE, "size": 100}] * 17 + [{"size": 100}],
    ],
    ids=["short", "empty", "no-reference", "negative-first", "nineteen"],
)
def test_a_packet_that_cannot_be_sent_is_answered_with_an_error(
    pair: tuple[Netfront, Netfront], slots: list[dict[str, int]]
) -> None:
    one, other = pair
    for fields in slots:
        one.tx.put(slot(one, **fields))
    one.event()
    assert one.statuses() == [ERROR] * len(slots)
    assert one.send(plain(one)) == [OKAY]
    assert other.received() == [plain(one)]


def test_a_page_that_cannot_be_written_is_answered_with_an_error(
    pair: tuple[Netfront, Netfront], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    other.revoke(other.posted[0][0])
    one.send(plain(one))
    one.send(plain(one))
    statuses = [struct.unpack_from("<HHHh", entry)[3] for entry in other.rx.take()]
    assert statuses == [ERROR, 60]
    assert "vif/0: a frame cannot be received: " in caplog.text


@pytest.mark.parametrize("ring", ["tx", "rx"])
def test_an_impossible_ring_closes_its_own_device_only(pair: tuple[Netfront, Netfront], ring: str) -> None:
    """The receive ring is found out by the neighbour's frame, in the middle of the neighbour's work."""
    one, other = pair
    getattr(other, ring).set("req_prod", 0x8000_0000)
    if ring == "tx":
        other.event()
    assert one.send(plain(one)) == [OKAY]
    assert closed(other, "its ring is impossible")
    assert one.backend_state is XenbusState.Connected


def test_transmitters_have_their_turns(lan: Callable[..., list[Netfront]]) -> None:
    """Who floods the network keeps nobody from it: each has a portion, in turn."""
    flooding, quiet, other = lan("", "", "")
    for front in (flooding, quiet, other):
        front.connect(posted=200)
    for _ in range(200):
        flooding.request(plain(flooding))
    flooding.domain.events.send(flooding.port)
    quiet.request(plain(quiet))
    quiet.domain.events.send(quiet.port)
    bus = flooding.machine.platform.bus
    bus.turn()
    assert quiet.statuses() == [OKAY]
    assert 0 < len(flooding.statuses()) < 100
    flooding.serve()


def test_a_domain_that_goes_leaves_the_network(machine: Machine, pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    one.send(plain(one))
    machine.destroy(one.domain)
    assert other.send(plain(other, one)) == [OKAY]
    assert [port.name for port in other.device.network.switch("xenbr0").ports] == ["vif2.0"]
