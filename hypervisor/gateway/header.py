"""Writes `gateway_structs.h`: structs and constants that the C code shares with Python.

In a checkout: `python -m paravane.gateway.header hypervisor/gateway`. A library tells the mark of the header
it was made with; one that was made with another is not used.
"""

from __future__ import annotations

import ctypes
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paravane.abi.domid import DomId
from paravane.abi.event_channel import EVTCHN_2L_NR_CHANNELS, EvtchnOp
from paravane.abi.hypercall import HYPERCALL_VECTOR, MULTICALL_ENTRY, Hypercall, VmassistType
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, MmuUpdateType, UvmFlag
from paravane.abi.shared_info import SHARED_INFO, VCPU_INFO
from paravane.cpu.attention import EVERY_TRAP, Attention
from paravane.cpu.engine import fill_place
from paravane.cpu.registers import EFLAGS_ARITHMETIC, NONE_IN_FLIGHT
from paravane.cpu.state import HOOK_BUCKETS
from paravane.gateway import structs
from paravane.memory.address_space import DESCRIPTOR_AREA
from paravane.memory.frames import COUNT_MAX, FrameFlag, FrameType
from paravane.memory.owner import BASE_MFN, DESCRIPTORS_PER_PAGE, NO_PROCESSOR, NR_LDT_PAGES, UNSEEN
from paravane.platform import TRAP_LIMIT, TRAPS
from paravane.preemption import ENTRY_WORK, ITEMS, OP_WORK, SETTLED, TABLE_WORK, UNITS, WORK_BUDGET
from paravane.time.clock import GATE_COST, TRAP_COST
from paravane.time.vcpu_time import LAST_READ, LONGEST_STEP, READS, READS_PER_MICROSECOND
from paravane.traps import state, table
from paravane.traps.direct import KEPT, SYSCALL_VECTOR
from paravane.traps.emulate import ports
from paravane.traps.emulate.cpuid import CR0_FIXED, CR4_OWN, CR4_VISIBLE
from paravane.traps.entries import MAX_ENTRIES
from paravane.traps.vcpu_traps import IDT_ERROR
from paravane.x86 import Cr0, Cr4, Eflags, PageFaultCode, Pte, Vector

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE: Final = "gateway_structs.h"
_NUMBERS: Final[dict[type[Any], str]] = {
    ctypes.c_uint8: "uint8_t",
    ctypes.c_uint16: "uint16_t",
    ctypes.c_int16: "int16_t",
    ctypes.c_uint32: "uint32_t",
    ctypes.c_int: "int",
    ctypes.c_uint64: "uint64_t",
    ctypes.c_int64: "int64_t",
    ctypes.c_void_p: "void *",
    ctypes.c_bool: "bool",
}


_TRAPS: Final = {
    "EVERY_TRAP": EVERY_TRAP,
    "IN_NMI": Attention.IN_NMI,
    "UPCALLS_OBSERVED": Attention.UPCALLS_OBSERVED,
    "COUNTED": Attention.COUNTED,
    "HOOKED": Attention.HOOKED,
    "HOOK_BUCKETS": HOOK_BUCKETS,
    "NONE_IN_FLIGHT": NONE_IN_FLIGHT,
    "NR_VECTORS": table.NR_VECTORS,
    "DATA_SEGMENTS": structs.DATA_SEGMENTS,
    "STORES": structs.STORES,
    "VECTOR_DE": Vector.DE,
    "VECTOR_BP": Vector.BP,
    "VECTOR_OF": Vector.OF,
    "VECTOR_BR": Vector.BR,
    "VECTOR_NM": Vector.NM,
    "VECTOR_GP": Vector.GP,
    "VECTOR_PF": Vector.PF,
    "VECTOR_MF": Vector.MF,
    "IDT_ERROR": IDT_ERROR,
    "PF_PRESENT": PageFaultCode.page_present,
    "PF_WRITE": PageFaultCode.write_access,
    "PF_USER": PageFaultCode.user_mode,
    "PF_RESERVED": PageFaultCode.reserved_bit,
    "PF_FETCH": PageFaultCode.insn_fetch,
    "INFO_CR2": state.CR2,
    "GATE_CS_SHIFT": table.GATE_CS_SHIFT,
    "GATE_DPL_SHIFT": table.GATE_DPL_SHIFT,
    "GATE_MASKS_SHIFT": table.GATE_MASKS_SHIFT,
    "KERNEL_SS": state.KERNEL_SS,
    "KERNEL_SP": state.KERNEL_SP,
    "VIRTUAL_CR2": state.VIRTUAL_CR2,
    "VIRTUAL_CR4": state.VIRTUAL_CR4,
    "TASK_SWITCHED": state.TASK_SWITCHED,
    "VIRTUAL_IOPL": state.VIRTUAL_IOPL,
    "VIRTUAL_TSC_AUX": state.VIRTUAL_TSC_AUX,
    "DIRECT": state.DIRECT,
    "BOUNCED": state.BOUNCED,
    "UPCALLS": state.UPCALLS,
    "EMULATED": state.EMULATED,
    "READS": READS,
    "LAST_READ": LAST_READ,
    "READS_PER_MICROSECOND": READS_PER_MICROSECOND,
    "LONGEST_STEP": LONGEST_STEP,
    "CR0_FIXED": CR0_FIXED,
    "CR0_TS": Cr0.TS,
    "CR4_TSD": Cr4.TSD,
    "CR4_DE": Cr4.DE,
    "CR4_OWN": CR4_OWN,
    "CR4_VISIBLE": CR4_VISIBLE,
    "PIT_CHANNEL_2": ports.PIT_CHANNEL_2,
    "CMOS_INDEX": ports.CMOS_INDEX,
    "PCI_ADDRESS": ports.PCI_ADDRESS,
    "FLOATING": ports.FLOATING,
    "PCI_LATCH": ports.PCI_LATCH,
    "CMOS_LATCH": ports.CMOS_LATCH,
    "HYPERCALL_STACK_SWITCH": Hypercall.stack_switch,
    "HYPERCALL_FPU_TASKSWITCH": Hypercall.fpu_taskswitch,
    "HYPERCALL_IRET": Hypercall.iret,
    "HYPERCALL_EVENT_CHANNEL_OP": Hypercall.event_channel_op,
    "EVTCHNOP_SEND": EvtchnOp.send,
    "EVENT_PORTS": EVTCHN_2L_NR_CHANNELS,
    "EVTCHN_PENDING": SHARED_INFO.offsets["evtchn_pending"],
    "EVTCHN_MASK": SHARED_INFO.offsets["evtchn_mask"],
    "INFO_PENDING_SEL": VCPU_INFO.offsets["evtchn_pending_sel"],
}
"""Those that only traps need."""


