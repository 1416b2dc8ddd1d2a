"""Mending a guest's page faults: stores to its page tables, LDT pages used for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.memory.vcpu_paging import Fix
from paravane.memory.writable import store_to_page_table

if TYPE_CHECKING:
    from paravane.memory.vcpu_paging import VcpuPaging


def fix_page_fault(paging: VcpuPaging, va: int, error_code: int) -> bool:
    """Mend a #PF of the guest at `va`; False means it is the guest's, with CR2 as the guest may know it.

    Mended are stores to page tables that the guest keeps mapped read-only (when it asked for that with
    vm_assist) and LDT pages that are used for the first time.
    """
    found = paging.descriptor_fault(va, error_code)
    if found.fix is Fix.RETRY:
        return True
    if found.cr2 is not None:
        paging.cpu.cr2 = found.cr2
        return False
    return found.fix is Fix.NOT_OURS and store_to_page_table(paging, va, error_code)
