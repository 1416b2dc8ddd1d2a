"""A client of xenstore's socket, Paravane's or any other (public/io/xs_wire.h)."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from paravane import local_socket
from paravane.abi.xs_wire import XENSTORE_PAYLOAD_MAX, XSD_SOCKMSG, XsMessage
from paravane.devices.xenstore.messages import HEADER_SIZE, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE: Final = 60.0
"""Seconds in which a request is answered."""

_SENTENCES: Final = {
    "ENOENT": "there is no such node or domain",
    "EACCES": "that is not allowed",
    "EPERM": "that is not allowed",
    "EINVAL": "it is malformed",
    "EEXIST": "that is watched already",
    "ENOSPC": "a quota is used up",
    "E2BIG": "that is too long",
    "EAGAIN": "it has changed meanwhile",
}


class StoreError(Exception):
    """Xenstore refuses a request: the message is a sentence about `what`, `name` the errno's."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"{what}: {_SENTENCES.get(name, name)}")
        self.name = name


class StoreGone(Exception):
    """Nobody answers, or not as the protocol has it; the message is a sentence."""


class StoreClient:
    """A connection. All methods raise StoreGone when it ends, and StoreError. Close it.

    Paths are text of the wire's own encoding: one character a byte.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._socket = local_socket.connected(path)
        except OSError as error:
            raise StoreGone(f"{path}: no xenstore answers: {error.strerror}") from None
        self._socket.settimeout(PATIENCE)
        self._events: deque[str] = deque()
        self._transaction = 0

    def close(self) -> None:
        self._socket.close()

    def read(self, path: str) -> bytes:
        return self._ask(XsMessage.READ, path, _text(path))

    def directory(self, path: str) -> list[str]:
        """The names of a node's children."""
        try:
            names = self._ask(XsMessage.DIRECTORY, path, _text(path))
        except StoreError as error:
            if error.name != "E2BIG":
                raise
            names = self._parts(path)
        return [name.decode("latin-1") for name in names.split(b"\0")[:-1]]

    def write(self, path: str, value: bytes) -> None:
        self._ask(XsMessage.WRITE, path, _text(path) + value)

    def make(self, path: str) -> None:
        self._ask(XsMessage.MKDIR, path, _text(path))

    def remove(self, path: str) -> None:
        """Remove a node, which has to be there, and all below it."""
        self.read(path)
        self._ask(XsMessage.RM, path, _text(path))

    def permissions(self, path: str) -> list[str]:
        """Such as `n0`, `r5`."""
        found = self._ask(XsMessage.GET_PERMS, path, _text(path))
        return [text.decode("latin-1") for text in found.split(b"\0")[:-1]]

    def set_permissions(self, path: str, permissions: list[str]) -> None:
        what = f"{path} for {' '.join(permissions)}"
        self._ask(XsMessage.SET_PERMS, what, b"".join(map(_text, (path, *permissions))))

    def watch(self, path: str) -> None:
        """Have `events` tell of what changes there, and once at once."""
        self._ask(XsMessage.WATCH, path, _text(path) * 2)

    def events(self) -> Iterator[str]:
        """The paths of changes, for ever."""
        self._socket.settimeout(None)
        while True:
            while self._events:
                yield self._events.popleft()
            self._keep(*self._receive())

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """What is asked is part of a transaction. Raises StoreError (EAGAIN) when it cannot be committed."""
        self._transaction = int(self._ask(XsMessage.TRANSACTION_START, "a transaction", b"\0")[:-1])
        try:
            yield
        except BaseException:
            self._end("F")
            raise
        self._end("T")

    def together(self, work: Callable[[], None]) -> None:
        """Do `work` in one transaction, again and again while others come in between."""
        while True:
            try:
                with self._inside():
                    work()
            except StoreError as error:
                if error.name != "EAGAIN":
                    raise
            else:
                return

    def _end(self, decision: str) -> None:
        try:
            self._ask(XsMessage.TRANSACTION_END, "the transaction", _text(decision))
        finally:
            self._transaction = 0

    def _parts(self, path: str) -> bytes:
        """A list of names too long for one message; from the start again when it changes meanwhile."""
        generation, names = b"", b""
        while True:
            asked = _text(path) + _text(str(len(names)))
            found, _, part = self._ask(XsMessage.DIRECTORY_PART, path, asked).partition(b"\0")
            if found != generation:
                if names:
                    generation, names = b"", b""
                    continue
                generation = found
            names += part
            if names.endswith(b"\0\0") or part == b"\0":
                return names[:-1]

    def _ask(self, kind: int, what: str, payload: bytes) -> bytes:
        """The payload of a request's answer. `what` it is about is for the sentence of a refusal."""
        if len(payload) > XENSTORE_PAYLOAD_MAX:
            raise StoreError(what, "E2BIG")
        try:
            self._socket.sendall(message(kind, 0, self._transaction, payload))
        except OSError as error:
            raise self._gone(error.strerror or "it does not answer") from None
        while True:
            found, answer = self._receive()
            if found == XsMessage.ERROR:
                raise StoreError(what, answer.rstrip(b"\0").decode("latin-1"))
            if found == kind:
                return answer
            self._keep(found, answer)

    def _keep(self, kind: int, payload: bytes) -> None:
        """A watch event, which may come at any time."""
        path, separator, _ = payload.partition(b"\0")
        if kind != XsMessage.WATCH_EVENT or not separator:
            raise self._gone("it does not keep to the protocol")
        self._events.append(path.decode("latin-1"))

    def _receive(self) -> tuple[int, bytes]:
        header = XSD_SOCKMSG.unpack(self._bytes(HEADER_SIZE))
        if header.len > XENSTORE_PAYLOAD_MAX:
            raise self._gone("it does not keep to the protocol")
        return header.type, self._bytes(header.len)

    def _bytes(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            try:
                data = self._socket.recv(count - len(found))
            except OSError as error:
                raise self._gone(error.strerror or "it does not answer") from None
            if not data:
                raise self._gone("it has ended the connection")
            found += data
        return bytes(found)

    def _gone(self, why: str) -> StoreGone:
        return StoreGone(f"xenstore at {self._path}: {why}")


def _text(text: str) -> bytes:
    """A string on the wire. Raises StoreError for one that none can say."""
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        raise StoreError(text, "EINVAL") from None
    if b"\0" in data:
        raise StoreError(text, "EINVAL")
    return data + b"\0"
