"""Xenstore messages as bytes (public/io/xs_wire.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.xs_wire import XENSTORE_PAYLOAD_MAX, XSD_ERRORS, XSD_SOCKMSG, XsdSockmsg, XsMessage
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.devices.xenstore.tree import Node

HEADER_SIZE: Final = XSD_SOCKMSG.size
_LARGEST_INT: Final = 0x7FFF_FFFF


class Garbled(Exception):
    """The byte stream is no longer a sequence of messages."""


class Assembler:
    """Puts messages together from a byte stream that arrives in pieces of any size."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        self._bytes += data

    @property
    def begun(self) -> bytes:
        """What has arrived of messages that nobody has taken."""
        return bytes(self._bytes)

    def next(self) -> tuple[XsdSockmsg, bytes] | None:
        """The next whole message, None while it is incomplete. Raises Garbled for an oversize one: nothing
        says where the message after it would begin."""
        if len(self._bytes) < HEADER_SIZE:
            return None
        header = XSD_SOCKMSG.unpack(self._bytes)
        if header.len > XENSTORE_PAYLOAD_MAX:
            raise Garbled(
                f"a message announces {header.len} bytes, at most {XENSTORE_PAYLOAD_MAX} are allowed"
            )
        end = HEADER_SIZE + header.len
        if len(self._bytes) < end:
            return None
        payload = bytes(self._bytes[HEADER_SIZE:end])
        del self._bytes[:end]
        return header, payload


def message_name(kind: int) -> str:
    """`READ`; a number that is no message's stays one."""
    return XsMessage(kind).name if kind in XsMessage._value2member_map_ else f"message {kind}"


def message(kind: int, req_id: int, tx_id: int, payload: bytes) -> bytes:
    return XSD_SOCKMSG.pack(XsdSockmsg(kind, req_id, tx_id, len(payload))) + payload


def reply(request: XsdSockmsg, payload: bytes) -> bytes:
    """The answer to a request; E2BIG instead when it is too long."""
    if len(payload) > XENSTORE_PAYLOAD_MAX:
        return error(request, Errno.E2BIG)
    return message(request.type, request.req_id, request.tx_id, payload)


def error(request: XsdSockmsg, errno: Errno) -> bytes:
    """The answer to a request that is refused. An errno that xenstore has no name for is EINVAL."""
    named = errno if errno in XSD_ERRORS else Errno.EINVAL
    return message(XsMessage.ERROR, request.req_id, request.tx_id, named.name.encode() + b"\0")


def one_string(payload: bytes) -> str:
    """A payload that is one string: exactly one NUL, at its end. Raises Refusal(EINVAL)."""
    if not payload or payload.find(b"\0") != len(payload) - 1:
        raise Refusal(Errno.EINVAL, "the payload is not one string")
    return payload[:-1].decode("latin-1")


def two_strings(payload: bytes) -> tuple[bytes, bytes]:
    """A payload of exactly two strings. Raises Refusal(EINVAL)."""
    found = strings(payload)
    if len(found) != 2:
        raise Refusal(Errno.EINVAL, f"the payload has {len(found)} strings, not 2")
    return found[0], found[1]


def strings(payload: bytes) -> list[bytes]:
    """The strings of a payload, what follows the last NUL left out."""
    return payload.split(b"\0")[:-1]


def watch_strings(payload: bytes) -> tuple[bytes, bytes, int | None]:
    """Path, token and depth (None: any) of a WATCH. Who gives a depth knows that there is
    XENSTORE_SERVER_FEATURE_WATCHDEPTH. Raises Refusal(EINVAL)."""
    found = strings(payload)
    if len(found) != 3:
        return *two_strings(payload), None
    depth = leading_number(found[2])
    if depth > _LARGEST_INT:
        raise Refusal(Errno.EINVAL, "the depth of a watch is negative")
    return found[0], found[1], depth


def leading_number(text: bytes) -> int:
    """What atoi makes of a string: the digits at its front as a 32-bit number, else 0."""
    stripped = text.strip(b" \t\n\v\f\r")
    sign = -1 if stripped[:1] == b"-" else 1
    digits = stripped[1:] if stripped[:1] in (b"-", b"+") else stripped
    end = 0
    while end < len(digits) and end < 10 and digits[end : end + 1].isdigit():
        end += 1
    return sign * int(digits[:end] or b"0") & 0xFFFF_FFFF


def directory(node: Node) -> bytes:
    """The children's names, each with its NUL."""
    return b"".join(name.encode() + b"\0" for name in node.children)


def directory_part(node: Node, offset: int) -> bytes:
    """As much of `directory` from byte `offset` on as fits in whole names, after the node's generation. An
    empty name at the end says that nothing follows."""
    names = directory(node)
    head = b"%d\0" % node.generation
    if offset >= len(names):
        return head + b"\0"
    room = XENSTORE_PAYLOAD_MAX - len(head) - 1
    part = names[offset : offset + room]
    part = part[: part.rfind(b"\0") + 1]
    end = b"\0" if offset + len(part) == len(names) else b""
    return head + part + end
