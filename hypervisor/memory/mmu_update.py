"""mmu_update: a batch of changes to page tables and to the machine-to-phys table (public/xen.h)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.mmu import MmuUpdateType
from paravane.cpu.faults import PageFault
from paravane.memory.frames import L1, L3, WRITABLE, FrameType
from paravane.memory.guest import Progress, check_may_use, existing_domain, page_owner, read_requests
from paravane.preemption import Preempted
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.guest import Caller
    from paravane.memory.owner import Owner
    from paravane.preemption import PreemptionBudget

_REQUEST: Final = 16
_WORDS: Final = Struct("<QQ")
_PRESERVE_AD: Final = int(MmuUpdateType.PT_UPDATE_PRESERVE_AD)


def mmu_update(caller: Caller, ureqs: int, count: int, pdone: int, foreigndom: int) -> int:
    """Carry out `count` requests at `ureqs` in order, up to the first that is refused. Returns 0 or an odd
    result.

    `foreigndom` is the domain whose frames are mapped, and above bit 16 one more than that whose tables they
    are. Raises Refusal with the errno of the refused request, after those before it were done and `pdone`
    was set; -EFAULT if a request cannot be read. Raises Preempted, with `pdone` set, when there are more
    requests than one entry may do.
    """
    if count == 1 and foreigndom == DomId.SELF and not pdone and _update_one(caller, ureqs):
        return 0
    if count == Progress.PREEMPTED and not ureqs:
        return foreigndom - (1 << 32) if foreigndom & 0x8000_0000 else foreigndom
    progress = Progress(caller, pdone, count)
    count &= ~Progress.PREEMPTED
    domain = caller.paging.domain
    tables = _table_owner(domain, foreigndom >> 16)
    budget, done = caller.budget, 0
    try:
        if not tables.vcpus:
            raise Refusal(Errno.EINVAL, f"d{tables.domid} has no vcpu")
        batch = Batch(domain, tables, page_owner(domain, foreigndom & 0xFFFF), budget)
        while done < count:
            at, rest = ureqs + done * _REQUEST, count - done
            # Most calls have one request: they need not ask.
            wanted = 1 if count == 1 else min(rest, budget.left() or not done)
            if not wanted:
                raise Preempted(done, at, rest | Progress.PREEMPTED, pdone, foreigndom)
            data, fault = read_requests(caller, at, _REQUEST, wanted)
            try:
                batch.run(data)
            finally:
                done += batch.done
                budget.spend(batch.done)
            if fault is not None and batch.done * _REQUEST == len(data):
                raise Refusal(Errno.EFAULT, f"request {done} of {count} cannot be read at {fault.va:#010x}")
    finally:
        progress.report(done)
    return 0


def _update_one(caller: Caller, ureq: int) -> bool:
    """The call that real kernels make most: one request, for an entry of an own L1 table. False: it is
    anything else, or refused, and nothing was done.

    What `Batch` would decide is decided here already: the caller may touch its own memory, and an L1 entry
    walks no tables, so no budget is asked and only a batch (a multicall) charges for it.
    """
    try:
        ptr, val = caller.words_from_guest(_WORDS, ureq)
    except PageFault:
        return False
    domain = caller.paging.domain
    space, machine, mfn = domain.space, domain.machine, ptr >> PAGE_SHIFT
    frames, domid, command = machine.frames, domain.domid, ptr & (1 << space.entry_shift) - 1
    if (
        (command and command != _PRESERVE_AD)
        or mfn >= frames.nr_frames
        or frames.type[mfn] != L1
        or frames.owner[mfn] != domid
        or not frames.type_count[mfn]
        or frames.count[mfn] >= frames.count_limit
    ):
        return False
    index, new = ptr >> space.entry_shift, val & space.entry_mask
    if machine.tables.exchange_l1(domain, index, new, preserve_ad=command != 0):
        return True
    try:
        machine.tables.modify_l1(domain, index, new, domid, preserve_ad=command != 0)
    except Refusal:
        # Refused without a trace; the batch refuses it again and says which request it was.
        return False
    return True


def _table_owner(domain: DomainMemory, number: int) -> Owner:
    if not number:
        return domain
    return existing_domain(domain, number - 1)


class Batch:
    """Requests of one call. `done` counts those of the last `run` that were carried out."""

    def __init__(self, domain: DomainMemory, tables: Owner, pg_owner: int, budget: PreemptionBudget) -> None:
        self._domain = domain
        self._machine = domain.machine
        self._tables = tables
        self._pg_owner = pg_owner
        self._own = tables is domain and pg_owner == domain.domid
        self._budget = budget
        self.done = 0

    def run(self, data: bytes) -> None:
        """Carry out requests, fewer when they turn out to be a lot of work. Raises Refusal at the first that
        is not allowed.

        A request that leaves an L1 entry as it is, but for bits that are not checked, is done on the spot:
        that is what most requests of a real kernel are. One that maps or unmaps a page the ordinary way is
        done by a single call.
        """
        self.done = 0
        tables = self._tables
        space, entries, domid = tables.space, tables.entries, tables.domid
        frames, code = self._machine.frames, self._machine.ram.code_map
        owner, kind, uses, nr_frames = frames.owner, frames.type, frames.type_count, frames.nr_frames
        low, shift = (1 << space.entry_shift) - 1, space.entry_shift
        checked, unusual = ~space.unchecked, space.refused[1] | space.dropped
        width, exchange = space.entry_mask, self._machine.tables.exchange_l1
        plain = self._own
        requests = iter(memoryview(data).cast("Q").tolist())
        for done, (ptr, val) in enumerate(zip(requests, requests, strict=True)):
            mfn = ptr >> 12
            if plain and mfn < nr_frames and kind[mfn] == L1 and owner[mfn] == domid and uses[mfn]:
                command, index, new = ptr & low, ptr >> shift, val & width
                if (
                    new & 1
                    and not command
                    and not (entries[index] ^ new) & checked
                    and not new & unusual
                    and not code[mfn]
                ):
                    entries[index] = new
                    continue
                if (not command or command == _PRESERVE_AD) and exchange(
                    tables, index, new, preserve_ad=command != 0
                ):
                    continue
            try:
                go_on = self._any(ptr, val)
            except Refusal as refusal:
                self.done = done
                raise Refusal(
                    refusal.errno, f"request {done} (ptr={ptr:#x} val={val:#x}): {refusal.sentence}"
                ) from None
            if not go_on:
                self.done = done + 1
                return
        self.done = len(data) // _REQUEST

    def _any(self, ptr: int, val: int) -> bool:
        """Carry out a request of any kind; False when that used up the budget. An upper entry may take or
        drop tables below tables."""
        types = self._machine.types
        before = types.tables_walked()
        self._one(ptr, val)
        return types.tables_walked() == before or self._budget.left() > 0

    def _one(self, ptr: int, val: int) -> None:
        low = (1 << self._tables.space.entry_shift) - 1
        command = ptr & low
        if command == MmuUpdateType.MACHPHYS_UPDATE:
            self._machphys(ptr >> 12, val)
        elif command in (
            MmuUpdateType.NORMAL_PT_UPDATE,
            MmuUpdateType.PT_UPDATE_PRESERVE_AD,
            MmuUpdateType.PT_UPDATE_NO_TRANSLATE,
        ):
            preserve = command == MmuUpdateType.PT_UPDATE_PRESERVE_AD
            self._entry(ptr - command, val, preserve_ad=preserve)
        else:
            raise Refusal(Errno.ENOSYS, f"there is no update of type {command}")

    def _entry(self, maddr: int, val: int, *, preserve_ad: bool) -> None:
        tables, machine = self._tables, self._machine
        self._check_permission()
        mfn, frames = maddr >> 12, machine.frames
        if not frames.owned_by(mfn, tables.domid):
            raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)} is not a table of d{tables.domid}")
        val &= tables.space.entry_mask
        index = maddr >> tables.space.entry_shift
        kind = frames.type[mfn]
        if frames.type_count[mfn] and kind in (L1, L1 + 1, L3):
            machine.tables.modify(tables, kind, index, val, self._pg_owner, preserve_ad=preserve_ad)
            return
        if frames.type_count[mfn] and kind != WRITABLE:
            name = FrameType(kind).name.lower()
            raise Refusal(Errno.EINVAL, f"{frames.describe(mfn)}: a {name} is not changed by mmu_update")
        machine.types.get_type(mfn, WRITABLE)
        tables.entries[index] = val
        machine.ram.code_changed(mfn)
        machine.types.put_type(mfn)

    def _check_permission(self) -> None:
        # The pseudo-domain of I/O memory is open to all; what may be mapped from it is checked entry by
        # entry.
        if self._pg_owner != DomId.IO:
            check_may_use(self._domain, self._pg_owner)
        check_may_use(self._domain, self._tables.domid)

    def _machphys(self, mfn: int, pfn: int) -> None:
        machine = self._machine
        if self._tables is not self._domain:
            raise Refusal(Errno.EPERM, "a machine-to-phys update goes with the caller's own tables only")
        if self._pg_owner != DomId.IO:
            check_may_use(self._domain, self._pg_owner)
        if not machine.frames.owned_by(mfn, self._pg_owner):
            raise Refusal(Errno.EINVAL, f"{machine.frames.describe(mfn)} is not a frame of d{self._pg_owner}")
        machine.m2p[mfn] = pfn & 0xFFFF_FFFF
