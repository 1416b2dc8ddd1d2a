"""The processor a guest sees: CPUID leaves, CR0 and CR4 (Xen's PV policy, public/arch-x86/cpuid.h).

One fixed processor for every host, so that runs repeat: an Intel core of family 6 without long mode, reduced
to what the engine really executes and to what Xen shows a 32-bit PV guest (no VME, PSE, PGE, MTRR, PSE36, no
MONITOR, no SYSCALL outside AMD). Left out are RDRAND, whose answers would differ from run to run, and, as Xen
does on AMD, SEP: SYSENTER works, but int 0x80 is several times as fast here.
"""

from __future__ import annotations

from typing import Final

from paravane.x86 import Cr0, Cr4

HYPERVISOR_BASE: Final = 0x40000000
HYPERVISOR_LEAVES: Final = 5
XEN_VERSION: Final = 4 << 16 | 17
SIGNATURE: Final = (0x566E6558, 0x65584D4D, 0x4D4D566E)
"""`XenVMMXenVMM` in EBX, ECX, EDX."""

PRESERVE_AD: Final = 1 << 0
VIRTUAL_TSC: Final = 1 << 0
SAFE_TSC: Final = 1 << 1
HAS_RDTSCP: Final = 1 << 2

FAMILY_MODEL_STEPPING: Final = 0x000106CA
CLFLUSH_LINE: Final = 8 << 8
"""Leaf 1 EBX: cache lines of 64 bytes, in units of 8."""

_LEAF_1_EDX: Final = {
    "fpu": 0, "de": 2, "tsc": 4, "msr": 5, "pae": 6, "mce": 7, "cx8": 8, "apic": 9, "mca": 14,
    "cmov": 15, "pat": 16, "clflush": 19, "mmx": 23, "fxsr": 24, "sse": 25, "sse2": 26,
}  # fmt: skip
_LEAF_1_ECX: Final = {
    "sse3": 0, "pclmulqdq": 1, "ssse3": 9, "sse4_1": 19, "sse4_2": 20, "movbe": 22, "popcnt": 23, "aesni": 25,
    "hypervisor": 31,
}  # fmt: skip
_EXTENDED_1_ECX: Final = {"3dnowprefetch": 8}
_EXTENDED_1_EDX: Final = {"nx": 20, "rdtscp": 27}
FEATURES: Final = frozenset((*_LEAF_1_EDX, *_LEAF_1_ECX, *_EXTENDED_1_ECX, *_EXTENDED_1_EDX))
"""The names of all features that are advertised."""

BRAND: Final = b"Paravane virtual x86 processor"
MAX_BASIC: Final = 2
MAX_EXTENDED: Final = 0x80000008
PHYSICAL_BITS: Final = 36
LINEAR_BITS: Final = 32

CR0_FIXED: Final = int(Cr0.PG | Cr0.AM | Cr0.WP | Cr0.NE | Cr0.ET | Cr0.MP | Cr0.PE)
"""What a guest reads from CR0 besides TS."""

CR4_VISIBLE: Final = int(Cr4.PAE | Cr4.MCE | Cr4.OSFXSR | Cr4.OSXMMEXCPT)
CR4_OWN: Final = int(Cr4.TSD | Cr4.DE)
"""CR4 bits that are the guest's own choice."""

Leaf = tuple[int, int, int, int]
EMPTY: Final[Leaf] = (0, 0, 0, 0)


def _bits(features: dict[str, int]) -> int:
    return sum(1 << bit for bit in features.values())


def _text(text: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(text[at : at + 4], "little") for at in range(0, len(text), 4))


class CpuidPolicy:
    """The leaves of one machine. `tsc_khz` and `max_mfn` go into the hypervisor's own leaves.

    Leaves and subleaves that are not in `leaves` and `subleaves` are all zeroes, as on AMD and on Xen.
    """

    def __init__(self, *, tsc_khz: int, max_mfn: int) -> None:
        ebx, edx, ecx = _text(b"GenuineIntel")
        self.leaves: dict[int, Leaf] = {
            0: (MAX_BASIC, ebx, ecx, edx),
            1: (FAMILY_MODEL_STEPPING, CLFLUSH_LINE, _bits(_LEAF_1_ECX), _bits(_LEAF_1_EDX)),
            2: (0x00000001, 0, 0, 0),
            0x80000000: (MAX_EXTENDED, 0, 0, 0),
            0x80000001: (0, 0, _bits(_EXTENDED_1_ECX), _bits(_EXTENDED_1_EDX)),
            0x80000008: (LINEAR_BITS << 8 | PHYSICAL_BITS, 0, 0, 0),
            HYPERVISOR_BASE: (HYPERVISOR_BASE + HYPERVISOR_LEAVES, *SIGNATURE),
            HYPERVISOR_BASE + 1: (XEN_VERSION, 0, 0, 0),
            # One hypercall page, written through MSR 0x40000000.
            HYPERVISOR_BASE + 2: (1, HYPERVISOR_BASE, PRESERVE_AD, 0),
        }
        """EAX, EBX, ECX, EDX of those that do not ask for a subleaf."""
        words = _text(BRAND.ljust(48, b"\0"))
        for index in range(3):
            a, b, c, d = words[4 * index : 4 * index + 4]
            self.leaves[0x80000002 + index] = (a, b, c, d)
        # 32.32 fixed point: ticks << shift, times the fraction, are nanoseconds.
        fraction, shift = _scale(tsc_khz)
        self.subleaves: dict[tuple[int, int], Leaf] = {
            (HYPERVISOR_BASE + 3, 0): (VIRTUAL_TSC | SAFE_TSC | HAS_RDTSCP, 0, tsc_khz, 0),
            (HYPERVISOR_BASE + 3, 1): (0, 0, fraction, shift & 0xFFFFFFFF),
            (HYPERVISOR_BASE + 3, 2): (tsc_khz, 0, 0, 0),
            (HYPERVISOR_BASE + 5, 0): (0, max_mfn.bit_length() + 12, 0, 0),
        }
        """The same of the others, by leaf and subleaf."""

    def leaf(self, leaf: int, subleaf: int) -> Leaf:
        """EAX, EBX, ECX, EDX of one leaf."""
        return self.leaves.get(leaf) or self.subleaves.get((leaf, subleaf), EMPTY)

    def fix_cr4(self, value: int) -> int:
        """The CR4 a guest reads after writing `value`: its own choice where it has one, else what is so."""
        return value & CR4_OWN | CR4_VISIBLE


def _scale(khz: int) -> tuple[int, int]:
    """Multiplier (a fraction of 2**32) and shift that turn ticks at `khz` into nanoseconds."""
    numerator, shift = 1_000_000, 0
    while numerator >= khz:
        khz <<= 1
        shift += 1
    while numerator << 1 < khz:
        khz >>= 1
        shift -= 1
    return (numerator << 32) // khz, shift
