"""The requests that read and change the tree: what the payload says, done by `Access` (xenstore.txt)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.errno import Errno
from paravane.abi.xs_wire import XsMessage
from paravane.devices.xenstore.messages import (
    directory,
    directory_part,
    leading_number,
    one_string,
    two_strings,
)
from paravane.devices.xenstore.tree import Permission
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.devices.xenstore.access import Access

OK: Final = b"OK\0"
"""The answer to a request that asked for nothing but that it be done."""


class TreeRequest(Protocol):
    def __call__(self, access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
        """Do what `payload` asks, `absolute` being what its paths are to the caller. The answer's payload.
        Raises Refusal."""
        ...


def _directory(access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
    return directory(access.directory(absolute(one_string(payload))))


def _directory_part(access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
    path, offset = two_strings(payload)
    return directory_part(access.directory(absolute(path.decode("latin-1"))), leading_number(offset))


def _read(access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
    return access.read(absolute(one_string(payload)))


def _write(access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
    path, separator, value = payload.partition(b"\0")
    if not separator:
        raise Refusal(Errno.EINVAL, "the payload has no path")
    access.write(absolute(path.decode("latin-1")), value)
    return OK


def _mkdir(access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
    access.mkdir(absolute(one_string(payload)))
    return OK


def _remove(access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
    access.remove(absolute(one_string(payload)))
    return OK


def _get_permissions(access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
    permissions = access.permissions(absolute(one_string(payload)))
    return b"".join(str(permission).encode() + b"\0" for permission in permissions)


def _set_permissions(access: Access, absolute: Callable[[str], str], payload: bytes) -> bytes:
    path, *entries = payload.split(b"\0")[:-1] or [b""]
    if not entries:
        raise Refusal(Errno.EINVAL, "the payload has no path and permissions")
    # Before they are looked at, as xenstored does.
    access.check_number(len(entries))
    permissions = tuple(Permission.parse(text.decode("latin-1")) for text in entries)
    access.set_permissions(absolute(path.decode("latin-1")), permissions)
    return OK


TREE_REQUESTS: Final[Mapping[int, TreeRequest]] = {
    XsMessage.DIRECTORY: _directory,
    XsMessage.DIRECTORY_PART: _directory_part,
    XsMessage.READ: _read,
    XsMessage.WRITE: _write,
    XsMessage.MKDIR: _mkdir,
    XsMessage.RM: _remove,
    XsMessage.GET_PERMS: _get_permissions,
    XsMessage.SET_PERMS: _set_permissions,
}
