"""mmuext_op: pins, base pointer, flushes, LDT, page contents (public/xen.h, MMUEXT_*)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, MmuextOp
from paravane.cpu.faults import PageFault
from paravane.memory.frames import L1, WRITABLE
from paravane.memory.guest import (
    Progress,
    check_may_use,
    existing_domain,
    page_owner,
    read_requests,
    vcpus_in_mask,
)
from paravane.memory.pins import pin, unpin
from paravane.preemption import OP_WORK, Preempted
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.memory.guest import Caller
    from paravane.memory.owner import Owner

_CHUNK: Final = 1024
_WORDS: Final = Struct("<III")
"""An operation as its words: command and two arguments."""
_INVLPG_LOCAL, _TLB_FLUSH_LOCAL = int(MmuextCmd.INVLPG_LOCAL), int(MmuextCmd.TLB_FLUSH_LOCAL)


def mmuext_op(caller: Caller, uops: int, count: int, pdone: int, foreigndom: int) -> int:
    """Carry out `count` operations at `uops` in order, up to the first that is refused. Returns 0 or an odd
    result.

    `foreigndom` is the domain whose tables they name. Raises Refusal and Preempted as `mmu_update` does, with
    `pdone` set.
    """
    if count == 1 and foreigndom == DomId.SELF and not pdone and _run_one(caller, uops):
        return 0
    if count == Progress.PREEMPTED and not uops:
        return foreigndom - (1 << 32) if foreigndom & 0x8000_0000 else foreigndom
    wanted = count & ~Progress.PREEMPTED
    if not wanted:
        return 0
    domain = caller.paging.domain
    owner = page_owner(domain, foreigndom & 0xFFFF)
    check_may_use(domain, owner)
    if owner in (DomId.IO, DomId.XEN):
        raise Refusal(Errno.EPERM, "the pseudo-domains have no page tables")
    progress = Progress(caller, pdone, count)
    batch = Operations(caller, existing_domain(domain, owner))
    done = 0
    try:
        while done < wanted:
            chunk = min(_CHUNK, wanted - done)
            data, fault = read_requests(caller, uops + done * MMUEXT_OP.size, MMUEXT_OP.size, chunk)
            for op in MMUEXT_OP.iter_unpack(data):
                if done and not caller.budget.left():
                    rest = wanted - done | Progress.PREEMPTED
                    raise Preempted(done, uops + done * MMUEXT_OP.size, rest, pdone, foreigndom)
                batch.run(op)
                done += 1
            if fault is not None:
                raise Refusal(
                    Errno.EFAULT, f"operation {done} of {wanted} cannot be read at {fault.va:#010x}"
                )
    finally:
        progress.report(done)
    return 0


def _run_one(caller: Caller, uop: int) -> bool:
    """The call that real kernels make most: one operation on the caller's own tables, of which nothing is to
    be counted. False: it cannot be read, and nothing was done. Raises Refusal.

    The flushes, which they ask for most of all, are no work that anybody counts.
    """
    try:
        words = caller.words_from_guest(_WORDS, uop)
    except PageFault:
        return False
    if words[0] == _INVLPG_LOCAL:
        caller.paging.cpu.flush_page(words[1])
    elif words[0] == _TLB_FLUSH_LOCAL:
        caller.paging.cpu.flush_tlb()
    else:
        Operations(caller, caller.paging.domain).run(MmuextOp(*words))
    return True


class Operations:
    """What a vcpu asks for, on tables of `owner` (which is another domain only for a privileged one)."""

    def __init__(self, caller: Caller, owner: Owner) -> None:
        self._caller = caller
        self._paging = caller.paging
        self._domain = caller.paging.domain
        self._owner = owner

    def run(self, op: MmuextOp) -> None:
        """Carry out one operation. Raises Refusal."""
        action = _ACTIONS.get(op.cmd)
        if action is None:
            raise Refusal(Errno.ENOSYS, f"mmuext_op has no operation {op.cmd}")
        if op.cmd in _OWN_ONLY and self._owner is not self._domain:
            name = MmuextCmd(op.cmd).name
            raise Refusal(Errno.EPERM, f"{name} is for the caller's own domain, not for d{self._owner.domid}")
        action(self, op)
        self._caller.budget.spend(OP_WORK)

    def pin(self, op: MmuextOp) -> None:
        """Levels that the guest's shape of table does not have are ignored, as Xen ignores them."""
        kind = op.cmd - MmuextCmd.PIN_L1_TABLE + L1
        types = self._domain.machine.types
        if kind <= self._owner.space.root:
            pin(types, self._owner, op.arg1, kind)
            if self._owner.dying:
                # Nobody would take the pin off any more, and what it holds would stay for ever.
                unpin(types, self._owner, op.arg1)

    def unpin(self, op: MmuextOp) -> None:
        unpin(self._domain.machine.types, self._owner, op.arg1)

    def new_base(self, op: MmuextOp) -> None:
        self._paging.load_base(op.arg1)

    def new_user_base(self, op: MmuextOp) -> None:
        raise Refusal(Errno.EINVAL, "a 32-bit guest has one base pointer for kernel and applications")

    def flush_local(self, op: MmuextOp) -> None:
        self._paging.cpu.flush_tlb()

    def flush_page_local(self, op: MmuextOp) -> None:
        self._paging.cpu.flush_page(op.arg1)

    def flush_some(self, op: MmuextOp) -> None:
        try:
            chosen = vcpus_in_mask(self._caller, op.arg2)
        except PageFault as fault:
            raise Refusal(Errno.EINVAL, f"the vcpu mask cannot be read at {fault.va:#010x}") from None
        for vcpu in chosen:
            if op.cmd == MmuextCmd.TLB_FLUSH_MULTI:
                vcpu.cpu.flush_tlb()
            else:
                vcpu.cpu.flush_page(op.arg1)

    def flush_all(self, op: MmuextOp) -> None:
        self._domain.flush_tlb()

    def flush_page_all(self, op: MmuextOp) -> None:
        for vcpu in self._domain.vcpus:
            vcpu.cpu.flush_page(op.arg1)

    def flush_cache(self, op: MmuextOp) -> None:
        errno = Errno.EACCES if op.cmd == MmuextCmd.FLUSH_CACHE else Errno.EINVAL
        raise Refusal(errno, "only a domain with devices of its own may flush the caches")

    def set_ldt(self, op: MmuextOp) -> None:
        self._paging.set_ldt(op.arg1, op.arg2)

    def clear_page(self, op: MmuextOp) -> None:
        types = self._domain.machine.types
        types.get_page_and_type(op.arg1, self._owner.domid, WRITABLE)
        self._domain.machine.ram.clear_frame(op.arg1)
        types.put_page_and_type(op.arg1)

    def copy_page(self, op: MmuextOp) -> None:
        machine, domid = self._domain.machine, self._owner.domid
        if not machine.frames.owned_by(op.arg2, domid):
            raise Refusal(Errno.EINVAL, f"{machine.frames.describe(op.arg2)} is not d{domid}'s to copy from")
        machine.types.get_page_and_type(op.arg1, domid, WRITABLE)
        machine.ram.write(op.arg1 << PAGE_SHIFT, machine.ram.read(op.arg2 << PAGE_SHIFT, PAGE_SIZE))
        machine.types.put_page_and_type(op.arg1)

    def super_page(self, op: MmuextOp) -> None:
        raise Refusal(Errno.EOPNOTSUPP, "superpages cannot be marked")


