"""Packets of GDB's remote serial protocol: `$payload#checksum`, and the single bytes between them.

The source of all formats in this folder is the manual of GDB, appendix "GDB Remote Serial Protocol".
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from paravane.classes import dataclass

MAX_PAYLOAD: Final = 0x4000
"""Bytes of a payload, as they are on the wire; what we tell the debugger as PacketSize."""

_ESCAPE: Final = 0x7D
_ESCAPED: Final = frozenset(b"#$}*")
_CHECKSUM_SIZE: Final = 2


class Signal(Enum):
    """Single bytes outside packets."""

    ACK = b"+"
    NAK = b"-"
    INTERRUPT = b"\x03"


@dataclass(frozen=True, slots=True)
class Packet:
    """A payload, unescaped. None: what came was no whole packet, or its checksum was wrong."""

    payload: bytes | None


_SIGNALS: Final = {signal.value[0]: signal for signal in Signal}


class PacketReader:
    """Takes bytes as they come, in any pieces. It keeps at most one packet, whatever is sent."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Packet | Signal]:
        """What these bytes complete, in order. Other bytes outside packets are dropped."""
        self._pending += data
        found: list[Packet | Signal] = []
        at = 0
        while at < len(self._pending):
            first = self._pending[at]
            if first != ord("$"):
                at += 1
                if first in _SIGNALS:
                    found.append(_SIGNALS[first])
                continue
            end = self._pending.find(b"#", at, at + MAX_PAYLOAD + 2)
            if end >= 0 and end + _CHECKSUM_SIZE < len(self._pending):
                after = end + 1 + _CHECKSUM_SIZE
                found.append(
                    _check(bytes(self._pending[at + 1 : end]), bytes(self._pending[end + 1 : after]))
                )
                at = after
            elif end < 0 and len(self._pending) - at > MAX_PAYLOAD + 1:
                # Too long: all of it goes, and what follows is looked at for a packet's begin.
                found.append(Packet(None))
                at = len(self._pending)
            else:
                break
        del self._pending[:at]
        return found


def packet(payload: bytes) -> bytes:
    """The payload as it is sent. Binary data in it must have been escaped."""
    return b"$%b#%02x" % (payload, sum(payload) & 0xFF)


def escaped(data: bytes) -> bytes:
    """Binary data for a payload."""
    out = bytearray()
    for byte in data:
        out += bytes((_ESCAPE, byte ^ 0x20)) if byte in _ESCAPED else bytes((byte,))
    return bytes(out)


def unescaped(data: bytes) -> bytes:
    """What `escaped` makes, undone; an escape without a byte after it is dropped."""
    out, escape = bytearray(), False
    for byte in data:
        if byte == _ESCAPE and not escape:
            escape = True
        else:
            out.append(byte ^ 0x20 if escape else byte)
            escape = False
    return bytes(out)


def _check(payload: bytes, digits: bytes) -> Packet:
    try:
        right = int(digits, 16) == sum(payload) & 0xFF and digits.isalnum()
    except ValueError:
        right = False
    return Packet(payload if right else None)
