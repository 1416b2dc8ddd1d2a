"""A console of another process's machine, on this terminal."""

from __future__ import annotations

import os
import select
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from paravane.tools.raw_mode import RawMode
from paravane.tools.status import Status
from paravane.tools.streams import STDIN, STDOUT

if TYPE_CHECKING:
    import socket

ESCAPE: Final = b"\x1d"
"""Ctrl-], as for `xl console`."""

_CHUNK: Final = 4096


def attach(connection: socket.socket, begun: bytes) -> int:
    """Carry bytes both ways until the console ends (status 0) or the user leaves it by Ctrl-]. `begun` has
    come already. What is typed waits while the console takes none."""
    connection.setblocking(False)
    raw = RawMode(STDIN) if os.isatty(STDIN) else nullcontext()
    with raw:
        _write(begun)
        _carry(connection, keys=os.isatty(STDIN))
    return Status.OK


def _carry(connection: socket.socket, *, keys: bool) -> None:
    typed, listening = b"", True
    while True:
        inputs: list[Any] = [connection, *([STDIN] if listening and not typed else [])]
        readable, writable, _ = select.select(inputs, [connection] if typed else [], [])
        if connection in readable:
            data = _received(connection)
            if not data:
                return
            _write(data)
        if STDIN in readable:
            typed = os.read(STDIN, _CHUNK)
            if not typed:
                listening = False
            elif keys and ESCAPE in typed:
                return
            elif not keys:
                # As typing it would be: the Enter key is CR.
                typed = typed.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        if writable:
            try:
                typed = typed[connection.send(typed) :]
            except BlockingIOError:
                continue
            except OSError:
                return


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_CHUNK)
    except OSError:
        return b""


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(STDOUT, data) :]
