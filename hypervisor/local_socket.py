"""Sockets with a name in the file system, for programs of the same user (unix(7))."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_PATH: Final = 107
"""Bytes of a path by which any program can connect (`sockaddr_un.sun_path`, with its NUL)."""


class InUseError(OSError):
    """Somebody listens at the path already, or it is something else than a socket."""


def listening(path: Path, backlog: int) -> socket.socket:
    """A socket that listens at `path`, which nobody but the user can connect to; non-blocking. What a process
    that died has left there is replaced. Raises InUseError, and OSError where none can be made."""
    _clear(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reached(path) as address:
            made.bind(address)
        # Nobody can connect before it listens.
        path.chmod(0o600)
        made.listen(backlog)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def forgotten(path: Path) -> None:
    """Take away the name of a socket that was closed. What else may be there by now is left as it is: another
    one's socket, a file, a folder."""
    with suppress(OSError):
        _clear(path)


def connected(path: Path) -> socket.socket:
    """A connection to whoever listens at `path`. Raises OSError when nobody does."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reached(path) as address:
            made.connect(address)
    except OSError:
        made.close()
        raise
    return made


def accepted(listener: socket.socket) -> socket.socket | None:
    """The connection of who has come; None when he went away again, or is neither this user nor root. Raises
    OSError when the process can have no more descriptors."""
    try:
        connection, _ = listener.accept()
    except (BlockingIOError, ConnectionError):
        return None
    if _peer(connection) in (os.getuid(), 0):
        return connection
    connection.close()
    return None


@contextmanager
def reached(path: Path) -> Iterator[str]:
    """A name of a socket's file that is short enough for an address, however long its folder's is. Raises
    OSError when its own is too long."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = f"/proc/self/fd/{folder}/{path.name}"
        if len(os.fsencode(name)) > LONGEST_PATH:
            # Python's own refusal has neither a number nor a reason.
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        yield name
    finally:
        os.close(folder)


def _clear(path: Path) -> None:
    """Take away a socket that nobody listens at any more."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise InUseError(errno.EEXIST, "it is there already, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, reached(path) as address:
        # A listener with a full queue would have it wait.
        probe.setblocking(False)
        with suppress(BlockingIOError):
            try:
                probe.connect(address)
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
                return
    raise InUseError(errno.EADDRINUSE, "somebody listens there already")


def _peer(connection: socket.socket) -> int:
    """The user at the other end (unix(7), SO_PEERCRED: pid, uid, gid)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], "little")
