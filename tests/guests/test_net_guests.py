"""The kernel `net`: two domains on one network as tshark sees them, and a way out to the host."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, StopReason
from paravane.chosen import choose
from paravane.devices.net import parse_rule
from paravane.devices.net.passt import GATEWAY, GUEST
from paravane.devices.net.vif import Vif, parse_vif
from paravane.guest_kernels import folder_of
from paravane.time.clock import HostClock
from tests.support.boot import HOST_TIMEOUT, paravane
from tests.support.needs import path_with
from tests.support.packets import bad_checksums, dissect

if TYPE_CHECKING:
    from pathlib import Path

    from paravane import Domain, Image

MEMORY = 4 << 20
ASK, SERVE = "ip=10.0.0.1 peer=10.0.0.2", "serve ip=10.0.0.2"
TALK = """\
00:16:3e:00:00:01 is 10.0.0.1
00:16:3e:00:00:02 is 10.0.0.2
echo 1 came back
echo 2 came back
echo 3 came back
the server says: hello from another domain
"""


@pytest.fixture(scope="module")
def kernel() -> Image:
    return choose(folder_of("net") / "net.S", [], {}).image


def pair(machine: Machine, kernel: Image, *vifs: Vif, ask: str = ASK) -> list[Domain]:
    """The two sides, each with an interface."""
    return [
        machine.create(kernel, DomainConfig(memory=MEMORY, cmdline=cmdline, devices=(vif,)))
        for cmdline, vif in zip((ask, SERVE), vifs, strict=True)
    ]


def packets(path: Path) -> list[tuple[str, ...]]:
    """The protocol of each packet of a capture, with its operation, type or length."""
    rows = dissect(path, "frame.protocols", "arp.opcode", "icmp.type", "udp.length")
    return [(row[0].split(":")[2 if "arp" in row[0] else 3], *filter(None, row[1:])) for row in rows]


def test_two_domains_talk_and_tshark_understands_them(kernel: Image, tmp_path: Path) -> None:
    path = tmp_path / "wire.pcap"
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        ask, serve = pair(machine, kernel, parse_vif(f"pcap={path}"), Vif())
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert ask.console_output().decode() == TALK
        assert serve.console_output().decode() == (
            "00:16:3e:00:00:02 is 10.0.0.2\n10.0.0.1 says: hello from another domain\n10.0.0.1 says: bye\n"
        )
        assert machine.audit() == []
    kinds = packets(path)
    asked = kinds.index(("arp", "2"))
    assert set(kinds[:asked]) == {("arp", "1")}
    echoes = [("icmp", "8"), ("icmp", "0")] * 3
    assert kinds[asked + 1 :] == [*echoes, ("udp", "33"), ("udp", "33"), ("udp", "11")]
    assert bad_checksums(path) == []


def test_a_deterministic_run_captures_the_same_bytes(kernel: Image, tmp_path: Path) -> None:
    captures = []
    for number in range(2):
        path = tmp_path / f"{number}.pcap"
        with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=100_000) as machine:
            pair(machine, kernel, parse_vif(f"pcap={path}"), Vif())
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        captures.append(path.read_bytes())
    assert captures[0] == captures[1]


def test_pages_are_exchanged_where_the_guest_takes_that(kernel: Image) -> None:
    """More frames come than the domain could have in addition: each is for one that was given back."""
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        ask, serve = pair(machine, kernel, Vif(), Vif(), ask=f"{ASK} flip pings=300")
        assert ask.memory.max_pages - ask.memory.tot_pages < 300
        pages = ask.memory.tot_pages, serve.memory.tot_pages
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert ask.console_output().decode().count("came back") == 300
        assert ask.console_output().endswith(b"the server says: hello from another domain\n")
        posted = 16  # pages that nothing came for, and one that is held
        assert (ask.memory.tot_pages, serve.memory.tot_pages) == (pages[0] - posted + 1, pages[1])
        assert machine.audit() == []


def test_a_firewall_keeps_the_sides_apart(kernel: Image) -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        rules = parse_rule("drop in proto=icmp"), parse_rule("rate=1KB/s@1s out proto=udp")
        ask, _ = pair(machine, kernel, Vif(), Vif(rules=rules))
        machine.run(timeout=HOST_TIMEOUT)
        console = ask.console_output().decode()
        assert console.count("is lost") == 3
        assert "the server says: hello" in console


def test_a_rate_slows_a_domain_down_and_loses_nothing(kernel: Image) -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        ask, _ = pair(machine, kernel, parse_vif("rate=1KB/s@200ms"), Vif(), ask=f"{ASK} pings=20")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert ask.console_output().decode().count("came back") == 20
        assert machine.platform.clock.now() > 1_500_000_000


def test_the_pair_is_run_from_files_and_each_sides_capture_is_good(tmp_path: Path) -> None:
    """tshark finds every checksum right. The capture of the side that asks has the same packets, after those
    that it sent in vain."""
    files = []
    for name in ("ask", "serve"):
        text = (folder_of("net") / f"{name}.cfg").read_text(encoding="utf-8")
        files.append(tmp_path / f"{name}.cfg")
        files[-1].write_text(
            text.replace("net.S", "net").replace("bridge=br0", f"bridge=br0,pcap={tmp_path}/{name}.pcap")
        )
    done = paravane("run", *map(str, files), "--timeout", str(HOST_TIMEOUT))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert sorted(lines) == sorted(
        [f"ask   | {line}" for line in TALK.splitlines()]
        + ["serve | 00:16:3e:00:00:02 is 10.0.0.2", "serve | 10.0.0.1 says: hello from another domain"]
        + ["serve | 10.0.0.1 says: bye"]
    )
    talk = ("arp", "2"), *[("icmp", "8"), ("icmp", "0")] * 3, *[("udp", "33")] * 2, ("udp", "11")
    asked, served = (tmp_path / f"{name}.pcap" for name in ("ask", "serve"))
    assert tuple(packets(served))[-len(talk) :] == talk
    assert bad_checksums(served) == []
    header = 24  # of a capture (pcap-savefile(5))
    assert asked.read_bytes().endswith(served.read_bytes()[header:])


def test_a_capture_by_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "wire.pcap"
    done = paravane("boot", "net", "--vif", f"mac=00:16:3e:aa:bb:cc,pcap={path}")
    assert done.returncode == 0
    assert done.stdout.startswith(b"00:16:3e:aa:bb:cc is 10.0.0.1\n")
    assert len(dissect(path, "arp.src.hw_mac")) == 20


@pytest.mark.parametrize(
    ("vif", "sentence"),
    [
        ("mac=5", b"'5' is no Ethernet address"),
        ("pcap=/nowhere/x", b"cannot write /nowhere/x: No such file or directory"),
        ("tap=lo", b"cannot have the tap device lo: "),
    ],
)
def test_an_interface_that_cannot_be_had_is_told_by_a_line(vif: str, sentence: bytes) -> None:
    done = paravane("boot", "net", "--vif", vif)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert b"Traceback" not in done.stderr


def test_who_is_alone_hears_nobody(kernel: Image) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain = machine.create(kernel, DomainConfig(memory=MEMORY, cmdline=ASK, devices=(Vif(),)))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.console_output().endswith(b"nobody is 10.0.0.2\n")
        assert domain.reason is ShutdownReason.poweroff


def test_a_domain_reaches_a_server_of_the_hosts_through_passt(
    kernel: Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", path_with("passt"))
    heard: list[bytes] = []
    path = tmp_path / "out.pcap"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(HOST_TIMEOUT)

        def answer() -> None:
            while not heard or heard[-1] != b"bye":
                data, address = server.recvfrom(2048)
                heard.append(data)
                server.sendto(b"the host heard you", address)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        # By the clock of a host that may have other things to do first.
        patience = round(HOST_TIMEOUT * 1000 / 20)
        words = f"ip={GUEST} peer={GATEWAY} port={server.getsockname()[1]} pings=0 patience={patience}"
        with Machine(Machine.size_for(MEMORY), clock=HostClock()) as machine:
            vif = parse_vif(f"passt,pcap={path}")
            domain = machine.create(kernel, DomainConfig(memory=MEMORY, cmdline=words, devices=(vif,)))
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
            console = domain.console_output().decode()
        thread.join(HOST_TIMEOUT)
    assert console.endswith(f"is {GATEWAY}\nthe server says: the host heard you\n")
    assert heard == [b"hello from another domain", b"bye"]
    assert bad_checksums(path) == []
