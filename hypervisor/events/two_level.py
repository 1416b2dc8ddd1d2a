"""Delivery to a guest: the 2-level event ABI (public/xen.h, `struct shared_info` and `struct vcpu_info`).

A port that fires sets its bit in `evtchn_pending`. Unless its bit in `evtchn_mask` is set, the bit of its
word is set in the vcpu's `evtchn_pending_sel` and then `evtchn_upcall_pending`. Each step is taken only when
the one before changed something, as in Xen: a guest that leaves a pending bit set is not notified again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.event_channel import EVTCHN_2L_NR_CHANNELS
from paravane.abi.shared_info import SHARED_INFO, VCPU_INFO

if TYPE_CHECKING:
    from paravane.events.upcalls import Memory, Upcalls

_PENDING = SHARED_INFO.offsets["evtchn_pending"]
_MASK = SHARED_INFO.offsets["evtchn_mask"]
_PENDING_SEL = VCPU_INFO.offsets["evtchn_pending_sel"]


class TwoLevel:
    """Event state of one domain, kept nowhere but in the pages the guest sees
    (paravane.events.port.Delivery). `shared_info` is the machine address of its shared_info page."""

    nr_ports = EVTCHN_2L_NR_CHANNELS

    def __init__(self, memory: Memory, shared_info: int, upcalls: Upcalls) -> None:
        self._words = memory.words
        self._pending = (shared_info + _PENDING) >> 2
        self._mask = (shared_info + _MASK) >> 2
        self._upcalls = upcalls
        self._infos = upcalls.infos
        self._pollers = upcalls.pollers

    def init(self, port: int) -> None:
        """Nothing is kept of a port."""

    def set_pending(self, port: int, vcpu_id: int) -> None:
        """Port `port`, which notifies `vcpu_id`, has fired."""
        index, bit = port >> 5, 1 << (port & 31)
        word = self._words[self._pending + index]
        if word & bit:
            return
        self._words[self._pending + index] = word | bit
        if not self._words[self._mask + index] & bit:
            self._select(vcpu_id, index)
        if self._pollers:
            self._upcalls.wake_pollers(port)

    def clear_pending(self, port: int) -> None:
        self._words[self._pending + (port >> 5)] &= ~(1 << (port & 31))

    def unmask(self, port: int, vcpu_id: int) -> None:
        """Clear the mask bit; a port that fired while it was masked notifies now."""
        index, bit = port >> 5, 1 << (port & 31)
        word = self._words[self._mask + index]
        if not word & bit:
            return
        self._words[self._mask + index] = word & ~bit
        if self._words[self._pending + index] & bit:
            self._select(vcpu_id, index)

    def is_pending(self, port: int) -> bool:
        return bool(self._words[self._pending + (port >> 5)] >> (port & 31) & 1)

    def is_masked(self, port: int) -> bool:
        return bool(self._words[self._mask + (port >> 5)] >> (port & 31) & 1)

    def is_busy(self, port: int) -> bool:
        """A closed port can be given away at once."""
        return False

    def unmasked(self) -> tuple[int, ...]:
        """The ports that are pending and not masked, for the trace."""
        words = range(EVTCHN_2L_NR_CHANNELS >> 5)
        bits = [self._words[self._pending + word] & ~self._words[self._mask + word] for word in words]
        return tuple(word << 5 | bit for word in words for bit in range(32) if bits[word] >> bit & 1)

    def _select(self, vcpu_id: int, index: int) -> None:
        info = self._infos[vcpu_id].maddr
        if not info:
            return
        at, bit = (info + _PENDING_SEL) >> 2, 1 << index
        word = self._words[at]
        if not word & bit:
            self._words[at] = word | bit
            self._upcalls.raise_at(info, vcpu_id)
