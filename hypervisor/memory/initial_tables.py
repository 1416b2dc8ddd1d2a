"""The tables that a vcpu starts with, which VCPUOP_initialise takes from a context of the guest's making."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.arch import xen_cr3_to_pfn
from paravane.abi.errno import Errno
from paravane.abi.hypercall import VmassistType
from paravane.memory.vcpu_paging import MAX_LDT_ENTRIES
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.abi.vcpu import VcpuGuestContext
    from paravane.memory.vcpu_paging import VcpuPaging


def install_tables(paging: VcpuPaging, context: VcpuGuestContext) -> None:
    """Give a vcpu that has none its GDT, root table and LDT, in the order of Xen's arch_set_info_guest.

    Raises Refusal, with nothing installed: -EINVAL for an LDT or a GDT that cannot be one and for a root that
    is no frame of the domain's, else what the validation of the root gives.
    """
    _check_limits(paging, context)
    paging.set_gdt(context.gdt_frames, context.gdt_ents)
    try:
        paging.load_base(xen_cr3_to_pfn(context.ctrlreg[3]))
    except Refusal:
        # The GDT's frames must be free for other uses again: the guest may never ask a second time.
        paging.set_gdt((), 0)
        raise
    paging.set_ldt(context.ldt_base, context.ldt_ents)


def check_tables(paging: VcpuPaging, context: VcpuGuestContext) -> None:
    """Raises Refusal: -EINVAL for what no context may have, -EOPNOTSUPP when it has other tables than those
    that the vcpu runs on, which cannot change any more, as in Xen."""
    _check_limits(paging, context)
    frames = paging.gdt_frames
    ldt = (context.ldt_base if context.ldt_ents else 0, context.ldt_ents)
    if (
        xen_cr3_to_pfn(context.ctrlreg[3]) != paging.base_mfn
        or context.gdt_ents != paging.gdt_entries
        or tuple(frames) != context.gdt_frames[: len(frames)]
        or ldt != (paging.ldt_base if paging.ldt_entries else 0, paging.ldt_entries)
    ):
        raise Refusal(Errno.EOPNOTSUPP, f"vcpu {paging.vcpu_id} cannot change the tables that it runs on")


def uninstall_tables(paging: VcpuPaging) -> None:
    """Give back what `install_tables` took; the processor must not run any more before it is called again."""
    paging.set_ldt(0, 0)
    paging.set_gdt((), 0)
    base, paging.base_mfn = paging.base_mfn, 0
    if base:
        paging.domain.machine.types.put_page_and_type(base)


def _check_limits(paging: VcpuPaging, context: VcpuGuestContext) -> None:
    base, entries = context.ldt_base, context.ldt_ents
    if base % PAGE_SIZE or entries > MAX_LDT_ENTRIES:
        limits = f"at most {MAX_LDT_ENTRIES}, on a page boundary"
        raise Refusal(Errno.EINVAL, f"an LDT of {entries} entries at {base:#x}: {limits}")
    if paging.vcpu_id == 0 and context.vm_assist >= 1 << VmassistType.runstate_update_flag + 1:
        raise Refusal(Errno.EINVAL, f"a 32-bit guest has no assists {context.vm_assist:#x}")
