"""Model-specific registers of a 32-bit PV guest on an Intel processor (Xen's msr.c, pv/emul-priv-op.c).

Registers fall in four groups: a value that is always the same, a few the guest may change, writes that are
accepted and ignored, and #GP for all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.refusal import Refusal
from paravane.traps.emulate.fault import Fault, NotEmulated
from paravane.x86 import Vector

if TYPE_CHECKING:
    from paravane.traps.state import TrapState

TSC, APIC_BASE, MICROCODE = 0x10, 0x1B, 0x8B
EFER, TSC_AUX = 0xC0000080, 0xC0000103
MISC_ENABLE, MISC_FEATURES_ENABLES, PAT = 0x1A0, 0x140, 0x277
MCG_CAP, MCG_STATUS, MCG_CTL = 0x179, 0x17A, 0x17B
MC0_CTL, MC_END, MC0_CTL2, MC_CTL2_END = 0x400, 0x480, 0x280, 0x2A0
NB_CFG = 0xC001001F
HYPERCALL_PAGE, HYPERVISOR_END = 0x40000000, 0x40000300

MC_BANKS: Final = 2
NX_ENABLED: Final = 1 << 11
APIC_ENABLED_AT: Final = 0xFEE00800
APIC_BOOT_PROCESSOR: Final = 1 << 8
ALL_ONES: Final = (1 << 64) - 1

_COUNTERS: Final = frozenset(
    (*range(0xC1, 0xC9), *range(0x186, 0x18A), *range(0x309, 0x30C), *range(0x38D, 0x391))
)
"""Performance counters: without a virtual PMU they read as 0 and ignore writes."""

_FIXED: Final = {
    0x00: 0,  # P5_MC_ADDR
    0x01: 0,  # P5_MC_TYPE
    0x17: 0,  # IA32_PLATFORM_ID
    0x3A: 1,  # IA32_FEATURE_CONTROL: locked with everything off
    MICROCODE: 1 << 32,
    0xCE: 0,  # PLATFORM_INFO: no CPUID faulting
    0x198: 0,  # IA32_PERF_STATUS
    0x199: 0,  # IA32_PERF_CTL
    0x19C: 0,  # IA32_THERM_STATUS
    MISC_ENABLE: 1 | 1 << 11 | 1 << 12 | 1 << 23,  # fast strings; no BTS, no PEBS, xTPR messages off
    MISC_FEATURES_ENABLES: 0,
    PAT: 0x0000050100070406,
    0x345: 0,  # IA32_PERF_CAPABILITIES
    EFER: NX_ENABLED,
    NB_CFG: 0,
    MCG_CAP: 1 << 24 | 1 << 11 | 1 << 10 | MC_BANKS,
    MCG_CTL: 0,
    HYPERCALL_PAGE: 0,
}

_IGNORED_WRITES: Final = _COUNTERS | {
    0xE7,  # IA32_MPERF
    0xE8,  # IA32_APERF
    0x199,  # IA32_PERF_CTL
    0x19A,  # IA32_THERM_CONTROL
    0x1B0,  # IA32_ENERGY_PERF_BIAS
    MISC_ENABLE,
    MCG_CTL,
    NB_CFG,
}

_HARDWARE_ONLY: Final = frozenset(
    (0x2A, 0x79, 0xE7, 0xE8, 0xFE, 0x174, 0x175, 0x176, 0x19A, 0x19B, 0x1D9, 0x2FF)
    + (0x250, 0x258, 0x259, *range(0x200, 0x210), *range(0x268, 0x270))
)
"""Registers the processor has and a guest may not read. Xen shows them as 0 to a guest without a #GP handler,
so that a kernel which probes them too early survives."""


def read(state: TrapState, number: int) -> int:
    """The 64-bit value of register `number`. Raises Fault(#GP) for those a guest does not have."""
    if number == TSC:
        return state.host.tsc()
    if number in _FIXED:
        return _FIXED[number]
    if number in _COUNTERS:
        return 0
    if number == APIC_BASE:
        return APIC_ENABLED_AT | (APIC_BOOT_PROCESSOR if state.host.vcpu_id == 0 else 0)
    if number == TSC_AUX:
        return state.tsc_aux
    if number == MCG_STATUS or MC0_CTL2 <= number < MC_CTL2_END:
        return state.msrs.get(number, 0)
    if MC0_CTL <= number < MC_END:
        in_bank = number < MC0_CTL + 4 * MC_BANKS
        return ALL_ONES if in_bank and number & 3 == 0 else 0
    raise Fault(Vector.GP, 0)


def read_or_fake(state: TrapState, number: int) -> int:
    """RDMSR: like `read`, but a kernel without a #GP handler reads 0 from registers the hardware has."""
    try:
        return read(state, number)
    except Fault:
        if state.table[Vector.GP].eip == 0 and number in _HARDWARE_ONLY:
            state.host.guest_note(f"faking RDMSR {number:#010x} for a kernel without a #GP handler")
            return 0
        raise


def write(state: TrapState, number: int, value: int) -> None:
    """WRMSR. Raises Fault(#GP) or NotEmulated (#GP too) for what a guest may not write."""
    if number in _IGNORED_WRITES:
        return
    if HYPERCALL_PAGE <= number < HYPERVISOR_END:
        _write_hypercall_page(state, number, value)
    elif number == MCG_STATUS:
        state.msrs[number] = value
    elif number == TSC_AUX:
        if value >> 32:
            raise Fault(Vector.GP, 0)
        state.tsc_aux = value
    elif MC0_CTL2 <= number < MC_CTL2_END:
        if number < MC0_CTL2 + MC_BANKS:
            state.msrs[number] = value
    elif MC0_CTL <= number < MC_END:
        # Error banks can be cleared, and their control words cannot be changed.
        if number & 3 and value:
            raise Fault(Vector.GP, 0)
    elif number in (MICROCODE, MISC_FEATURES_ENABLES):
        if value:
            raise Fault(Vector.GP, 0)
    elif number != EFER or value != NX_ENABLED:
        state.host.guest_note(f"WRMSR {number:#010x} value {value:#018x} is not allowed")
        raise NotEmulated


def _write_hypercall_page(state: TrapState, number: int, value: int) -> None:
    """The register that CPUID leaf 0x40000002 names: the frame in bits 12-63 becomes a hypercall page."""
    if number != HYPERCALL_PAGE or value & 0xFFF:
        raise Fault(Vector.GP, 0)
    try:
        state.host.fill_hypercall_page(value >> 12)
    except Refusal as refusal:
        state.host.guest_note(f"no hypercall page in frame {value >> 12:#x}: {refusal}")
        raise Fault(Vector.GP, 0) from None
