"""Page tables (public/xen.h): mmu_update, update_va_mapping and its foreign form, mmuext_op, vm_assist."""

from typing import TYPE_CHECKING, Annotated

from paravane.abi.hypercall import Hypercall
from paravane.abi.mmu import MMU_UPDATE, MMUEXT_OP
from paravane.hypercalls.table import Domid, Hex, Items, Ptr, UInt, Word, domid_text, hypercall
from paravane.memory.guest import Progress
from paravane.memory.mmu_update import mmu_update as update_tables
from paravane.memory.mmuext import mmuext_op as run_operations
from paravane.memory.va_mapping import update_va_mapping as update_mapping

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller


def _count_text(count: int) -> str:
    """A continued batch says so in its count."""
    return f"{count & ~Progress.PREEMPTED} more" if count & Progress.PREEMPTED else str(count)


def _owners_text(value: int) -> str:
    """The domain whose frames are mapped and, if it is another, the one whose tables are changed."""
    tables = f" (tables of d{(value >> 16) - 1})" if value >> 16 else ""
    return domid_text(value & 0xFFFF) + tables


Owners = Annotated[int, Word(_owners_text)]
Count = Annotated[int, Word(_count_text)]
Requests = Annotated[int, Items(MMU_UPDATE)]
Operations = Annotated[int, Items(MMUEXT_OP)]


@hypercall(Hypercall.mmu_update)
def mmu_update(caller: "Caller", ureqs: Requests, count: Count, pdone: Ptr, foreigndom: Owners) -> int:
    """Change page-table entries or machine-to-phys entries, `count` of them in order.

    Where `pdone` is not 0, how many were changed is written there, also when the next one was refused. The
    low half of `foreigndom` is the domain whose frames are mapped, mostly DOMID_SELF.
    """
    return update_tables(caller, ureqs, count, pdone, foreigndom)


@hypercall(Hypercall.mmuext_op)
def mmuext_op(caller: "Caller", uops: Operations, count: Count, pdone: Ptr, foreigndom: Domid) -> int:
    """Pin tables, load base pointers, flush, set the LDT, clear and copy pages, `count` operations in
    order.
    """
    return run_operations(caller, uops, count, pdone, foreigndom)


@hypercall(Hypercall.update_va_mapping)
def update_va_mapping(caller: "Caller", va: Ptr, low: Hex, high: Hex, flags: Hex) -> int:
    """Set the L1 entry that maps a linear address, and flush it."""
    update_mapping(caller, va, *_entry_and_flags(caller, low, high, flags))
    return 0


@hypercall(Hypercall.update_va_mapping_otherdomain)
def update_va_mapping_otherdomain(  # noqa: PLR0917 - the arguments are those of the hypercall
    caller: "Caller", va: Ptr, low: Hex, high: Hex, flags: Hex, domid: Domid
) -> int:
    """As update_va_mapping, for a frame of another domain."""
    update_mapping(caller, va, *_entry_and_flags(caller, low, high, flags), domid & 0xFFFF)
    return 0


@hypercall(Hypercall.vm_assist)
def vm_assist(caller: "Caller", cmd: UInt, type_: UInt) -> int:
    """Turn one of the aids for 32-bit guests on or off.

    `cmd` is VMASST_CMD_enable or VMASST_CMD_disable, `type` a VMASST_TYPE_ number.
    """
    caller.domain.memory.set_assist(cmd, type_)
    return 0


def _entry_and_flags(caller: "Caller", low: int, high: int, flags: int) -> tuple[int, int]:
    """A 64-bit entry takes two argument registers, whatever the shape of the guest's tables."""
    return high << 32 | low, flags
