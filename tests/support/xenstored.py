"""Debian's xenstored without Xen, and its clients: the measure of ours (tests/support/xenstored_host.c)."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from paravane.abi.xs_wire import XENSTORE_DOMAIN_INTERFACE, XENSTORE_RING_SIZE, XSD_SOCKMSG, XsMessage
from tests.support.boot import HOST_TIMEOUT
from tests.support.needs import XENSTORED, require, tool
from tests.support.xenstore_guest import request

if TYPE_CHECKING:
    from collections.abc import Iterable

_OFFSETS = XENSTORE_DOMAIN_INTERFACE.offsets
Answer = tuple[int, bytes]
"""Type and payload of a message."""


class Xenstored:
    """The daemon in a folder of its own. Close it."""

    def __init__(self, folder: Path, domains: Iterable[int]) -> None:
        program, host = require(XENSTORED), folder / "host.so"
        source = Path(__file__).with_name("xenstored_host.c")
        subprocess.run([tool("gcc"), "-shared", "-fPIC", "-o", host, source, "-ldl"], check=True)
        (folder / "port").write_text("1")
        for domid in (0, *domains):
            (folder / f"ring-{domid}").write_bytes(bytes(mmap.PAGESIZE))
        os.mkfifo(folder / "events")
        self.folder = folder
        self._events = os.open(folder / "events", os.O_RDWR)
        environment = {
            **os.environ,
            "LD_PRELOAD": str(host),
            "LD_LIBRARY_PATH": str(program.parents[2] / "x86_64-linux-gnu"),
            "XENSTORED_RUNDIR": str(folder),
            "XENSTORED_ROOTDIR": str(folder),
        }
        self._process = subprocess.Popen(
            [program, "-N"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + HOST_TIMEOUT
        while not self._listens():
            assert self._process.poll() is None, "xenstored does not run"
            assert time.monotonic() < deadline, "xenstored does not come up"
            time.sleep(0.01)

    def client(self) -> SocketClient:
        """One with the rights of domain 0."""
        return SocketClient(self.folder / "socket")

    def guest(self, domid: int, control: SocketClient) -> RingClient:
        """A domain, which `control` introduces."""
        assert control.ask(XsMessage.INTRODUCE, b"%d\0000\0%d\0" % (domid, domid + 1)) == b"OK\0"
        return RingClient(self.folder / f"ring-{domid}", domid + 1, self._events)

    def _listens(self) -> bool:
        """Its socket is there before anybody may call it."""
        try:
            self.client().close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._events)


class _Client(ABC):
    """Asks, and waits for whatever comes."""

    def __init__(self) -> None:
        self._input = bytearray()

    def exchange(self, kind: int, payload: bytes, tx_id: int = 0) -> list[Answer]:
        """All messages up to the answer of this request."""
        self.send(request(kind, payload, tx_id, req_id=kind))
        found: list[Answer] = []
        while not found or found[-1][0] == XsMessage.WATCH_EVENT:
            found.append(self._message())
        return found

    def ask(self, kind: int, payload: bytes, tx_id: int = 0) -> bytes:
        return self.exchange(kind, payload, tx_id)[-1][1]

    @abstractmethod
    def send(self, data: bytes) -> None: ...

    @abstractmethod
    def receive(self) -> bytes:
        """At least one byte."""

    def _message(self) -> Answer:
        while len(self._input) < XSD_SOCKMSG.size:
            self._input += self.receive()
        header = XSD_SOCKMSG.unpack(self._input)
        end = XSD_SOCKMSG.size + header.len
        while len(self._input) < end:
            self._input += self.receive()
        payload = bytes(self._input[XSD_SOCKMSG.size : end])
        del self._input[:end]
        return header.type, payload


class SocketClient(_Client):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(HOST_TIMEOUT)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        data = self._socket.recv(1 << 16)
        assert data, "xenstored has gone"
        return data

    def close(self) -> None:
        self._socket.close()


class RingClient(_Client):
    """A guest at its ring page, which is a file."""

    def __init__(self, path: Path, port: int, events: int) -> None:
        super().__init__()
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self._port, self._events = port, events

    def send(self, data: bytes) -> None:
        deadline = time.monotonic() + HOST_TIMEOUT
        while data:
            producer = self._word("req_prod")
            room = XENSTORE_RING_SIZE - ((producer - self._word("req_cons")) & 0xFFFF_FFFF)
            for at, byte in enumerate(data[:room]):
                self._page[_OFFSETS["req"] + (producer + at) % XENSTORE_RING_SIZE] = byte
            self._set("req_prod", producer + min(room, len(data)))
            data = data[room:]
            self._notify(deadline)

    def receive(self) -> bytes:
        deadline = time.monotonic() + HOST_TIMEOUT
        while True:
            consumer, producer = self._word("rsp_cons"), self._word("rsp_prod")
            if consumer != producer:
                count = (producer - consumer) & 0xFFFF_FFFF
                at = _OFFSETS["rsp"]
                data = bytes(self._page[at + (consumer + n) % XENSTORE_RING_SIZE] for n in range(count))
                self._set("rsp_cons", producer)
                return data
            self._notify(deadline)

    def _notify(self, deadline: float) -> None:
        """Send an event, and give the daemon time."""
        assert time.monotonic() < deadline, "xenstored does not answer"
        os.write(self._events, self._port.to_bytes(4, "little"))
        time.sleep(0.0002)

    def _word(self, name: str) -> int:
        return int.from_bytes(self._page[_OFFSETS[name] : _OFFSETS[name] + 4], "little")

    def _set(self, name: str, value: int) -> None:
        self._page[_OFFSETS[name] : _OFFSETS[name] + 4] = (value & 0xFFFF_FFFF).to_bytes(4, "little")
