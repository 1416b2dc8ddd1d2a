"""The way out through passt, which makes a guest's packets ordinary sockets of an ordinary user.

passt gets one end of a pair of connected stream sockets. On it each frame has its length before it, in four
bytes, big end first, as in QEMU's socket networks (passt(1), `--fd`).
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Final

from paravane.devices.net.errors import NetError
from paravane.devices.net.headers import ETH_HEADER
from paravane.devices.net.way import Way
from paravane.text import printable

if TYPE_CHECKING:
    from paravane.devices.net.frame import Frame
    from paravane.devices.net.outside import Inputs
    from paravane.devices.net.switch import Switch

GUEST: Final = "10.0.2.15"
"""The address that passt has for a guest."""

GATEWAY: Final = "10.0.2.2"
"""Where a guest finds the host's loopback."""

NETMASK: Final = "255.255.255.0"

LONGEST: Final = 0xFFFF + ETH_HEADER
"""Bytes of the longest frame that either side sends."""

_PORTION: Final = 1 << 18
"""Bytes read at a time; what there is beside waits until guests have run again."""

_LENGTH: Final = 4
_LONGEST_COMPLAINT: Final = 200
"""Bytes of the last line that passt says, as the log shows it."""

_PATIENCE: Final = 5.0
"""Seconds that passt has to end by itself."""

log = logging.getLogger(__name__)


class Passt(Way):
    """A process of passt, as a station on a switch. Close it."""

    def __init__(self, inputs: Inputs, switch: Switch) -> None:
        """Raises NetError when there is no passt that could be started."""
        self._socket, process = _start()
        self._process: subprocess.Popen[bytes] | None = process
        assert process.stderr is not None
        self._errors = process.stderr
        os.set_blocking(self._errors.fileno(), False)
        self._said = b""  # the end of it
        self._unsent = b""
        self._received = bytearray()
        # One descriptor to watch for all of it: an epoll is itself readable when something in it is due.
        self._due = select.epoll()
        self._due.register(self._socket, select.EPOLLIN)
        # Read at once: with a full pipe passt would wait in the middle of its work.
        self._due.register(self._errors, select.EPOLLIN)
        super().__init__("passt", inputs, switch)
        inputs.watch(self._due.fileno(), self._ready)

    @property
    def alive(self) -> bool:
        return self._process is not None

    def _send_out(self, frame: Frame) -> bool:
        """Send a frame, unless the socket is full."""
        if self._process is None or self._unsent or len(frame.data) > LONGEST:
            return False
        message = len(frame.data).to_bytes(_LENGTH, "big") + frame.data
        sent = self._send(message)
        if 0 < sent < len(message):
            # The rest of a frame that was begun has to follow, or passt would lose its place for good.
            self._unsent = message[sent:]
            self._due.modify(self._socket, select.EPOLLIN | select.EPOLLOUT)
        return sent > 0

    def close(self) -> None:
        """End passt. Idempotent."""
        self._end()
        self._leave()

    def _end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        self._inputs.unwatch(self._due.fileno())
        self._due.close()
        self._errors.close()
        self._socket.close()  # passt ends when its guest has gone
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ready(self) -> None:
        due = dict(self._due.poll(0))
        if self._errors.fileno() in due and not self._listen():
            self._due.unregister(self._errors)
        events = due.get(self._socket.fileno(), 0)
        if events & select.EPOLLOUT:
            self._unsent = self._unsent[max(0, self._send(self._unsent)) :]
            if not self._unsent and self._process is not None:
                self._due.modify(self._socket, select.EPOLLIN)
        if self._process is not None and events & ~select.EPOLLOUT:
            self._receive()

    def _listen(self) -> bool:
        """Read what passt says of itself, if anything. False: it will say no more."""
        try:
            said = os.read(self._errors.fileno(), _PORTION)
        except BlockingIOError:
            return True
        self._said = (self._said + said)[-_LONGEST_COMPLAINT:]
        return bool(said)

    def _send(self, data: bytes) -> int:
        """How much of `data` the socket took."""
        try:
            return self._socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lost(error.strerror or str(error))
            return 0

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_PORTION)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        if not data:
            self._lost("it has closed its socket")
            return
        self._received += data
        self._take_frames()

    def _take_frames(self) -> None:
        at = 0
        while len(self._received) - at >= _LENGTH:
            size = int.from_bytes(self._received[at : at + _LENGTH], "big")
            if size > LONGEST:
                self._lost(f"it announces a frame of {size} bytes")
                return
            end = at + _LENGTH + size
            if len(self._received) < end:
                break
            self._arrived(bytes(self._received[at + _LENGTH : end]))
            at = end
        del self._received[:at]

    def _lost(self, reason: str) -> None:
        """The guests have no way out any more; all else goes on."""
        self._listen()
        if lines := self._said.splitlines():
            reason += f" ({printable(lines[-1], _LONGEST_COMPLAINT)})"
        log.warning("passt is gone, and with it the way out of %s: %s", self.port.switch.name, reason)
        if self._process is not None:
            self._process.kill()
        self._end()
        self._arrived(None)


def _start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    program = shutil.which("passt")
    if program is None:
        raise NetError("passt is not on this machine; Debian has it in a package of that name")
    ours, its = socket.socketpair()
    with its:
        ours.setblocking(False)
        command = [program, "--foreground", "--quiet", "--fd", str(its.fileno())]
        command += ["--address", GUEST, "--netmask", NETMASK, "--gateway", GATEWAY]
        try:
            # In a session of its own: Ctrl-C at the terminal is for the machine, which then ends passt.
            process = subprocess.Popen(
                command,
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise NetError(f"cannot start {program}: {error.strerror}") from None
    return ours, process
