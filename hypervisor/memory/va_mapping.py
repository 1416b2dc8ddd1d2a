"""update_va_mapping: one L1 entry, found by the linear address it maps (public/xen.h, UVMF_*)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.mmu import UvmFlag
from paravane.cpu.faults import PageFault
from paravane.memory.guest import check_may_use, page_owner, vcpus_in_mask
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.memory.guest import Caller
    from paravane.memory.owner import Installed


# Plain numbers: to combine members of an enumeration costs more than all else here.
_TYPE: Final = int(UvmFlag.FLUSHTYPE_MASK)
_TLB_FLUSH, _INVLPG = int(UvmFlag.TLB_FLUSH), int(UvmFlag.INVLPG)
_LOCAL, _ALL = int(UvmFlag.LOCAL), int(UvmFlag.ALL)


def update_va_mapping(caller: Caller, va: int, entry: int, flags: int, domid: int | None = None) -> None:
    """Set the L1 entry that maps `va`, then flush as `flags` ask. Raises Refusal.

    With `domid` the frame belongs to that domain. A vcpu mask that cannot be read is -EFAULT although the
    entry is changed by then, as in Xen.
    """
    paging = caller.paging
    domain = paging.domain
    pg_owner = domain.domid
    if domid is not None:
        pg_owner = page_owner(domain, domid)
        check_may_use(domain, pg_owner)
    index = paging.own_l1_entry(va)
    try:
        domain.machine.tables.modify_l1(domain, index, entry & domain.space.entry_mask, pg_owner)
        if flags == _INVLPG:  # the own processor's: what kernels ask for
            paging.cpu.flush_page(va)
            return
        kind = flags & _TYPE
        if kind == _TLB_FLUSH:
            for vcpu in _targets(caller, flags & ~_TYPE):
                vcpu.cpu.flush_tlb()
        elif kind == _INVLPG:
            for vcpu in _targets(caller, flags & ~_TYPE):
                vcpu.cpu.flush_page(va)
    except Refusal as refusal:
        raise Refusal(refusal.errno, f"{va:#010x}: {refusal.sentence}") from None


def _targets(caller: Caller, scope: int) -> Iterable[Installed]:
    if scope == _LOCAL:
        return (caller.paging,)
    if scope == _ALL:
        return caller.paging.domain.vcpus
    try:
        return vcpus_in_mask(caller, scope)
    except PageFault as fault:
        raise Refusal(
            Errno.EFAULT, f"the vcpu mask at {scope:#010x} cannot be read at {fault.va:#010x}"
        ) from None
