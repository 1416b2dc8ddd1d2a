"""Upcalls: what each vcpu of a domain has of event channels, whichever ABI delivers them.

A vcpu's vcpu_info (public/xen.h) says that something is pending and whether it wants to hear of it; a vcpu
that polls (SCHEDOP_poll) wakes for a port that only turns pending.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Protocol

from paravane.abi.shared_info import VCPU_INFO, XEN_LEGACY_MAX_VCPUS
from paravane.vcpu_info import VcpuInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_UPCALL_PENDING = VCPU_INFO.offsets["evtchn_upcall_pending"]
_UPCALL_MASK = VCPU_INFO.offsets["evtchn_upcall_mask"]
_PENDING_SEL = VCPU_INFO.offsets["evtchn_pending_sel"]


class Memory(Protocol):
    """Machine memory as bytes and as little-endian 32-bit words."""

    @property
    def bytes(self) -> memoryview: ...

    @property
    def words(self) -> memoryview: ...


class Upcalls:
    """The vcpu_infos of one domain and its pollers.

    `shared_info` is the machine address of its shared_info page; `wake(vcpu_id)` is called when a vcpu gets
    something to look at: an upcall that was not pending yet, or a port it polls. `infos` and `pollers` (vcpu
    -> the one port it polls, None when several would do) stay the same objects for good.
    """

    def __init__(self, memory: Memory, shared_info: int, nr_vcpus: int, wake: Callable[[int], None]) -> None:
        self._bytes = memory.bytes
        self._words = memory.words
        # Vcpus beyond the legacy ones have no vcpu_info, and so no upcalls, until they register one.
        self.infos = [
            VcpuInfo(shared_info + vcpu_id * VCPU_INFO.size if vcpu_id < XEN_LEGACY_MAX_VCPUS else 0)
            for vcpu_id in range(nr_vcpus)
        ]
        self.pollers: dict[int, int | None] = {}
        self.polling = array("q", (0,))
        """How many pollers there are, for native code."""
        self._wake = wake

    def save(self) -> tuple[tuple[int | None, ...], dict[int, int | None]]:
        """The machine addresses of the vcpu_infos, and who polls which port. All else is in guest memory."""
        return tuple(info.maddr or None for info in self.infos), dict(self.pollers)

    def restore(self, infos: Sequence[int | None], pollers: Mapping[int, int | None]) -> None:
        """Go on from what `save` gave."""
        for info, maddr in zip(self.infos, infos, strict=True):
            info.move(maddr or 0)
        self.pollers.clear()
        self.pollers.update(pollers)
        self.polling[0] = len(pollers)

    def move(self, vcpu_id: int, maddr: int) -> None:
        """Continue in the vcpu_info at `maddr` (VCPUOP_register_vcpu_info, already checked and 4-aligned).

        The contents move along. Every word is then marked for a look and an upcall raised: an event that
        came in between must not be lost, and guests cope with a spurious one.
        """
        info = self.infos[vcpu_id]
        if not info.maddr:
            self._bytes[maddr : maddr + VCPU_INFO.size] = bytes(VCPU_INFO.size)
            self._bytes[maddr + _UPCALL_MASK] = 1
        else:
            contents = bytes(self._bytes[info.maddr : info.maddr + VCPU_INFO.size])
            self._bytes[maddr : maddr + VCPU_INFO.size] = contents
        info.move(maddr)
        self._words[(maddr + _PENDING_SEL) >> 2] = 0xFFFF_FFFF
        self.raise_for(vcpu_id)

    def due(self, vcpu_id: int) -> bool:
        """Whether the vcpu has an upcall pending that it has not masked."""
        info = self.infos[vcpu_id].maddr
        return (
            info != 0 and self._bytes[info + _UPCALL_PENDING] != 0 and self._bytes[info + _UPCALL_MASK] == 0
        )

    def state(self, vcpu_id: int) -> tuple[bool, bool] | None:
        """Whether a vcpu has an upcall pending, and whether it masks upcalls; None without a vcpu_info."""
        info = self.infos[vcpu_id].maddr
        if not info:
            return None
        return self._bytes[info + _UPCALL_PENDING] != 0, self._bytes[info + _UPCALL_MASK] != 0

    def raise_for(self, vcpu_id: int) -> None:
        """Mark an upcall pending, and wake the vcpu if none was. Whether it masks upcalls does not matter: it
        may sleep with them masked, and is to look at what came."""
        info = self.infos[vcpu_id].maddr
        if info:
            self.raise_at(info, vcpu_id)

    def raise_at(self, info: int, vcpu_id: int) -> None:
        """The same, for who has the address of the vcpu_info at hand: sends are hot."""
        at = info + _UPCALL_PENDING
        byte = self._bytes[at]
        if not byte & 1:
            self._bytes[at] = byte | 1
            self._wake(vcpu_id)

    def poll(self, vcpu_id: int, port: int | None) -> None:
        """A vcpu polls from now on."""
        self.pollers[vcpu_id] = port
        self.polling[0] = len(self.pollers)

    def stop_poll(self, vcpu_id: int) -> None:
        """It does not any more, if it did."""
        self.pollers.pop(vcpu_id, None)
        self.polling[0] = len(self.pollers)

    def wake_pollers(self, port: int) -> None:
        """Wake those that poll a port which has turned pending."""
        for vcpu_id in [v for v, polled in self.pollers.items() if polled is None or polled == port]:
            self.stop_poll(vcpu_id)
            self._wake(vcpu_id)
