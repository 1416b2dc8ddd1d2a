"""A domain's reservation: memory given back, memory asked for, memory exchanged (public/memory.h).

The three list operations never fail: they answer how many extents were dealt with, and stop at the first that
cannot be. An extent is 2**extent_order frames; for a guest an order above 9 is too large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.memory import (
    XEN_MEMORY_EXCHANGE,
    XEN_MEMORY_RESERVATION,
    MemoryFlag,
    MemoryOp,
    XenMemoryExchange,
    XenMemoryReservation,
)
from paravane.cpu.faults import PageFault
from paravane.memory.frames import ALLOCATED, XEN_HEAP
from paravane.memory.guest import check_may_use, named_domain
from paravane.memory.layout import PAGE_SHIFT
from paravane.preemption import Preempted
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.guest import Caller

MAX_ORDER: Final = 9
CONTINUATION_SHIFT: Final = 6
"""The bits of a memory_op's command above these are the extent to go on from."""

_EXTENT_WORK: Final = 4
_FRAME_WORK: Final = 2
"""Units of work of one extent, and of each frame in it."""

_MAX_EXTENTS: Final = 0xFFFF_FFFF >> 6
_NO_NODE: Final = 0xFF
_XLAT_SPACE: Final = (2 * 4096 - 72) // 8
"""Frame numbers that fit where Xen translates a 32-bit guest's lists of an exchange."""


def change_reservation(caller: Caller, op: int, pointer: int, start: int) -> int:
    """increase_reservation, decrease_reservation, populate_physmap: how many extents are dealt with.

    `start` is the first extent to look at, and the answer when anything about the request is wrong. Raises
    Preempted when there are more extents than one entry may do.
    """
    try:
        data = caller.copy_from_guest(pointer, XEN_MEMORY_RESERVATION.size)
    except PageFault:
        return start
    request = XEN_MEMORY_RESERVATION.unpack(data)
    current = caller.paging.domain
    if not _list_is_okay(request, current) or not start < request.nr_extents <= _MAX_EXTENTS:
        return start
    try:
        domain = named_domain(current, request.domid)
        check_may_use(current, domain.domid)
    except Refusal:
        return start
    limit = _highest_frame(domain, request.mem_flags)
    if limit is None or request.extent_order > MAX_ORDER:
        return start
    extents = Extents(caller, domain, request, limit)
    action = {
        MemoryOp.increase_reservation: extents.increase,
        MemoryOp.decrease_reservation: extents.decrease,
        MemoryOp.populate_physmap: extents.populate,
    }[MemoryOp(op)]
    if op == MemoryOp.populate_physmap and request.mem_flags & MemoryFlag.populate_on_demand:
        return start
    try:
        for extent in range(start, request.nr_extents):
            if extent != start and not caller.work.left():
                raise Preempted(extent - start, op | extent << CONTINUATION_SHIFT, pointer)
            caller.work.spend(_EXTENT_WORK + (_FRAME_WORK << request.extent_order))
            if not action(extent):
                return extent
        return request.nr_extents
    finally:
        current.machine.flushes.settle()


def _list_is_okay(request: XenMemoryReservation, domain: DomainMemory) -> bool:
    """Whether the list of frame numbers lies below the hypervisor's area; none at all is fine."""
    end = request.extent_start + 4 * request.nr_extents
    return not request.extent_start or end <= domain.space.hole


def _highest_frame(domain: DomainMemory, mem_flags: int) -> int | None:
    """One more than the highest mfn that the flags allow; None where Xen refuses the flags."""
    frames = domain.machine.frames.nr_frames
    bits = mem_flags & 0xFF
    if mem_flags & MemoryFlag.exact_node_request and not mem_flags & MemoryFlag.vnode:
        node = (mem_flags >> 8) - 1 & 0xFF
        if node != _NO_NODE and not domain.privileged:
            return None
    if not bits or bits >= (frames - 1).bit_length() + PAGE_SHIFT:
        return frames
    return None if bits <= PAGE_SHIFT else 1 << bits - PAGE_SHIFT


class Extents:
    """The extents of one request, each done by number. Every method answers whether it could."""

    def __init__(
        self, caller: Caller, domain: DomainMemory, request: XenMemoryReservation, limit: int
    ) -> None:
        self._caller = caller
        self._domain = domain
        self._list = request.extent_start
        self._order = request.extent_order
        self._limit = limit

    def increase(self, extent: int) -> bool:
        """More memory, at no pseudo-physical address yet. Without a list the guest is not told where."""
        run = allocate_extent(self._domain, self._order, self._limit)
        return run is not None and (not self._list or self._tell(extent, run.start))

    def populate(self, extent: int) -> bool:
        """More memory, at the pseudo-physical address in the list, which is replaced by the machine
        address.
        """
        pfn = self._read(extent)
        if pfn is None:
            return False
        run = allocate_extent(self._domain, self._order, self._limit)
        if run is None:
            return False
        set_pfns(self._domain, run, pfn)
        return self._tell(extent, run.start)

    def decrease(self, extent: int) -> bool:
        """Give frames back. One that is still mapped somewhere goes when the last mapping of it does."""
        first = self._read(extent)
        return first is not None and all(
            give_back(self._domain, mfn) for mfn in range(first, first + (1 << self._order))
        )

    def _read(self, extent: int) -> int | None:
        try:
            return int.from_bytes(self._caller.copy_from_guest(self._list + 4 * extent, 4), "little")
        except PageFault:
            return None

    def _tell(self, extent: int, mfn: int) -> bool:
        try:
            self._caller.copy_to_guest(self._list + 4 * extent, mfn.to_bytes(4, "little"))
        except PageFault:
            return False
        return True


