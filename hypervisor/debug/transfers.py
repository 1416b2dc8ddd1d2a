"""Objects that a debugger reads in pieces: the target description, threads, and the kernel's own file.

The file is given out under a name of ours, by the protocol's operations on files: so that a debugger has
symbols and lines without a file to look for. Sources that are named from the folder they are in are named by
their whole path there, where a debugger can find them. Nothing else can be opened, and nothing of this host's
files.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from paravane.debug.description import TARGET_XML
from paravane.debug.packets import MAX_PAYLOAD, escaped
from paravane.debug.resume import hexadecimal
from paravane.debug.stops import thread_info, thread_of
from paravane.image.lines import with_whole_names
from paravane.text import shown

if TYPE_CHECKING:
    from paravane.domain import Domain

LONGEST: Final = MAX_PAYLOAD // 2 - 64
"""Bytes of an object in one answer: each may need two on the wire."""

ENOENT, EBADF, EINVAL = 2, 9, 22
"""Errors of files, as the protocol numbers them."""

_FILE: Final = 3
"""The one file descriptor there is."""

_REGULAR: Final = 0o100444


def transfer(domain: Domain, request: str) -> bytes:
    """`qXfer:OBJECT:read:ANNEX:OFFSET,LENGTH`, without `qXfer:`. ValueError when it is malformed; empty for
    an object that does not exist, as for any packet that is not known."""
    name, _, rest = request.partition(":read:")
    annex, _, place = rest.rpartition(":")
    if name == "exec-file":
        whole = image_name(domain)
    elif (name, annex) == ("features", "target.xml"):
        whole = TARGET_XML
    elif (name, annex) == ("threads", ""):
        whole = threads(domain)
    else:
        return b"E00" if name in {"features", "threads"} else b""
    offset, _, length = place.partition(",")
    start, size = hexadecimal(offset), min(hexadecimal(length), LONGEST)
    piece = whole.encode()[start : start + size]
    return (b"m" if start + size < len(whole) else b"l") + escaped(piece)


def threads(domain: Domain) -> str:
    """The vcpus, as XML."""
    vcpus = "".join(
        f'<thread id="{thread_of(vcpu):x}" core="{vcpu.vcpu_id}" name="vcpu{vcpu.vcpu_id}">'
        f"{thread_info(vcpu)}</thread>"
        for vcpu in domain.vcpus
    )
    return f'<?xml version="1.0"?><threads>{vcpus}</threads>'


def image_name(domain: Domain) -> str:
    """What the kernel's file is called."""
    return f"/paravane/{shown(domain.name).replace('/', '_')}"


class ImageFile:
    """The kernel's ELF file as the protocol's `vFile` packets see it."""

    def __init__(self, domain: Domain) -> None:
        self._name = image_name(domain)
        elf, sources = domain.image.elf, domain.sources
        self._data = bytes(elf.data) if sources is None else with_whole_names(elf, sources.whole_name)
        self._is_open = False

    def answer(self, request: str) -> bytes:
        """`vFile:OPERATION:ARGUMENTS`, without `vFile:`. ValueError when malformed; empty for an operation
        that there is not."""
        operation, _, rest = request.partition(":")
        arguments = rest.split(",")
        if operation == "setfs":
            return b"F0"
        if operation == "open":
            return self._open(bytes.fromhex(arguments[0]), arguments[1:])
        if operation not in {"pread", "close", "fstat"}:
            return b""
        if not self._is_open or hexadecimal(arguments[0]) != _FILE:
            return _failed(EBADF)
        if operation == "close":
            self._is_open = False
            return b"F0"
        if operation == "fstat":
            return _data(self._stat())
        if len(arguments) != 3:
            return _failed(EINVAL)
        size, offset = min(hexadecimal(arguments[1]), LONGEST), hexadecimal(arguments[2])
        return _data(self._data[offset : offset + size])

    def _open(self, name: bytes, arguments: list[str]) -> bytes:
        reads = bool(arguments) and hexadecimal(arguments[0]) == 0
        if name != self._name.encode() or not reads:
            return _failed(ENOENT)
        self._is_open = True
        return b"F%x" % _FILE

    def _stat(self) -> bytes:
        """`struct stat` of the protocol: big endian, with the size of a regular file."""
        size = len(self._data)
        return struct.pack(">7I3Q3I", 0, 0, _REGULAR, 1, 0, 0, 0, size, 512, -(-size // 512), 0, 0, 0)


def _data(data: bytes) -> bytes:
    return b"F%x;" % len(data) + escaped(data)


def _failed(errno: int) -> bytes:
    return b"F-1,%x" % errno
