"""Mending a guest's page faults: stores to its page tables, and what loads of its segments need."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from paravane.memory.address_space import DESCRIPTOR_AREA
from paravane.memory.vcpu_paging import Fix
from paravane.memory.writable import GuestFault, is_kernel_store, store_to_page_table
from paravane.x86 import Vector

if TYPE_CHECKING:
    from paravane.memory.vcpu_paging import VcpuPaging


def fix_page_fault(paging: VcpuPaging, va: int, error_code: int) -> GuestFault | None:
    """Mend a #PF of the guest at `va`. None: it is mended. Otherwise what the guest gets, with CR2 as it may
    know it.

    Mended are stores to page tables that the guest keeps mapped read-only (when it asked for that with
    vm_assist), LDT pages that are used for the first time, and the processor's own stores of Accessed bits.
    """
    if va < DESCRIPTOR_AREA:
        if is_kernel_store(error_code):
            return store_to_page_table(paging, va, error_code)
        return _unmended(error_code)  # what nearly all are: neither of a descriptor nor of a page table
    found = paging.descriptor_fault(va, error_code)
    if found.fix is Fix.RETRY:
        return None
    if found.fix is Fix.NOT_OURS:
        return store_to_page_table(paging, va, error_code)
    paging.cpu.cr2 = found.cr2
    return GuestFault(Vector.PF, error_code)


@cache
def _unmended(error_code: int) -> GuestFault:
    """The guest's own #PF: one object for each of the few error codes."""
    return GuestFault(Vector.PF, error_code)