def allocate_extent(domain: DomainMemory, order: int, limit: int) -> range | None:
    """2**order frames below mfn `limit` for the domain, or None: its own limit or the machine's memory is
    used up.
    """
    machine, count = domain.machine, 1 << order
    if count > domain.max_pages - domain.tot_pages or domain.dying:
        return None
    run = machine.take_contiguous(domain.domid, order, ALLOCATED, limit)
    if run is not None:
        domain.tot_pages += count
    return run


def set_pfns(domain: DomainMemory, run: Iterable[int], pfn: int) -> None:
    """Record the pseudo-physical addresses of an extent, from `pfn` on."""
    m2p = domain.machine.m2p
    for offset, mfn in enumerate(run):
        m2p[mfn] = pfn + offset & 0xFFFF_FFFF


def give_back(domain: DomainMemory, mfn: int) -> bool:
    """Drop the domain's own reference to a frame; False if the frame is not the domain's."""
    machine = domain.machine
    if not machine.frames.owned_by(mfn, domain.domid):
        return False
    if machine.frames.flags[mfn] & ALLOCATED:
        machine.frames.flags[mfn] &= ~ALLOCATED
        machine.types.put_page(mfn)
    return True


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
        caller.paging.domain.machine.flushes.settle()
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
        limit = _highest_frame(current, self._get.mem_flags)
        if limit is None:
            raise Refusal(Errno.EINVAL, f"memory flags {self._get.mem_flags:#x} cannot be met")
        domain = named_domain(current, give.domid)
        check_may_use(current, domain.domid)
        first = self.exchanged // self._in_chunk
        for chunk in range(first, give.nr_extents // self._in_chunk):
            if chunk != first and not work.left():
                return False
            extents = self._in_chunk + self._out_chunk
            work.spend(_EXTENT_WORK * extents + 2 * _FRAME_WORK * (self._in_chunk << give.extent_order))
            self._one(domain, chunk, limit)
            self.exchanged = (chunk + 1) * self._in_chunk
        return True

    def _one(self, domain: DomainMemory, chunk: int, limit: int) -> None:
        stolen: list[int] = []
        taken: list[range] = []
        try:
            for extent in range(chunk * self._in_chunk, (chunk + 1) * self._in_chunk):
                first = self._read(self._give.extent_start + 4 * extent)
                for mfn in range(first, first + (1 << self._give.extent_order)):
                    steal(domain, mfn)
                    stolen.append(mfn)
            for _ in range(self._out_chunk):
                taken.append(self._take(domain, limit))
        except Refusal:
            for mfn in stolen:
                domain.machine.frames.count[mfn] = 1
            for run in taken:
                domain.machine.drop(run)
            raise
        for mfn in stolen:
            domain.machine.frames.count[mfn] = 1
            domain.machine.frames.flags[mfn] = 0
            domain.machine.types.put_page(mfn)
        domain.tot_pages += sum(map(len, taken))
        self._hand_out(domain, chunk, taken)

    def _take(self, domain: DomainMemory, limit: int) -> range:
        run = domain.machine.take_contiguous(domain.domid, self._get.extent_order, ALLOCATED, limit)
        if run is None:
            raise Refusal(Errno.ENOMEM, f"no free extent of order {self._get.extent_order}")
        return run

    def _hand_out(self, domain: DomainMemory, chunk: int, taken: list[range]) -> None:
        """Put the new frames where the guest wants them. They are its own even if it cannot be told."""
        unreadable: Refusal | None = None
        for extent, run in enumerate(taken, start=chunk * self._out_chunk):
            address = self._get.extent_start + 4 * extent
            try:
                set_pfns(domain, run, self._read(address))
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


def steal(domain: DomainMemory, mfn: int) -> None:
    """Take a frame out of use. Only one nobody has mapped can be: its sole reference is the owner's own.

    Its count is 0 afterwards, so nothing can take another. Its type stays: should it come back to its owner,
    a processor may still remember a writable mapping, and the next use as a table must flush. Raises Refusal
    (-EINVAL).
    """
    frames = domain.machine.frames
    if not frames.owned_by(mfn, domain.domid) or frames.flags[mfn] & XEN_HEAP:
        raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is not d{domain.domid}'s to exchange")
    if frames.count[mfn] != 1 or not frames.flags[mfn] & ALLOCATED:
        raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is in use and cannot be exchanged")
    frames.count[mfn] = 0
