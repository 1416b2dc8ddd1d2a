"""XENMEM_exchange: frames given back for others (public/memory.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.memory import XEN_MEMORY_EXCHANGE, MemoryOp, XenMemoryExchange
from paravane.cpu.faults import PageFault
from paravane.memory.frames import ALLOCATED, XEN_HEAP
from paravane.memory.guest import check_may_use, named_domain
from paravane.memory.reservation import EXTENT_WORK, FRAME_WORK, MAX_ORDER, highest_frame, set_pfns
from paravane.preemption import Preempted
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.guest import Caller
    from paravane.memory.machine_memory import MachineMemory
    from paravane.memory.owner import Owner

_XLAT_SPACE: Final = (2 * 4096 - 72) // 8
"""Frame numbers that fit where Xen translates a 32-bit guest's lists of an exchange."""


def exchange(caller: Caller, pointer: int) -> None:
    """XENMEM_exchange: give extents back and get others of the same total size. Raises Refusal.

    Done in chunks of the larger extent; the struct's `nr_exchanged` tells how far it got. Raises Preempted
    when there are more chunks than one entry may do.
    """
    try:
        request = XEN_MEMORY_EXCHANGE.unpack(caller.copy_from_guest(pointer, XEN_MEMORY_EXCHANGE.size))
    except PageFault as fault:
        raise Refusal(Errno.EFAULT, f"the exchange cannot be read at {fault.va:#010x}") from None
    _check_exchange(request, caller.paging.domain)
    work = _Exchange(caller, request)
    try:
        if not work.run():
            raise Preempted(work.exchanged - request.nr_exchanged, MemoryOp.exchange, pointer)
    finally:
        at = pointer + XEN_MEMORY_EXCHANGE.offsets["nr_exchanged"]
        try:
            caller.copy_to_guest(at, work.exchanged.to_bytes(4, "little"))
        except PageFault as fault:
            raise Refusal(Errno.EFAULT, f"nr_exchanged cannot be written at {fault.va:#010x}") from None


def _check_exchange(request: XenMemoryExchange, domain: DomainMemory) -> None:
    give, get = request.in_, request.out
    delta = get.extent_order - give.extent_order
    orders = give.extent_order < 32 and get.extent_order < 32
    if (
        request.nr_exchanged > give.nr_extents
        or not orders
        or (delta > 0 and request.nr_exchanged & (1 << delta) - 1)
        or give.nr_extents << give.extent_order > 0xFFFF_FFFF
        or give.nr_extents << give.extent_order != get.nr_extents << get.extent_order
    ):
        raise Refusal(Errno.EINVAL, "the two lists of the exchange do not have the same size")
    for side in (give, get):
        if side.extent_start + 4 * side.nr_extents > domain.space.hole:
            raise Refusal(
                Errno.EFAULT, f"a list at {side.extent_start:#010x} reaches into the hypervisor's area"
            )
    if ((1 << abs(delta)) + 1) > _XLAT_SPACE:
        raise Refusal(
            Errno.E2BIG, f"extents of order {give.extent_order} and {get.extent_order} are too unlike"
        )
    if max(give.extent_order, get.extent_order) > MAX_ORDER:
        raise Refusal(Errno.EPERM, f"extents above order {MAX_ORDER} are not for guests")
    if give.domid != get.domid:
        raise Refusal(Errno.EINVAL, f"one exchange for two domains, {give.domid} and {get.domid}")


