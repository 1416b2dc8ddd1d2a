"""Page-table hypercalls: mmu_update, mmuext_op, update_va_mapping (public/xen.h)."""

from enum import IntEnum
from typing import Annotated

from paravane.abi.layout import U64, UINT32, Layout, Union
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("MMU_")
class MmuUpdateType(IntEnum):
    """The two low bits of `mmu_update.ptr`."""

    NORMAL_PT_UPDATE = 0
    MACHPHYS_UPDATE = 1
    PT_UPDATE_PRESERVE_AD = 2
    PT_UPDATE_NO_TRANSLATE = 3


class MmuUpdate(NamedTuple):
    """`ptr`: machine address of the entry; its bits 0-1 are MMU_NORMAL_PT_UPDATE (0), MMU_MACHPHYS_UPDATE (1)
    or MMU_PT_UPDATE_PRESERVE_AD (2). `val`: the new entry, or for MMU_MACHPHYS_UPDATE the frame's pfn."""

    ptr: U64
    val: U64


MMU_UPDATE = Layout("mmu_update", MmuUpdate)


@c_names("MMUEXT_")
class MmuextCmd(IntEnum):
    """Commands of mmuext_op."""

    PIN_L1_TABLE = 0
    PIN_L2_TABLE = 1
    PIN_L3_TABLE = 2
    PIN_L4_TABLE = 3
    UNPIN_TABLE = 4
    NEW_BASEPTR = 5
    TLB_FLUSH_LOCAL = 6
    INVLPG_LOCAL = 7
    TLB_FLUSH_MULTI = 8
    INVLPG_MULTI = 9
    TLB_FLUSH_ALL = 10
    INVLPG_ALL = 11
    FLUSH_CACHE = 12
    SET_LDT = 13
    NEW_USER_BASEPTR = 15
    CLEAR_PAGE = 16
    COPY_PAGE = 17
    FLUSH_CACHE_GLOBAL = 18
    MARK_SUPER = 19
    UNMARK_SUPER = 20


class MmuextOp(NamedTuple):
    """`arg1`: mfn or linear address; `arg2`: number of LDT entries, pointer to a vcpu mask, or source mfn."""

    cmd: Annotated[int, UINT32, MmuextCmd]
    arg1: Annotated[int, Union({"mfn": UINT32, "linear_addr": UINT32})]
    arg2: Annotated[int, Union({"nr_ents": UINT32, "vcpumask": UINT32, "src_mfn": UINT32})]


MMUEXT_OP = Layout("mmuext_op", MmuextOp)


@c_names("UVMF_")
class UvmFlag(IntEnum):
    """Flags of update_va_mapping. With MULTI, the other bits are the address of a vcpu mask."""

    NONE = 0
    TLB_FLUSH = 1
    INVLPG = 2
    FLUSHTYPE_MASK = 3
    MULTI = 0
    LOCAL = 0
    ALL = 4
