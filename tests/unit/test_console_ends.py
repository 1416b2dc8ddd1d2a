"""What consoles are joined to on the host: who listens, who is slow, who goes, and what is kept meanwhile."""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
import stat
from typing import TYPE_CHECKING, Any, cast

import pytest

from paravane.devices.console import parse_console
from paravane.devices.console.stream_end import LIMIT
from paravane.inbox import Inbox
from tests.support.boot import HOST_TIMEOUT
from tests.support.patience import open_files, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paravane.devices.console import HostEnd
    from paravane.devices.xenbus import DeviceHost


class Ring:
    """A console whose guest takes input when it is told to, and writes what its end takes."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.room = 1 << 16
        self.unwritten = b""
        self.end: HostEnd | None = None
        self._waiting: list[Callable[[], None]] = []

    def feed(self, data: bytes) -> int:
        assert len(data) <= self.room
        self.taken += data
        self.room -= len(data)
        return len(data)

    def when_room(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def make_room(self, size: int) -> None:
        self.room += size
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    def write(self, data: bytes) -> None:
        self.unwritten += data
        self.resume()

    def resume(self) -> None:
        if self.unwritten and self.end is not None:
            taken = self.end.write(self.unwritten)
            self.unwritten = b"" if taken is None else self.unwritten[taken:]


class Host:
    """As much of a machine as ends need."""

    def __init__(self, *, counted: bool = False) -> None:
        self.outside = Inbox()
        self.counted = counted

    def turn(self, times: int = 8) -> None:
        """Deliver what has come, as between time slices."""
        for _ in range(times):
            self.outside.deliver(0.0)

    def until(self, condition: Callable[[], object]) -> None:
        """Deliver what comes until this holds: the host takes its time with what is sent by TCP."""
        until(condition, lambda: self.outside.deliver(0.01))

    def rests(self) -> bool:
        """Whether nothing keeps the machine from sleeping, once what there was is delivered."""
        return any(not self.outside.deliver(0.0) for _ in range(1000))


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    assert not host.outside.watching
    host.outside.close()


@pytest.fixture
def open_end(host: Host) -> Iterator[Callable[[str], tuple[Any, Ring]]]:
    """Opens the end that a text describes, and joins a console to it."""
    opened: list[HostEnd] = []

    def make(text: str, host: Host = host) -> tuple[HostEnd, Ring]:
        end = parse_console(text).open(cast("DeviceHost", host))
        opened.append(end)
        ring = Ring()
        ring.end = end
        end.join(ring)
        return end, ring

    yield make
    for end in opened:
        end.close()
        end.close()


def called(address: str) -> socket.socket:
    """A client of the end at this address."""
    if "/" in address:
        client = socket.socket(socket.AF_UNIX)
        client.connect(address)
    else:
        name, _, port = address.rpartition(":")
        client = socket.create_connection((name.strip("[]"), int(port)))
    client.settimeout(HOST_TIMEOUT)
    return client


def there(client: socket.socket) -> bytes | None:
    """What has come, nothing at its end, None while there is nothing."""
    return client.recv(1 << 16) if select.select([client], [], [], 0)[0] else None


def received(client: socket.socket, count: int, host: Host) -> bytes:
    """So many bytes, or all there are."""
    found, ended = bytearray(), False

    def complete() -> bool:
        nonlocal ended
        if (data := there(client)) is not None:
            found.extend(data)
            ended = not data
        return ended or len(found) >= count

    host.until(complete)
    return bytes(found)


@pytest.mark.parametrize("text", ["tcp:0", "tcp:127.0.0.1:0", "unix:{}"])
def test_a_client_reads_and_types(
    text: str, host: Host, open_end: Callable[[str], tuple[Any, Ring]], tmp_path: Path
) -> None:
    end, ring = open_end(text.format(tmp_path / "console"))
    ring.write(b"before anybody came\n")
    with called(end.address) as client:
        assert received(client, 20, host) == b"before anybody came\n"
        client.sendall(b"keys\xff\x00")
        host.until(lambda: ring.taken == b"keys\xff\x00")
        ring.write(b"more")
        assert received(client, 4, host) == b"more"
    assert host.rests()
    kept = b""
    if text.startswith("tcp"):
        # One end of a connection cannot be told from the whole, before something is sent to who has gone.
        host.until(lambda: end.write(b".") and not end.present)
        kept = b"."  # what could not be sent
    ring.write(b"nobody hears this at once")
    assert not ring.unwritten
    kept += b"nobody hears this at once"
    with called(end.address) as client:
        assert received(client, len(kept), host) == kept
    assert host.rests()


def test_what_has_taken_a_sockets_place_stays(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]], tmp_path: Path
) -> None:
    """A folder, a file, another console."""
    path = tmp_path / "guest.sock"

    def closed() -> None:
        end, _ = open_end(f"unix:{path}")
        path.unlink()
        replace[kind]()
        end.close()

    replace: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "file": path.touch,
        "console": lambda: open_end(f"unix:{path}"),
    }
    for kind in replace:
        closed()
        assert path.exists(), kind
        if kind == "console":
            called(str(path)).close()
        else:
            path.rename(tmp_path / kind)


def test_a_socket_is_its_users_alone_and_goes_with_its_console(
    open_end: Callable[[str], tuple[Any, Ring]], tmp_path: Path
) -> None:
    path = tmp_path / "console"
    end, _ = open_end(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    end.close()
    assert not path.exists()


def test_without_a_host_only_the_loopback_is_listened_to(
    open_end: Callable[[str], tuple[Any, Ring]],
) -> None:
    end, _ = open_end("tcp:0")
    assert end.address.startswith("127.0.0.1:")


@pytest.mark.parametrize("kind", ["tcp:0", "unix", "pty"])
def test_who_reads_slowly_has_the_guest_wait_and_loses_nothing(
    kind: str, host: Host, open_end: Callable[[str], tuple[Any, Ring]], tmp_path: Path
) -> None:
    end, ring = open_end(f"unix:{tmp_path / 'console'}" if kind == "unix" else kind)
    told = bytes(range(256)) * 64 * 256  # more than any host keeps on its way
    with Listener(end.address) as listener:
        host.until(lambda: end.present)
        ring.write(told)
        assert host.rests()
        assert ring.unwritten, "all was taken though nobody has read"
        found = bytearray()
        while len(found) < len(told):
            found += listener.read()
            host.turn(1)
        assert bytes(found) == told
        assert not ring.unwritten
        assert host.rests()


def test_a_run_that_is_counted_does_not_see_who_reads(tmp_path: Path) -> None:
    host = Host(counted=True)
    end = parse_console(f"unix:{tmp_path / 'console'}").open(cast("DeviceHost", host))
    told = bytes(range(256)) * 64 * 256
    with called(end.address) as client:
        host.turn()
        assert end.write(told) == len(told)
        found = bytearray()
        while not found.endswith(told[-LIMIT:]):
            found += received(client, 1, host)
        assert found[: len(found) - LIMIT] == told[: len(found) - LIMIT]
        end.close()
    host.outside.close()


@pytest.mark.parametrize("kind", ["tcp:0", "pty"])
def test_what_nobody_hears_is_bounded(
    kind: str, host: Host, open_end: Callable[[str], tuple[Any, Ring]]
) -> None:
    end, ring = open_end(kind)
    for number in range(4 * LIMIT // 64):
        ring.write(b"%063d\n" % number)
    assert not ring.unwritten
    with Listener(end.address) as listener:
        found = bytearray()
        while len(found) < LIMIT:
            host.turn(1)
            found += listener.read()
    assert found.splitlines() == [b"%063d" % number for number in range(3 * LIMIT // 64, 4 * LIMIT // 64)]


def test_input_waits_for_the_guest(host: Host, open_end: Callable[[str], tuple[Any, Ring]]) -> None:
    end, ring = open_end("tcp:0")
    ring.room = 3
    with called(end.address) as client:
        client.sendall(b"abcdefgh")
        host.until(lambda: ring.taken == b"abc")
        assert host.rests()
        ring.make_room(2)
        host.until(lambda: ring.taken == b"abcde")
        assert host.rests()
        ring.make_room(100)
        host.until(lambda: ring.taken == b"abcdefgh")
        # One that floods is no longer listened to once the guest has enough.
        ring.room = 0
        client.setblocking(False)
        try:
            while client.send(b"x" * 65536):
                host.turn(1)
        except BlockingIOError:
            assert host.rests()
        assert ring.taken == b"abcdefgh"


def test_who_has_nothing_more_to_type_still_listens(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]]
) -> None:
    end, ring = open_end("tcp:0")
    with called(end.address) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        host.until(lambda: ring.taken == b"last words")
        assert host.rests()
        ring.write(b"an answer")
        assert received(client, 9, host) == b"an answer"


def test_who_comes_takes_the_console_over(host: Host, open_end: Callable[[str], tuple[Any, Ring]]) -> None:
    end, ring = open_end("tcp:0")
    with called(end.address) as first:
        host.until(lambda: end.present)
        ring.write(b"one")
        with called(end.address) as second:
            assert received(first, 99, host) == b"one"
            ring.write(b"two")
            assert received(second, 3, host) == b"two"
            second.sendall(b"mine")
            host.until(lambda: ring.taken == b"mine")


def test_a_thousand_clients_leave_nothing_behind(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]], tmp_path: Path
) -> None:
    end, ring = open_end(f"unix:{tmp_path / 'console'}")
    host.turn()
    before = open_files()
    for number in range(1000):
        with called(end.address) as client:
            client.sendall(b"%d " % number)
            host.turn(2)
            ring.write(b"x" * 100)
        host.turn(1)
    host.turn()
    assert open_files() == before
    assert ring.taken.split() == [b"%d" % number for number in range(1000)]


def test_without_descriptors_nobody_is_admitted_for_a_while(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]], caplog: pytest.LogCaptureFixture
) -> None:
    end, ring = open_end("tcp:0")
    gc.collect()  # nothing that an earlier test has left is closed from here on: no lower number is free
    with called(end.address) as client:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
        try:
            host.until(lambda: caplog.records)
            assert host.rests()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert [record.getMessage() for record in caplog.records] == [
            f"the console at {end.address} takes nobody for now: Too many open files"
        ]
        ring.write(b"next output")
        assert received(client, 11, host) == b"next output"


def test_a_client_that_resets_its_connection_is_gone(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]]
) -> None:
    end, ring = open_end("tcp:0")
    client = called(end.address)
    host.until(lambda: end.present)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    host.until(lambda: not end.present)
    assert host.rests()
    ring.write(b"kept")
    with called(end.address) as client:
        assert received(client, 4, host) == b"kept"


def test_what_was_put_out_last_arrives_though_input_was_not_read(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]]
) -> None:
    end, ring = open_end("tcp:0")
    ring.room = 0
    with called(end.address) as client:
        host.until(lambda: end.present)
        client.sendall(b"never taken")
        ring.write(b"goodbye")
        end.finish()
        end.close()
        assert client.recv(100) == b"goodbye"
        assert client.recv(100) == b""


class Listener:
    """Whoever listens at an address: a terminal's path, or a socket's."""

    def __init__(self, address: str) -> None:
        self._socket = None if address.startswith("/dev/") else called(address)
        flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK
        self._fd = os.open(address, flags) if self._socket is None else os.dup(self._socket.fileno())

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        if self._socket is not None:
            self._socket.close()

    def type(self, data: bytes) -> None:
        os.write(self._fd, data)

    def read(self) -> bytes:
        """What is there now."""
        try:
            if self._socket is not None:
                return there(self._socket) or b""
            return os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return b""


def test_a_terminal_is_opened_closed_and_opened_again(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]]
) -> None:
    end, ring = open_end("pty")
    assert end.tty == end.address
    ring.write(b"kept")
    for number in range(3):
        assert host.rests()
        with Listener(end.tty) as listener:
            assert host.rests()
            assert listener.read() == (b"kept" if number == 0 else b"away")
            # Every byte is data: nothing is echoed, nothing means a signal.
            listener.type(b"\x03\x04\r\n")
            host.turn()
            assert ring.taken[-4:] == b"\x03\x04\r\n"
            ring.write(b"\n\r")
            assert listener.read() == b"\n\r"
        assert host.rests()
        ring.write(b"away")
        assert not ring.unwritten


def test_who_opens_a_terminal_only_to_type_is_heard(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]]
) -> None:
    end, ring = open_end("pty")
    with Listener(end.tty) as listener:
        listener.type(b"and gone")
    assert host.rests()
    assert ring.taken == b"and gone"
    ring.room = 0
    with Listener(end.tty) as listener:
        listener.type(b"too early")
    ring.write(b"all of it")
    assert host.rests()
    ring.make_room(20)
    assert host.rests()
    assert ring.taken == b"and gonetoo early"


def test_a_file_grows(host: Host, open_end: Callable[[str], tuple[Any, Ring]], tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    for word in (b"one ", b"two"):
        end, ring = open_end(f"file:{path}")
        ring.write(word)
        end.close()
    assert path.read_bytes() == b"one two"


def test_a_full_disk_ends_a_file_with_one_line(
    open_end: Callable[[str], tuple[Any, Ring]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    _, ring = open_end(f"file:{path}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        for _ in range(3):
            ring.write(b"1234567")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"1234567123"
    assert [record.getMessage() for record in caplog.records] == [
        f"what a console writes is kept in {path} no more: File too large"
    ]
    assert not ring.unwritten


def test_what_is_no_file_is_no_file_of_a_console(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]]
) -> None:
    with pytest.raises(ValueError, match=r"cannot write a console into /dev/full, which is no file"):
        parse_console("file:/dev/full").open(cast("DeviceHost", host))
    _, ring = open_end("file:/dev/null")
    ring.write(b"x" * 10)
    assert not ring.unwritten


def test_a_log_has_what_was_taken_and_that_once(
    host: Host, open_end: Callable[[str], tuple[Any, Ring]], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    end, ring = open_end(f"tcp:0,log={path}")
    told = bytes(range(256)) * 64 * 256
    with called(end.address) as client:
        ring.write(told[:1])
        assert received(client, 1, host) == told[:1], "somebody listens"
        ring.write(told[1:])
        assert ring.unwritten
        assert path.read_bytes() == told[: len(told) - len(ring.unwritten)]
        received(client, len(told) - 1, host)
    assert path.read_bytes() == told


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tcp:no.such.host.invalid:1", "no console at tcp:no.such.host.invalid:1: "),
        ("tcp:192.0.2.1:1", "no console at tcp:192.0.2.1:1: "),
        ("unix:/nowhere/at/all", "no console at unix:/nowhere/at/all: No such file"),
        ("unix:/dev/null", "it is there already, and no socket"),
        (f"unix:{'x' * 200}", "no console at unix:x.*: File name too long"),
        ("file:/nowhere/at/all", "cannot write /nowhere/at/all: No such file"),
        ("file:/dev/tty0", "cannot write"),
        ("pty,log=/nowhere/at/all", "cannot write /nowhere/at/all: No such file"),
        ("stdio", "cannot be on standard input and output here"),
    ],
)
def test_what_cannot_be_had_is_one_sentence_and_leaves_nothing(text: str, sentence: str, host: Host) -> None:
    before = open_files()
    with pytest.raises(ValueError, match=sentence):
        parse_console(text).open(cast("DeviceHost", host))
    assert open_files() == before


def test_a_port_that_is_taken_is_said(host: Host, open_end: Callable[[str], tuple[Any, Ring]]) -> None:
    end, _ = open_end("tcp:0")
    with pytest.raises(ValueError, match="already in use"):
        parse_console(f"tcp:{end.address}").open(cast("DeviceHost", host))