class _Exchange:
    """The chunks of one exchange. `exchanged` counts input extents."""

    def __init__(self, caller: Caller, request: XenMemoryExchange) -> None:
        self._caller = caller
        self._machine = caller.paging.domain.machine
        self._give, self._get = request.in_, request.out
        self.exchanged = request.nr_exchanged
        delta = request.out.extent_order - request.in_.extent_order
        self._in_chunk, self._out_chunk = 1 << max(delta, 0), 1 << max(-delta, 0)

    def run(self) -> bool:
        """Exchange chunk after chunk; False when some are left for another time. Raises Refusal; the chunk
        that failed is as it was."""
        give, current, work = self._give, self._caller.paging.domain, self._caller.work
        if self.exchanged == give.nr_extents:
            return True
        limit = highest_frame(current, self._get.mem_flags)
        if limit is None:
            raise Refusal(Errno.EINVAL, f"memory flags {self._get.mem_flags:#x} cannot be met")
        domain = named_domain(current, give.domid)
        check_may_use(current, domain.domid)
        first = self.exchanged // self._in_chunk
        for chunk in range(first, give.nr_extents // self._in_chunk):
            if chunk != first and not work.left():
                return False
            extents = self._in_chunk + self._out_chunk
            work.spend(EXTENT_WORK * extents + 2 * FRAME_WORK * (self._in_chunk << give.extent_order))
            self._one(domain, chunk, limit)
            self.exchanged = (chunk + 1) * self._in_chunk
        return True

    def _one(self, domain: Owner, chunk: int, limit: int) -> None:
        stolen: list[int] = []
        taken: list[range] = []
        try:
            for extent in range(chunk * self._in_chunk, (chunk + 1) * self._in_chunk):
                first = self._read(self._give.extent_start + 4 * extent)
                for mfn in range(first, first + (1 << self._give.extent_order)):
                    steal(self._machine, domain, mfn)
                    stolen.append(mfn)
            for _ in range(self._out_chunk):
                taken.append(self._take(domain, limit))
        except Refusal:
            for mfn in stolen:
                self._machine.frames.count[mfn] = 1
            for run in taken:
                self._machine.drop(run)
            raise
        for mfn in stolen:
            self._machine.frames.count[mfn] = 1
            self._machine.frames.flags[mfn] = 0
            self._machine.types.put_page(mfn)
        domain.tot_pages += sum(map(len, taken))
        self._hand_out(domain, chunk, taken)

    def _take(self, domain: Owner, limit: int) -> range:
        run = self._machine.take_contiguous(domain.domid, self._get.extent_order, ALLOCATED, limit)
        if run is None:
            raise Refusal(Errno.ENOMEM, f"no free extent of order {self._get.extent_order}")
        return run

    def _hand_out(self, domain: Owner, chunk: int, taken: list[range]) -> None:
        """Put the new frames where the guest wants them. They are its own even if it cannot be told."""
        unreadable: Refusal | None = None
        for extent, run in enumerate(taken, start=chunk * self._out_chunk):
            address = self._get.extent_start + 4 * extent
            try:
                set_pfns(self._machine, run, self._read(address))
                self._caller.copy_to_guest(address, run.start.to_bytes(4, "little"))
            except PageFault as fault:
                unreadable = Refusal(Errno.EFAULT, f"the list cannot be written at {fault.va:#010x}")
            except Refusal as refusal:
                unreadable = refusal
        if unreadable is not None:
            raise unreadable

    def _read(self, address: int) -> int:
        try:
            return int.from_bytes(self._caller.copy_from_guest(address, 4), "little")
        except PageFault as fault:
            raise Refusal(Errno.EFAULT, f"the list cannot be read at {fault.va:#010x}") from None


def steal(machine: MachineMemory, domain: Owner, mfn: int) -> None:
    """Take a frame out of use. Only one nobody has mapped can be: its sole reference is the owner's own.

    Its count is 0 afterwards, so nothing can take another. Its type stays: should it come back to its owner,
    a processor may still remember a writable mapping, and the next use as a table must flush. Raises Refusal
    (-EINVAL).
    """
    frames = machine.frames
    if not frames.owned_by(mfn, domain.domid) or frames.flags[mfn] & XEN_HEAP:
        raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is not d{domain.domid}'s to exchange")
    if frames.count[mfn] != 1 or not frames.flags[mfn] & ALLOCATED:
        raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is in use and cannot be exchanged")
    frames.count[mfn] = 0
