"""Captures as tshark reads them, passt as it is, and a passt that misbehaves."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from paravane.devices.net import Frame, NetError, Offloads, Switch, passt, tap
from paravane.devices.net.passt import GATEWAY, GUEST, Passt
from paravane.devices.net.pcap import Capture
from paravane.devices.net.tap import Tap
from paravane.inbox import Inbox
from tests.support.needs import path_with
from tests.support.packets import bad_checksums, dissect
from tests.support.patience import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

MAC = "00:16:3e:00:00:01"
HEADER = b"\xff" * 6 + bytes([2] * 6) + b"\x88\xb5"


class Host:
    offloads = Offloads()

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def deliver(self, frame: Frame) -> bool:
        self.frames.append(frame.data)
        return True


def test_tshark_reads_a_capture_with_good_checksums(tmp_path: Path) -> None:
    """Also of frames whose sender left the checksums, and the segmentation, to others."""
    path = tmp_path / "wire.pcap"
    capture = Capture(str(path), lambda: 1_000_000_000_123_456_789)
    link = Ether(src=MAC, dst="00:16:3e:00:00:02")
    capture.record(Frame(bytes(link / ARP(psrc="10.0.0.1", pdst="10.0.0.2"))))
    capture.record(Frame(bytes(link / IP() / UDP(sport=1000, dport=2000, chksum=1) / b"hello"), blank=True))
    capture.record(Frame(bytes(link / IP() / TCP(chksum=1) / bytes(3000)), segment_size=1000))
    capture.record(Frame(b"short"))
    capture.record(Frame(bytes(link / IP() / UDP(sport=1000, dport=2000, chksum=1) / b"wrong")))
    capture.close()
    rows = dissect(path, "frame.time_epoch", "_ws.col.Protocol", "tcp.len")
    assert [row[1] for row in rows[:2]] == ["ARP", "UDP"]
    assert [row[2] for row in rows[2:5]] == ["1000"] * 3
    assert {row[0] for row in rows} == {"1000000000.123456789"}
    assert bad_checksums(path) == [["7"]]  # its sender said that it was right


def test_a_capture_that_cannot_go_on_ends_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "wire.pcap"
    capture = Capture(str(path), lambda: 0)
    capture.record(Frame(bytes(60)))
    good = path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:9]))
    capture.record(Frame(bytes(60)))
    monkeypatch.undo()
    capture.record(Frame(bytes(60)))
    assert path.read_bytes() == good
    assert "ends: there is no room for more" in caplog.text

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    other = Capture(str(path), lambda: 0)
    monkeypatch.setattr(os, "write", full)
    other.record(Frame(bytes(60)))
    assert "No space left on device" in caplog.text


def test_only_files_are_captured_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none" / "wire.pcap", "/dev/full"):
        with pytest.raises(NetError, match=r"^cannot "):
            Capture(str(path), lambda: 0)


def test_passt_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path_with("passt"))
    inbox, host, switch = Inbox(), Host(), Switch("br0", lambda: 0)
    port = switch.plug("vif", host)
    out = Passt(inbox, switch)
    question = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=MAC, psrc=GUEST, pdst=GATEWAY)
    port.send(Frame(bytes(question)))
    until(lambda: host.frames, lambda: inbox.deliver(1.0))
    answer = Ether(host.frames[0])
    assert (answer.dst, answer[ARP].op, answer[ARP].psrc) == (MAC, 2, GATEWAY)
    out.close()
    out.close()
    assert not out.alive
    assert not inbox.watching
    inbox.close()


def _peer(monkeypatch: pytest.MonkeyPatch) -> tuple[Passt, socket.socket, Host, Inbox]:
    """Passt's station with its socket's other end in our hands; its process is one that does nothing."""
    ours, its = socket.socketpair()
    ours.setblocking(False)
    real = subprocess.Popen(["sleep", "1000"], stderr=subprocess.PIPE)
    monkeypatch.setattr(passt, "_start", lambda: (ours, real))
    monkeypatch.setattr(passt, "_PATIENCE", 0.01)
    inbox, host, switch = Inbox(), Host(), Switch("br0", lambda: 0)
    switch.plug("vif", host)
    return Passt(inbox, switch), its, host, inbox


def _framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def test_frames_come_whole_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    out, its, host, inbox = _peer(monkeypatch)
    frames = [HEADER + bytes([number]) * 40 * number for number in range(5)]
    stream = b"".join(map(_framed, frames))
    for at in range(0, len(stream), 7):
        its.send(stream[at : at + 7])
        inbox.deliver(0)
    assert host.frames == frames
    its.send(stream + _framed(b""))
    inbox.deliver(0)
    assert host.frames == frames * 2
    out.close()
    its.close()
    inbox.close()


def test_a_full_socket_drops_frames_but_tears_none(monkeypatch: pytest.MonkeyPatch) -> None:
    out, its, _, inbox = _peer(monkeypatch)
    frames = [HEADER + number.to_bytes(2, "big") * 15_000 for number in range(200)]
    taken = [frame for frame in frames if out.deliver(Frame(frame))]
    assert 0 < len(taken) < len(frames)
    its.setblocking(False)
    arrived = b""
    while select.select([its], [], [], 0)[0]:
        arrived += its.recv(1 << 20)
        inbox.deliver(0)
    assert arrived == b"".join(map(_framed, taken))
    assert out.deliver(Frame(frames[0]))
    assert not out.deliver(Frame(bytes(70_000)))
    out.close()
    its.close()
    inbox.close()


@pytest.mark.parametrize("end", ["closed", "nonsense", "send"])
def test_a_passt_that_is_lost_takes_only_the_way_out_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    out, its, host, inbox = _peer(monkeypatch)
    switch = out.port.switch
    if end == "nonsense":
        its.send(b"\xff" * 8)
    else:
        its.close()
    if end == "send":
        assert not out.deliver(Frame(bytes(60)))
    else:
        inbox.deliver(0)
    assert not out.alive
    assert caplog.text.count("passt is gone") == 1
    assert [port.name for port in switch.ports] == ["vif"]
    assert not out.deliver(Frame(bytes(60)))
    assert not inbox.watching
    assert host.frames == []
    its.close()
    inbox.close()


def test_a_passt_that_ends_is_quoted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """It says a great deal before: nobody may be held up by that, least of all passt itself."""
    script = "#!/bin/sh\nyes noise | head -c 300000 >&2\nprintf 'No \033 interface\\n' >&2\nexit 1\n"
    (tmp_path / "passt").write_text(script)
    (tmp_path / "passt").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    inbox = Inbox()
    out = Passt(inbox, Switch("br0", lambda: 0))
    until(lambda: not out.alive, lambda: inbox.deliver(1.0))
    assert caplog.messages[-1].endswith("it has closed its socket (No \\x1b interface)")
    assert not inbox.watching
    inbox.close()


def test_without_passt_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NetError, match="not on this machine"):
        Passt(Inbox(), Switch("br0", lambda: 0))
    (tmp_path / "passt").write_text("nonsense")
    (tmp_path / "passt").chmod(0o755)
    with pytest.raises(NetError, match="cannot start"):
        Passt(Inbox(), Switch("br0", lambda: 0))


def test_a_tap_device_is_a_station_like_any_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Played by a socket that keeps frames apart, as /dev/net/tun does: not everybody may have a device."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    monkeypatch.setattr(tap, "_open", lambda name: ours.detach())
    inbox, host, switch = Inbox(), Host(), Switch("br0", lambda: 0)
    port = switch.plug("vif", host)
    device = Tap("tap0", inbox, switch)
    for number in range(3):
        its.send(HEADER + bytes([number]) * 46)
    inbox.deliver(0)
    assert [frame[-1] for frame in host.frames] == [0, 1, 2]
    port.send(Frame(HEADER + b"out"))
    assert its.recv(2000) == HEADER + b"out"
    while device.deliver(Frame(HEADER + bytes(1000))):
        pass  # until its queue is full
    assert device.alive
    device.close()
    device.close()
    assert not device.deliver(Frame(HEADER))
    assert [port.name for port in switch.ports] == ["vif"]
    assert not inbox.watching
    inbox.close()
    its.close()


@pytest.mark.parametrize("name", ["", "a" * 16, "a/b", "tap%d", "lo"])
def test_a_tap_device_that_cannot_be_had(name: str) -> None:
    with pytest.raises(NetError, match=r"^[^\n]+$"):
        Tap(name, Inbox(), Switch("br0", lambda: 0))