_ACTIONS: Final[dict[int, Callable[[Operations, MmuextOp], None]]] = {
    MmuextCmd.PIN_L1_TABLE: Operations.pin,
    MmuextCmd.PIN_L2_TABLE: Operations.pin,
    MmuextCmd.PIN_L3_TABLE: Operations.pin,
    MmuextCmd.PIN_L4_TABLE: Operations.pin,
    MmuextCmd.UNPIN_TABLE: Operations.unpin,
    MmuextCmd.NEW_BASEPTR: Operations.new_base,
    MmuextCmd.NEW_USER_BASEPTR: Operations.new_user_base,
    MmuextCmd.TLB_FLUSH_LOCAL: Operations.flush_local,
    MmuextCmd.INVLPG_LOCAL: Operations.flush_page_local,
    MmuextCmd.TLB_FLUSH_MULTI: Operations.flush_some,
    MmuextCmd.INVLPG_MULTI: Operations.flush_some,
    MmuextCmd.TLB_FLUSH_ALL: Operations.flush_all,
    MmuextCmd.INVLPG_ALL: Operations.flush_page_all,
    MmuextCmd.FLUSH_CACHE: Operations.flush_cache,
    MmuextCmd.FLUSH_CACHE_GLOBAL: Operations.flush_cache,
    MmuextCmd.SET_LDT: Operations.set_ldt,
    MmuextCmd.CLEAR_PAGE: Operations.clear_page,
    MmuextCmd.COPY_PAGE: Operations.copy_page,
    MmuextCmd.MARK_SUPER: Operations.super_page,
    MmuextCmd.UNMARK_SUPER: Operations.super_page,
}
_OWN_ONLY: Final = frozenset(
    {
        MmuextCmd.NEW_BASEPTR,
        MmuextCmd.TLB_FLUSH_LOCAL,
        MmuextCmd.INVLPG_LOCAL,
        MmuextCmd.TLB_FLUSH_MULTI,
        MmuextCmd.INVLPG_MULTI,
        MmuextCmd.TLB_FLUSH_ALL,
        MmuextCmd.INVLPG_ALL,
        MmuextCmd.FLUSH_CACHE,
        MmuextCmd.FLUSH_CACHE_GLOBAL,
        MmuextCmd.SET_LDT,
    }
)
"""Operations on a vcpu or its processor, which nobody does to another domain."""
