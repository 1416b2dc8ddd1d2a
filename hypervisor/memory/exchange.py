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
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.guest import Caller
    from paravane.memory.machine_memory import MachineMemory
    from paravane.memory.owner import Owner

_XLAT_SPACE: Final = (2 * PAGE_SIZE - 72) // 8
"""Frame numbers that fit where Xen translates a 32-bit guest's lists of an exchange."""


def exchange(caller: Caller, pointer: int) -> None:
    """XENMEM_exchange: give extents back and get others of the same total size.

    The order of things is that of Xen's 32-bit layer (common/compat/memory.c): the lists are read a portion
    at a time before anything is done, and the new frames and `nr_exchanged` are written once it succeeded.
    A refusal (raised) in the middle of a portion tells the guest nothing of what was exchanged before it in
    that portion. Raises Preempted when there are more chunks than one entry may do.
    """
    try:
        request = XEN_MEMORY_EXCHANGE.unpack(caller.copy_from_guest(pointer, XEN_MEMORY_EXCHANGE.size))
    except PageFault as fault:
        raise Refusal(Errno.EFAULT, f"the exchange cannot be read at {fault.va:#010x}") from None
    _check_sizes(request, caller.paging.domain)
    start, done = request.nr_exchanged, False
    while not done:
        portion = _Portion(caller, request, start)
        finished = portion.run()
        _tell(caller, pointer, request, portion)
        if not finished:
            raise Preempted(portion.exchanged - request.nr_exchanged, MemoryOp.exchange, pointer)
        start = portion.exchanged
        done = start == request.in_.nr_extents


def _check_sizes(request: XenMemoryExchange, domain: DomainMemory) -> None:
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


def _tell(caller: Caller, pointer: int, request: XenMemoryExchange, portion: _Portion) -> None:
    """Write where the new extents are, and how far the exchange came. Raises Refusal (-EFAULT) in the end if
    something could not be written.
    """
    unwritten: PageFault | None = None
    writes = [(request.out.extent_start + 4 * extent, mfn) for extent, mfn in portion.handed_out]
    try:
        for address, mfn in writes:
            caller.copy_to_guest(address, mfn.to_bytes(4, "little"))
    except PageFault as fault:
        unwritten = fault
    try:
        at = pointer + XEN_MEMORY_EXCHANGE.offsets["nr_exchanged"]
        caller.copy_to_guest(at, portion.exchanged.to_bytes(4, "little"))
    except PageFault as fault:
        unwritten = fault
    if unwritten is not None:
        raise Refusal(Errno.EFAULT, f"what was exchanged cannot be told at {unwritten.va:#010x}")


class _Portion:
    """As much of an exchange, from input extent `start` on, as Xen translates at a time.

    `exchanged` counts input extents, `handed_out` has (number, first mfn) of each new extent.
    """

    def __init__(self, caller: Caller, request: XenMemoryExchange, start: int) -> None:
        """Read both lists. Raises Refusal (-EFAULT)."""
        self._caller = caller
        self._machine = caller.paging.domain.machine
        self._give, self._get = request.in_, request.out
        self.exchanged = start
        self.handed_out: list[tuple[int, int]] = []
        delta = request.out.extent_order - request.in_.extent_order
        self._in_chunk, self._out_chunk = 1 << max(delta, 0), 1 << max(-delta, 0)
        chunks = _XLAT_SPACE // ((1 << abs(delta)) + 1)
        self._end = min(start + chunks * self._in_chunk, self._give.nr_extents)
        self._first_in, self._first_out = start, start // self._in_chunk * self._out_chunk
        last_out = self._end // self._in_chunk * self._out_chunk
        self._mfns = self._read(self._give.extent_start, start, self._end)
        self._pfns = self._read(self._get.extent_start, self._first_out, last_out)

    def run(self) -> bool:
        """Exchange chunk after chunk; False when some are left for another time. Raises Refusal; the chunk
        that failed is as it was."""
        give, budget = self._give, self._caller.budget
        if max(give.extent_order, self._get.extent_order) > MAX_ORDER:
            raise Refusal(Errno.EPERM, f"extents above order {MAX_ORDER} are not for guests")
        if give.domid != self._get.domid:
            raise Refusal(Errno.EINVAL, f"one exchange for two domains, {give.domid} and {self._get.domid}")
        if self.exchanged == self._end:
            return True
        current = self._caller.paging.domain
        limit = highest_frame(current, self._get.mem_flags)
        if limit is None:
            raise Refusal(Errno.EINVAL, f"memory flags {self._get.mem_flags:#x} cannot be met")
        domain = named_domain(current, give.domid)
        check_may_use(current, domain.domid)
        first = self.exchanged // self._in_chunk
        for chunk in range(first, self._end // self._in_chunk):
            if chunk != first and not budget.left():
                return False
            extents = self._in_chunk + self._out_chunk
            budget.spend(EXTENT_WORK * extents + 2 * FRAME_WORK * (self._in_chunk << give.extent_order))
            self._exchange_chunk(domain, chunk, limit)
            self.exchanged = (chunk + 1) * self._in_chunk
        return True

    def _exchange_chunk(self, domain: Owner, chunk: int, limit: int) -> None:
        machine, frames = self._machine, self._machine.frames
        stolen: list[int] = []
        taken: list[range] = []
        try:
            for extent in range(chunk * self._in_chunk, (chunk + 1) * self._in_chunk):
                first = self._mfns[extent - self._first_in]
                for mfn in range(first, first + (1 << self._give.extent_order)):
                    steal(machine, domain, mfn)
                    stolen.append(mfn)
            for _ in range(self._out_chunk):
                # One by one: those that were taken go back when there is no next one.
                taken.append(self._take(domain, limit))
        except Refusal:
            for mfn in stolen:
                frames.count[mfn] = 1
            for run in taken:
                machine.drop(run)
            raise
        for mfn in stolen:
            frames.count[mfn] = 1
            frames.flags[mfn] = 0
            machine.types.put_page(mfn)
        domain.tot_pages += sum(map(len, taken))
        for extent, run in enumerate(taken, start=chunk * self._out_chunk):
            set_pfns(machine, run, self._pfns[extent - self._first_out])
            self.handed_out.append((extent, run.start))

    def _take(self, domain: Owner, limit: int) -> range:
        run = self._machine.take_contiguous(domain.domid, self._get.extent_order, ALLOCATED, limit)
        if run is None:
            raise Refusal(Errno.ENOMEM, f"no free extent of order {self._get.extent_order}")
        return run

    def _read(self, address: int, first: int, end: int) -> Sequence[int]:
        """Numbers `first` to `end` of a list in guest memory."""
        if first == end:
            return ()
        try:
            return memoryview(self._caller.copy_from_guest(address + 4 * first, 4 * (end - first))).cast("I")
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
