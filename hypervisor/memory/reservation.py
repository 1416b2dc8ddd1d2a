"""A domain's reservation: memory given back, memory asked for (public/memory.h).

The three list operations never fail: they answer how many extents were dealt with, and stop at the first that
cannot be. An extent is 2**extent_order frames; for a guest an order above 9 is too large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.memory import (
    XEN_MEMORY_RESERVATION,
    MemoryFlag,
    MemoryOp,
    XenMemoryReservation,
)
from paravane.cpu.faults import PageFault
from paravane.memory.frames import ALLOCATED
from paravane.memory.guest import check_may_use, named_domain
from paravane.preemption import Preempted
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.guest import Caller
    from paravane.memory.machine_memory import MachineMemory
    from paravane.memory.owner import Owner

MAX_ORDER: Final = 9
CONTINUATION_SHIFT: Final = 6
"""The bits of a memory_op's command above these are the extent to go on from."""

EXTENT_WORK: Final = 4
FRAME_WORK: Final = 2
"""Units of work of one extent, and of each frame in it."""

_MAX_EXTENTS: Final = 0xFFFF_FFFF >> 6
_NO_NODE: Final = 0xFF


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
    limit = highest_frame(current, request.mem_flags)
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
    for extent in range(start, request.nr_extents):
        if extent != start and not caller.work.left():
            raise Preempted(extent - start, op | extent << CONTINUATION_SHIFT, pointer)
        caller.work.spend(EXTENT_WORK + (FRAME_WORK << request.extent_order))
        if not action(extent):
            return extent
    return request.nr_extents


def _list_is_okay(request: XenMemoryReservation, domain: DomainMemory) -> bool:
    """Whether the list of frame numbers lies below the hypervisor's area; none at all is fine."""
    end = request.extent_start + 4 * request.nr_extents
    return not request.extent_start or end <= domain.space.hole


def highest_frame(domain: DomainMemory, mem_flags: int) -> int | None:
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

    def __init__(self, caller: Caller, domain: Owner, request: XenMemoryReservation, limit: int) -> None:
        self._caller = caller
        self._machine = caller.paging.domain.machine
        self._domain = domain
        self._list = request.extent_start
        self._order = request.extent_order
        self._limit = limit

    def increase(self, extent: int) -> bool:
        """More memory, at no pseudo-physical address yet. Without a list the guest is not told where."""
        run = allocate_extent(self._machine, self._domain, self._order, self._limit)
        return run is not None and (not self._list or self._tell(extent, run.start))

    def populate(self, extent: int) -> bool:
        """More memory, at the pseudo-physical address in the list, which is replaced by the machine
        address.
        """
        pfn = self._read(extent)
        if pfn is None:
            return False
        run = allocate_extent(self._machine, self._domain, self._order, self._limit)
        if run is None:
            return False
        set_pfns(self._machine, run, pfn)
        return self._tell(extent, run.start)

    def decrease(self, extent: int) -> bool:
        """Give frames back. One that is still mapped somewhere goes when the last mapping of it does."""
        first = self._read(extent)
        return first is not None and all(
            give_back(self._machine, self._domain, mfn) for mfn in range(first, first + (1 << self._order))
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


def allocate_extent(machine: MachineMemory, domain: Owner, order: int, limit: int) -> range | None:
    """2**order frames below mfn `limit` for the domain, or None: its own limit or the machine's memory is
    used up.
    """
    count = 1 << order
    if count > domain.max_pages - domain.tot_pages or domain.dying:
        return None
    run = machine.take_contiguous(domain.domid, order, ALLOCATED, limit)
    if run is not None:
        domain.tot_pages += count
    return run


def set_pfns(machine: MachineMemory, run: Iterable[int], pfn: int) -> None:
    """Record the pseudo-physical addresses of an extent, from `pfn` on."""
    m2p = machine.m2p
    for offset, mfn in enumerate(run):
        m2p[mfn] = pfn + offset & 0xFFFF_FFFF


def give_back(machine: MachineMemory, domain: Owner, mfn: int) -> bool:
    """Drop the domain's own reference to a frame; False if the frame is not the domain's."""
    if not machine.frames.owned_by(mfn, domain.domid):
        return False
    if machine.frames.flags[mfn] & ALLOCATED:
        machine.frames.flags[mfn] &= ~ALLOCATED
        machine.types.put_page(mfn)
    return True
