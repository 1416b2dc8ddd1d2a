"""Delivery to a guest: the 2-level event ABI (public/xen.h, `struct shared_info` and `struct vcpu_info`).

A port that fires sets its bit in `evtchn_pending`. Unless its bit in `evtchn_mask` is set, the bit of its
word is set in the vcpu's `evtchn_pending_sel` and then `evtchn_upcall_pending`. Each step is taken only when
the one before changed something, as in Xen: a guest that leaves a pending bit set is not notified again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.abi.event_channel import EVTCHN_2L_NR_CHANNELS
from paravane.abi.shared_info import SHARED_INFO, VCPU_INFO, XEN_LEGACY_MAX_VCPUS
from paravane.vcpu_info import VcpuInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PENDING = SHARED_INFO.offsets["evtchn_pending"]
_MASK = SHARED_INFO.offsets["evtchn_mask"]
_UPCALL_PENDING = VCPU_INFO.offsets["evtchn_upcall_pending"]
_UPCALL_MASK = VCPU_INFO.offsets["evtchn_upcall_mask"]
_PENDING_SEL = VCPU_INFO.offsets["evtchn_pending_sel"]


class Memory(Protocol):
    """Machine memory as bytes and as little-endian 32-bit words."""

    @property
    def bytes(self) -> memoryview: ...

    @property
    def words(self) -> memoryview: ...


class TwoLevel:
    """Event state of one domain, kept nowhere but in the pages the guest sees.

    `shared_info` is the machine address of its shared_info page; `wake(vcpu_id)` is called when a vcpu gets
    something to look at: an upcall that was not pending yet, or a port it polls.
    """

    nr_ports = EVTCHN_2L_NR_CHANNELS

    def __init__(self, memory: Memory, shared_info: int, nr_vcpus: int, wake: Callable[[int], None]) -> None:
        self._bytes = memory.bytes
        self._words = memory.words
        self._pending = (shared_info + _PENDING) >> 2
        self._mask = (shared_info + _MASK) >> 2
        # Vcpus beyond the legacy ones have no vcpu_info, and so no upcalls, until they register one.
        self._infos = [
            VcpuInfo(shared_info + vcpu_id * VCPU_INFO.size if vcpu_id < XEN_LEGACY_MAX_VCPUS else 0)
            for vcpu_id in range(nr_vcpus)
        ]
        self._wake = wake
        # vcpu -> the one port it polls, or None when several would do.
        self._pollers: dict[int, int | None] = {}

    def save(self) -> tuple[tuple[int | None, ...], dict[int, int | None]]:
        """The machine addresses of the vcpu_infos, and who polls which port. All else is in guest memory."""
        return tuple(info.maddr or None for info in self._infos), dict(self._pollers)

    def restore(self, infos: Sequence[int | None], pollers: Mapping[int, int | None]) -> None:
        """Go on from what `save` gave."""
        for info, maddr in zip(self._infos, infos, strict=True):
            info.maddr = maddr or 0
        self._pollers = dict(pollers)

    def vcpu_info(self, vcpu_id: int) -> VcpuInfo:
        """Where a vcpu's vcpu_info is, now and later."""
        return self._infos[vcpu_id]

    def move_vcpu_info(self, vcpu_id: int, maddr: int) -> None:
        """Continue in the vcpu_info at `maddr` (VCPUOP_register_vcpu_info, already checked and 4-aligned).

        The contents move along. Every word is then marked for a look and an upcall raised: an event that
        came in between must not be lost, and guests cope with a spurious one.
        """
        info = self._infos[vcpu_id]
        if not info.maddr:
            self._bytes[maddr : maddr + VCPU_INFO.size] = bytes(VCPU_INFO.size)
            self._bytes[maddr + _UPCALL_MASK] = 1
        else:
            contents = bytes(self._bytes[info.maddr : info.maddr + VCPU_INFO.size])
            self._bytes[maddr : maddr + VCPU_INFO.size] = contents
        info.maddr = maddr
        self._words[(maddr + _PENDING_SEL) >> 2] = 0xFFFF_FFFF
        self._raise_upcall(vcpu_id, maddr)

    def upcall_due(self, vcpu_id: int) -> bool:
        """Whether the vcpu has an upcall pending that it has not masked."""
        info = self._infos[vcpu_id].maddr
        return (
            info != 0 and self._bytes[info + _UPCALL_PENDING] != 0 and self._bytes[info + _UPCALL_MASK] == 0
        )

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
            self._wake_pollers(port)

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

    def upcall_state(self, vcpu_id: int) -> tuple[bool, bool] | None:
        """Whether a vcpu has an upcall pending, and whether it masks upcalls; None without a vcpu_info."""
        info = self._infos[vcpu_id].maddr
        if not info:
            return None
        return self._bytes[info + _UPCALL_PENDING] != 0, self._bytes[info + _UPCALL_MASK] != 0

    @property
    def pollers(self) -> dict[int, int | None]:
        """The vcpus that poll, and for which port; None: for several, any of which will do."""
        return dict(self._pollers)

    def unmasked(self) -> tuple[int, ...]:
        """The ports that are pending and not masked, for the trace."""
        words = range(EVTCHN_2L_NR_CHANNELS >> 5)
        bits = [self._words[self._pending + word] & ~self._words[self._mask + word] for word in words]
        return tuple(word << 5 | bit for word in words for bit in range(32) if bits[word] >> bit & 1)

    def start_poll(self, vcpu_id: int, port: int | None) -> None:
        """Wake the vcpu when `port` (None: any port) turns pending, masked or not."""
        self._pollers[vcpu_id] = port

    def stop_poll(self, vcpu_id: int) -> None:
        self._pollers.pop(vcpu_id, None)

    def _select(self, vcpu_id: int, index: int) -> None:
        info = self._infos[vcpu_id].maddr
        if not info:
            return
        at, bit = (info + _PENDING_SEL) >> 2, 1 << index
        word = self._words[at]
        if not word & bit:
            self._words[at] = word | bit
            self._raise_upcall(vcpu_id, info)

    def _raise_upcall(self, vcpu_id: int, info: int) -> None:
        at = info + _UPCALL_PENDING
        byte = self._bytes[at]
        if not byte & 1:
            self._bytes[at] = byte | 1
            self._wake(vcpu_id)

    def _wake_pollers(self, port: int) -> None:
        for vcpu_id in [v for v, polled in self._pollers.items() if polled is None or polled == port]:
            del self._pollers[vcpu_id]
            self._wake(vcpu_id)