def constants() -> dict[str, int]:
    """Every number that both sides use, under its name in C."""
    return {
        "HYPERCALL_VECTOR": HYPERCALL_VECTOR,
        "SYSCALL_VECTOR": SYSCALL_VECTOR,
        "TRAP_COST": TRAP_COST,
        "GATE_COST": GATE_COST,
        "TRAPS": TRAPS,
        "TRAP_LIMIT": TRAP_LIMIT,
        "UPCALL_PENDING": VCPU_INFO.offsets["evtchn_upcall_pending"],
        "UPCALL_MASK": VCPU_INFO.offsets["evtchn_upcall_mask"],
        "VCPU_INFO_SIZE": VCPU_INFO.size,
        "ARCHITECTURAL_IOPL": 1 << VmassistType.architectural_iopl,
        "WRITABLE_PAGETABLES": 1 << VmassistType.writable_pagetables,
        "DESCRIPTOR_AREA": DESCRIPTOR_AREA,
        **_TRAPS,
        "EFLAGS_FIXED": Eflags.FIXED,
        "EFLAGS_ZF": Eflags.ZF,
        "EFLAGS_IF": Eflags.IF,
        "EFLAGS_IOPL": Eflags.IOPL,
        "EFLAGS_TF": Eflags.TF,
        "EFLAGS_RF": Eflags.RF,
        "EFLAGS_VM": Eflags.VM,
        "EFLAGS_KEPT": KEPT,
        "EFLAGS_ARITHMETIC": EFLAGS_ARITHMETIC,
        "PTE_PRESENT": Pte.PRESENT,
        "PTE_RW": Pte.RW,
        "PTE_USER": Pte.USER,
        "PTE_ACCESSED": Pte.ACCESSED,
        "PTE_DIRTY": Pte.DIRTY,
        "PTE_LARGE": Pte.PSE,
        "PTE_NX": Pte.NX_BIT,
        "CR0_PG": Cr0.PG,
        "CR0_WP": Cr0.WP,
        "CR4_PAE": Cr4.PAE,
        "CR4_RULES": Cr4.PAE | Cr4.SMEP | Cr4.SMAP | Cr4.PKE,
        "TLB_READ": fill_place.READ,
        "TLB_WRITE": fill_place.WRITE,
        "TLB_EXECUTE": fill_place.EXECUTE,
        "TLB_WRITE_ONCE": fill_place.WRITE_ONCE,
        "TLB_STORE": fill_place.STORE,
        "TLB_FETCH": fill_place.FETCH,
        "TLB_USER": fill_place.USER,
        "TLB_KERNEL": fill_place.KERNEL,
        **_memory_constants(),
        "MOST_WATCHES": structs.MOST_WATCHES,
        "MOST_WAYS": MAX_ENTRIES,
        "MOST_ANSWERS": structs.MOST_ANSWERS,
        "MOST_LEAVES": structs.MOST_LEAVES,
    }


