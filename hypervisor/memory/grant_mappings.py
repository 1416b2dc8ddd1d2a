"""Grant mappings in page tables: the L1 entries by which a guest sees a frame that was granted to it.

The grant tables decide who may map what; here an entry is put into a guest's L1 table and taken out again.
The reference that the entry stands for is the grant's: whoever asks for the entry has taken it already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.grant_table import GrantMapFlag
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, Pte

if TYPE_CHECKING:
    from paravane.memory.vcpu_paging import VcpuPaging

_AVAILABLE_SHIFT: Final = 16
_COMPARED: Final = int(Pte.PRESENT | Pte.RW)


def create_grant_mapping(paging: VcpuPaging, address: int, mfn: int, flags: int) -> None:
    """Map `mfn` with an L1 entry of the caller (GNTMAP_* flags). Raises Refusal, having changed nothing.

    `address` is the machine address of the entry with `contains_pte`, else the linear address to map. The
    caller holds a reference to the frame, and its writable type unless `readonly`; both are the entry's
    from now on. What the entry referred to before is let go.
    """
    index = _entry_index(paging, address, flags)
    domain = paging.domain
    old = domain.entries[index]
    tables = domain.machine.tables
    tables.store(domain, index, mfn << 12 | _entry_flags(paging, flags))
    tables.l1.put_entry(old, domain)


def destroy_grant_mapping(
    paging: VcpuPaging, address: int, mfn: int, flags: int, *, replace_by: int = 0
) -> None:
    """Take the entry out again; its reference is the caller's to drop. Raises Refusal if it is not there
    any more.

    With `replace_by`, a linear address, the entry that maps that address moves here (unmap_and_replace).
    """
    index = _entry_index(paging, address, flags)
    domain = paging.domain
    # Taken before the comparison: an entry cannot be replaced by itself.
    new = _take_out(paging, replace_by, flags) if replace_by else 0
    old = domain.entries[index]
    wanted = mfn << 12 | _entry_flags(paging, flags)
    same_frame = (old & domain.space.geometry.address_mask) >> 12 == mfn
    domain.flush_tlb()
    if not same_frame or (old ^ wanted) & _COMPARED:
        domain.machine.tables.l1.put_entry(new, domain)
        raise Refusal(Errno.EINVAL, f"entry {old:#x} at {address:#x} is not the grant's {wanted:#x} any more")
    domain.machine.tables.store(domain, index, new)


def _take_out(paging: VcpuPaging, va: int, flags: int) -> int:
    """Empty the entry that maps `va` and give it, with its reference. Raises Refusal."""
    if flags & GrantMapFlag.contains_pte:
        raise Refusal(Errno.EINVAL, "an entry named by machine address cannot be replaced")
    source = _entry_index(paging, va, flags)
    entry: int = paging.domain.entries[source]
    paging.domain.machine.tables.store(paging.domain, source, 0)
    return entry


def _entry_flags(paging: VcpuPaging, flags: int) -> int:
    entry = int(Pte.PRESENT | Pte.ACCESSED | Pte.DIRTY) | paging.domain.space.nx
    entry |= Pte.USER if flags & GrantMapFlag.application_map else 0
    entry |= 0 if flags & GrantMapFlag.readonly else Pte.RW
    return entry | (flags >> _AVAILABLE_SHIFT & 7) << 9


def _entry_index(paging: VcpuPaging, address: int, flags: int) -> int:
    """Index of the entry that `address` names, which lies in an own L1 table in use. Raises Refusal."""
    if not flags & GrantMapFlag.contains_pte:
        if address >= 1 << 32:
            raise Refusal(Errno.EINVAL, f"{address:#x} is no linear address")
        return paging.own_l1_entry(address)
    space = paging.domain.space
    if address & (1 << space.entry_shift) - 1:
        raise Refusal(Errno.EINVAL, f"an entry at {address:#x} would lie across two")
    paging.check_own_l1(address >> PAGE_SHIFT)
    return address >> space.entry_shift
