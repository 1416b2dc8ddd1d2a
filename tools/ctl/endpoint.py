"""Where running machines are found: a socket for each, in a folder that only its user can enter.

The folder is `$XDG_RUNTIME_DIR/paravane`, or `paravane-UID` among the temporary files. Whoever runs a machine
holds a lock on NAME.lock for as long as it runs; a socket whose lock is free was left by a process that died.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import local_socket
from paravane.text import shown
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    import socket

BACKLOG: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SOCKET, _LOCK, _STORE = ".sock", ".lock", ".store"


class NameTaken(Exception):
    """A machine of this name is running."""


class Endpoint:
    """A machine's own place: its lock, and a socket that listens. Close it."""

    def __init__(self, name: str) -> None:
        """NameTaken while another machine is called so; UsageError where no machine can be found."""
        self.name = name
        self._folder = _own_folder()
        self._place = self._folder / f"{name}{_SOCKET}"
        self._lock = _locked(self._folder / f"{name}{_LOCK}")
        try:
            self._socket = local_socket.listening(self._place, BACKLOG)
        except OSError as error:
            os.close(self._lock)
            raise UsageError(f"{self._folder}: no control socket: {error.strerror}", Status.ERRORS) from None

    def fileno(self) -> int:
        """Readable when somebody comes."""
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        """The connection of who has come; None when he went away again, or is somebody else than we are."""
        try:
            return local_socket.accepted(self._socket)
        except OSError:
            return None

    def close(self) -> None:
        """Leave nothing behind."""
        self._socket.close()
        for suffix in (_SOCKET, _LOCK):
            with suppress(OSError):
                (self._folder / f"{self.name}{suffix}").unlink()
        os.close(self._lock)


def endpoint(wanted: str) -> Endpoint:
    """An endpoint of this name, or with a number after it while that is taken."""
    for number in count(1):
        with suppress(NameTaken):
            return Endpoint(_fitting(wanted) if number == 1 else f"{_fitting(wanted)[:60]}-{number}")
    raise AssertionError("numbers do not end")


def machines() -> list[str]:
    """The names of the machines that run. What dead ones have left is removed."""
    folder = _own_folder()
    found = []
    for path in folder.glob(f"*{_SOCKET}"):
        try:
            lock = _locked(folder / f"{path.stem}{_LOCK}")
        except NameTaken:
            found.append(path.stem)
        else:
            for suffix in (_STORE, _SOCKET, _LOCK):
                (folder / f"{path.stem}{suffix}").unlink(missing_ok=True)
            os.close(lock)
    return sorted(found)


def chosen(running: list[str], wanted: str | None) -> str:
    """The machine that is meant among those that run (None: the only one). Raises UsageError."""
    if wanted is None and len(running) == 1:
        return running[0]
    if not running:
        raise UsageError("no machine is running; `paravane run` starts one")
    if wanted is None:
        raise UsageError(f"several machines are running; say which with --machine: {', '.join(running)}")
    if wanted not in running:
        raise UsageError(f"there is no machine {wanted!r}; there are {', '.join(running)}")
    return wanted


def store_path(name: str) -> Path:
    """Where xenstore of the machine of this name listens."""
    return _own_folder() / f"{name}{_STORE}"


def connect(name: str) -> socket.socket:
    """A connection to the machine of this name. OSError when it does not answer."""
    return local_socket.connected(_own_folder() / f"{name}{_SOCKET}")


def _fitting(name: str) -> str:
    if not _NAME.fullmatch(name):
        name = re.sub(r"[^A-Za-z0-9._-]", "-", name)[:60].lstrip(".-") or "machine"
    return name


def _own_folder() -> Path:
    """The folder, made if it is not there. UsageError unless it is ours alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.path.isdir(runtime):
        folder = Path(runtime) / "paravane"
    else:
        folder = Path(tempfile.gettempdir()) / f"paravane-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise UsageError(f"{shown(str(folder))}: {error.strerror}", Status.ERRORS) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UsageError(
            f"{shown(str(folder))} is not a folder of yours that nobody else can enter", Status.ERRORS
        )
    return folder


def _locked(path: Path) -> int:
    """A descriptor of the file, locked; NameTaken when somebody else has the lock."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise NameTaken from None
        # Whoever had it may have removed it in between: what was locked is then nobody's.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)