def _memory_constants() -> dict[str, int]:
    return {
        "MMU_UPDATE": Hypercall.mmu_update,
        "MULTICALL": Hypercall.multicall,
        "UPDATE_VA_MAPPING": Hypercall.update_va_mapping,
        "MMUEXT_OP": Hypercall.mmuext_op,
        "UPDATE_DESCRIPTOR": Hypercall.update_descriptor,
        "MMU_NORMAL": MmuUpdateType.NORMAL_PT_UPDATE,
        "MMU_PRESERVE_AD": MmuUpdateType.PT_UPDATE_PRESERVE_AD,
        "MMUEXT_PIN_L1_TABLE": MmuextCmd.PIN_L1_TABLE,
        "MMUEXT_UNPIN_TABLE": MmuextCmd.UNPIN_TABLE,
        "MMUEXT_NEW_BASEPTR": MmuextCmd.NEW_BASEPTR,
        "MMUEXT_TLB_FLUSH_LOCAL": MmuextCmd.TLB_FLUSH_LOCAL,
        "MMUEXT_INVLPG_LOCAL": MmuextCmd.INVLPG_LOCAL,
        "MMUEXT_TLB_FLUSH_ALL": MmuextCmd.TLB_FLUSH_ALL,
        "MMUEXT_INVLPG_ALL": MmuextCmd.INVLPG_ALL,
        "UVMF_TLB_FLUSH": UvmFlag.TLB_FLUSH,
        "UVMF_INVLPG": UvmFlag.INVLPG,
        "UVMF_FLUSHTYPE_MASK": UvmFlag.FLUSHTYPE_MASK,
        "UVMF_LOCAL": UvmFlag.LOCAL,
        "UVMF_ALL": UvmFlag.ALL,
        "DOMID_SELF": DomId.SELF,
        "TYPE_L1": FrameType.L1_PAGE_TABLE,
        "TYPE_SEG_DESC": FrameType.SEG_DESC_PAGE,
        "TYPE_WRITABLE": FrameType.WRITABLE_PAGE,
        "FRAME_VALIDATED": FrameFlag.VALIDATED,
        "FRAME_PINNED": FrameFlag.PINNED,
        "FRAME_PAE_XEN_L2": FrameFlag.PAE_XEN_L2,
        "FRAME_COUNT_MAX": COUNT_MAX,
        "BASE_MFN": BASE_MFN,
        "NR_LDT_PAGES": NR_LDT_PAGES,
        "NO_PROCESSOR": NO_PROCESSOR,
        "UNSEEN": UNSEEN,
        "DESCRIPTORS_PER_PAGE": DESCRIPTORS_PER_PAGE,
        "WORK_BUDGET": WORK_BUDGET,
        "TABLE_WORK": TABLE_WORK,
        "ITEMS": ITEMS,
        "UNITS": UNITS,
        "SETTLED": SETTLED,
        "MULTICALL_ENTRY_SIZE": MULTICALL_ENTRY.size,
        "MULTICALL_RESULT": MULTICALL_ENTRY.offsets["result"],
        "MULTICALL_ENTRY_WORK": ENTRY_WORK,
        "MMUEXT_OP_SIZE": MMUEXT_OP.size,
        "MMUEXT_OP_WORK": OP_WORK,
    }


def render() -> str:
    """The text of the header."""
    body = "\n".join([*_constants(), "", *_structures()])
    return (
        "/* Generated by paravane.gateway.header from its structs.py: do not edit. */\n"
        "#ifndef GATEWAY_STRUCTS_H\n#define GATEWAY_STRUCTS_H\n\n"
        "#include <stdbool.h>\n#include <stdint.h>\n\n"
        f"#define GATEWAY_MARK {zlib.crc32(body.encode()):#010x}u\n{body}\n#endif\n"
    )


def mark() -> int:
    """What a library that was made with the present header tells of it."""
    return zlib.crc32("\n".join([*_constants(), "", *_structures()]).encode())


def _constants() -> Iterator[str]:
    for name, value in constants().items():
        # A suffix for what no int holds: the rest is compared with numbers of either sign.
        yield f"#define {name} {int(value):#x}{'ull' if value >= 1 << 32 else 'u'}"


def _structures() -> Iterator[str]:
    for structure in structs.STRUCTURES:
        yield f"struct gateway_{structure.__name__.lower()} {{"
        for field in structure._fields_:
            yield f"    {_declare(field[1], field[0])};"
        yield "};\n"


def _declare(kind: Any, name: str) -> str:
    """A declaration of `name` in C."""
    if kind in _NUMBERS:
        return _spaced(_NUMBERS[kind], name)
    if issubclass(kind, ctypes.Structure):
        return f"struct gateway_{kind.__name__.lower()} {name}"
    if issubclass(kind, ctypes.Array):
        return _declare(kind._type_, f"{name}[{kind._length_}]")
    if hasattr(kind, "_argtypes_"):
        result = "void" if kind._restype_ is None else _NUMBERS[kind._restype_]
        return f"{result} (*{name})({', '.join(_NUMBERS[argument].strip() for argument in kind._argtypes_)})"
    return _declare(kind._type_, f"*{name}")


def _spaced(kind: str, name: str) -> str:
    return f"{kind}{'' if kind.endswith('*') else ' '}{name}"


def main() -> None:
    """Write it into the folder named on the command line."""
    (Path(sys.argv[1]) / FILE).write_text(render())


if __name__ == "__main__":
    main()
