"""Records of backends: rings, xenstore, consoles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.devices.xenstore.messages import message_name
from paravane.trace.records import ConsoleRecord, RingRecord, StoreRecord

if TYPE_CHECKING:
    from paravane.platform import Platform
    from paravane.refusal import Refusal


class DeviceSource:
    """Observes the backends of all domains (paravane.devices.observers)."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def ring(
        self, domid: int, what: str, device: str, op: str, size: int, number: int | None, status: str
    ) -> None:
        self._platform.trace.write(RingRecord(*self._head(domid), what, device, op, size, number, status))

    def store(
        self,
        domid: int,
        kind: int,
        path: str,
        value: bytes,
        transaction: int,
        answer: bytes,
        refusal: Refusal | None,
    ) -> None:
        errno, sentence = (None, "") if refusal is None else (refusal.errno, refusal.sentence)
        asked = (message_name(kind), path, _text(value), transaction)
        self._platform.trace.write(StoreRecord(*self._head(domid), *asked, errno, sentence, _text(answer)))

    def console(self, domid: int, number: int, what: str, data: bytes) -> None:
        self._platform.trace.write(ConsoleRecord(*self._head(domid), what, data, number))

    def _head(self, domid: int) -> tuple[int, int, None, None]:
        # Backends work on their own, whoever has the processor then: their records are no vcpu's.
        return self._platform.clock.now(), domid, None, None


def _text(strings: bytes) -> bytes:
    """Strings that end with a NUL each, for people to read."""
    return strings.removesuffix(b"\0").replace(b"\0", b" ")
