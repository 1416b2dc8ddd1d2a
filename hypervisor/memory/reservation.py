"""A domain's reservation: memory given back, memory asked for (public/memory.h).

The three list operations never fail: they answer how many extents were dealt with, and stop at the first that
cannot be. An extent is 2**extent_order frames; for a guest an order above 9 is too large. As in Xen's 32-bit
layer (common/compat/memory.c) the list is read a portion at a time before anything is done, and the new frame
numbers are written once a portion is done: an entry that cannot be written ends the request, but the extents
of its portion are the domain's.
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
from paravane.memory.guest import check_may_use, named_domain, read_requests
from paravane.preemption import Preempted
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

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

_XLAT_SPACE: Final = (2 * PAGE_SIZE - 32) // 8
"""Entries of a 32-bit guest's list that Xen translates at a time."""

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
    if op == MemoryOp.populate_physmap and request.mem_flags & MemoryFlag.populate_on_demand:
        return start
    extents = Extents(caller, MemoryOp(op), domain, request, limit)
    first, more = start, True
    while more:
        first, more = extents.portion(first)
        if more and not caller.budget.left():
            raise Preempted(first - start, op | first << CONTINUATION_SHIFT, pointer)
    return first


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
    """The extents of one request."""

    def __init__(
        self, caller: Caller, op: MemoryOp, domain: Owner, request: XenMemoryReservation, limit: int
    ) -> None:
        self._caller = caller
        self._machine = caller.paging.domain.machine
        self._domain = domain
        self._list = request.extent_start
        self._nr_extents = request.nr_extents
        self._order = request.extent_order
        self._limit = limit
        self._action = {
            MemoryOp.increase_reservation: self._increase,
            MemoryOp.decrease_reservation: self._decrease,
            MemoryOp.populate_physmap: self._populate,
        }[op]
        self._is_read = op != MemoryOp.increase_reservation
        self._is_written = bool(self._list) and op != MemoryOp.decrease_reservation

    def portion(self, start: int) -> tuple[int, bool]:
        """Deal with extents from `start` on: how far it came, and whether more can be tried after them."""
        budget, wanted = self._caller.budget, min(_XLAT_SPACE, self._nr_extents - start)
        numbers = self._numbers(start, wanted) if self._is_read else [0] * wanted
        done: list[int] = []
        failed = len(numbers) < wanted
        for number in numbers:
            if done and not budget.left():
                failed = False
                break
            budget.spend(EXTENT_WORK + (FRAME_WORK << self._order))
            result = self._action(number)
            if result is None:
                failed = True
                break
            done.append(result)
        told = self._tell(start, done) if self._is_written else len(done)
        end = start + told
        return end, not failed and told == len(done) and end < self._nr_extents

    def _increase(self, number: int) -> int | None:
        """More memory, at no pseudo-physical address yet. Without a list the guest is not told where."""
        run = allocate_extent(self._machine, self._domain, self._order, self._limit)
        return None if run is None else run.start

    def _populate(self, pfn: int) -> int | None:
        """More memory, at a pseudo-physical address."""
        run = allocate_extent(self._machine, self._domain, self._order, self._limit)
        if run is None:
            return None
        set_pfns(self._machine, run, pfn)
        return run.start

    def _decrease(self, first: int) -> int | None:
        """Give frames back. One that is still mapped somewhere goes when the last mapping of it does."""
        mfns = range(first, first + (1 << self._order))
        return first if all(give_back(self._machine, self._domain, mfn) for mfn in mfns) else None

    def _numbers(self, start: int, count: int) -> list[int]:
        """Entries of the guest's list, up to the first that cannot be read."""
        data, _ = read_requests(self._caller, self._list + 4 * start, 4, count)
        return memoryview(data).cast("I").tolist()

    def _tell(self, start: int, mfns: list[int]) -> int:
        """Replace entries of the list; how many could be."""
        for at, mfn in enumerate(mfns):
            try:
                self._caller.copy_to_guest(self._list + 4 * (start + at), mfn.to_bytes(4, "little"))
            except PageFault:
                return at
        return len(mfns)


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
