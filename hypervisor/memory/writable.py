"""Writable page tables: a guest's plain stores to its L1 tables, carried out as checked updates.

A guest maps its page tables read-only. If it asked for that with vm_assist, a store to an L1 table does not
fault to it: the store is decoded, the entry it makes is checked like any other, and the guest goes on after
it. Stores to L2 and L3 tables are the guest's own #PF, as in Xen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from paravane.abi.arch import KERNEL_RING
from paravane.classes import NamedTuple
from paravane.cpu.faults import PageFault
from paravane.cpu.instructions import MAX_LENGTH
from paravane.memory.frames import L1
from paravane.memory.store_emulation import NotEmulated, StoreEmulation
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE, PageFaultCode, Vector

if TYPE_CHECKING:
    from paravane.cpu import Cpu
    from paravane.memory.vcpu_paging import VcpuPaging

_STORE: Final = PageFaultCode.page_present | PageFaultCode.write_access
_NOT_A_STORE: Final = PageFaultCode.reserved_bit | PageFaultCode.insn_fetch
_TOLD_APART: Final = _STORE | _NOT_A_STORE | PageFaultCode.user_mode


class GuestFault(NamedTuple):
    """An exception that the guest gets, with the error code it sees (0 where it has none)."""

    vector: int
    error_code: int


def is_kernel_store(error_code: int) -> bool:
    """Whether a #PF with this error code, as the processor has it, is of a store to a page that may only be
    read, and not of an application's."""
    return error_code & _TOLD_APART == _STORE


def store_to_page_table(paging: VcpuPaging, va: int, error_code: int) -> GuestFault | None:
    """Carry out the store that faulted at `va` if it changes an own L1 table.

    None: it was done. Otherwise what the guest gets: its own fault; a #PF (CR2 is set) of another page that
    the instruction needs; or #DB after a single step.
    """
    unmended = GuestFault(Vector.PF, error_code)
    page = _table_page(paging, va, error_code)
    if page is None:
        return unmended
    # Only a real processor faults, so here it has all its registers.
    cpu = cast("Cpu", paging.cpu)
    try:
        op = paging.domain.store_decoder.decode(_fetch(cpu), big=cpu.has_big_code)
        if op is None:
            return unmended
        stepped = StoreEmulation(cpu, page, op).run()
    except NotEmulated:
        return unmended
    except PageFault as fault:
        cpu.cr2 = fault.va
        return GuestFault(Vector.PF, fault.error_code)
    return GuestFault(Vector.DB, 0) if stepped else None


def _table_page(paging: VcpuPaging, va: int, error_code: int) -> TablePage | None:
    """The page of `va`, if a store to it is one to an L1 table of the domain's own in use, by its kernel."""
    if not is_kernel_store(error_code):
        return None
    domain = paging.domain
    if not domain.writable_page_tables or paging.cpu.cpl != KERNEL_RING:
        return None
    entry = paging.read_l1_entry(va)
    mfn = (entry & domain.space.geometry.address_mask) >> 12
    if entry & 3 != 1 or not domain.machine.frames.in_use_as(mfn, domain.domid, L1):
        return None
    return TablePage(paging, va, mfn)


def _fetch(cpu: Cpu) -> bytes:
    """The bytes at EIP, fewer where a page that cannot be read begins."""
    address = cpu.segment_base("cs") + cpu.eip & 0xFFFF_FFFF
    try:
        return cpu.read(address, MAX_LENGTH)
    except PageFault as fault:
        return cpu.read(address, fault.va - address & 0xFFFF_FFFF)


class TablePage:
    """L1 table `mfn` in use, mapped read-only at the page of `va`."""

    def __init__(self, paging: VcpuPaging, va: int, mfn: int) -> None:
        self._domain = paging.domain
        self._va = va
        self._mfn = mfn

    def holds(self, address: int) -> bool:
        """Whether a linear address lies in the page."""
        return (address ^ self._va) & -PAGE_SIZE == 0

    def store(self, address: int, value: int, size: int, *, plain: bool = True) -> None:
        """Store `size` bytes at `address`, checked as the whole entry they make. Raises NotEmulated.

        A plain store to the upper half of a PAE entry that makes it wrong is taken for the first of two in
        the wrong order: the entry stays not present until its lower half is written.
        """
        domain, tables = self._domain, self._domain.machine.tables
        space, entry_size = domain.space, 1 << domain.space.entry_shift
        if not self.holds(address) or address & size - 1 or size > entry_size:
            raise NotEmulated
        index = (self._mfn << space.table_shift) + ((address & 0xFFF) >> space.entry_shift)
        shift = 8 * (address & entry_size - 1)
        old: int = domain.entries[index]
        new = old & ~((1 << 8 * size) - 1 << shift) | value << shift
        if tables.exchange_l1(domain, index, new):
            return
        if new & 1:
            try:
                new = tables.l1.get_entry(new, domain, domain.domid)
            except Refusal:
                if not plain or not (size == 4 and entry_size == 8 and address & 4):
                    raise NotEmulated from None
                new &= ~1
        tables.store(domain, index, new)
        tables.l1.put_entry(old, domain)
