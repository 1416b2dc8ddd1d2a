"""Intel's numbers: vectors, flags, control registers, page tables, descriptors (SDM volume 3A, chapters 2-6).

The one declaration of each, below everything else. Flags are IntEnums because arithmetic on them is several
times faster than IntFlag's; hot paths take plain integers from them once (`int(Eflags.TF)`).
"""

from enum import IntEnum
from typing import Final

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT

INT_LENGTH: Final = 2
"""Bytes of `int n`, without prefixes."""

FXSAVE_SIZE: Final = 512
"""Bytes of an FXSAVE image (SDM volume 1, 10.5.1)."""


class Vector(IntEnum):
    """Exception vectors, by Intel's mnemonics."""

    DE = 0
    DB = 1
    NMI = 2
    BP = 3
    OF = 4
    BR = 5
    UD = 6
    NM = 7
    DF = 8
    CSO = 9
    TS = 10
    NP = 11
    SS = 12
    GP = 13
    PF = 14
    SPV = 15
    MF = 16
    AC = 17
    MC = 18
    XM = 19


VECTORS_WITH_ERROR_CODE: Final = frozenset(
    (Vector.DF, Vector.TS, Vector.NP, Vector.SS, Vector.GP, Vector.PF, Vector.AC)
)
"""Exceptions whose frame carries an error code."""


class PageFaultCode(IntEnum):
    """Bits of a page fault's error code."""

    page_present = 1 << 0
    write_access = 1 << 1
    user_mode = 1 << 2
    reserved_bit = 1 << 3
    insn_fetch = 1 << 4


class Eflags(IntEnum):
    """Bits of EFLAGS; IOPL is a mask of two."""

    CF = 1 << 0
    FIXED = 1 << 1
    PF = 1 << 2
    AF = 1 << 4
    ZF = 1 << 6
    SF = 1 << 7
    TF = 1 << 8
    IF = 1 << 9
    DF = 1 << 10
    OF = 1 << 11
    IOPL = 3 << 12
    NT = 1 << 14
    RF = 1 << 16
    VM = 1 << 17
    AC = 1 << 18
    VIF = 1 << 19
    VIP = 1 << 20
    ID = 1 << 21


class Cr0(IntEnum):
    """Bits of CR0."""

    PE = 1 << 0
    MP = 1 << 1
    EM = 1 << 2
    TS = 1 << 3
    ET = 1 << 4
    NE = 1 << 5
    WP = 1 << 16
    AM = 1 << 18
    NW = 1 << 29
    CD = 1 << 30
    PG = 1 << 31


class Cr4(IntEnum):
    """Bits of CR4."""

    VME = 1 << 0
    PVI = 1 << 1
    TSD = 1 << 2
    DE = 1 << 3
    PSE = 1 << 4
    PAE = 1 << 5
    MCE = 1 << 6
    PGE = 1 << 7
    PCE = 1 << 8
    OSFXSR = 1 << 9
    OSXMMEXCPT = 1 << 10
    SMEP = 1 << 20
    SMAP = 1 << 21
    PKE = 1 << 22


class Pte(IntEnum):
    """Bits of a page-table entry. PSE is bit 7 of an L2 entry, PAT of an L1 entry; NX is PAE only."""

    PRESENT = 1 << 0
    RW = 1 << 1
    USER = 1 << 2
    PWT = 1 << 3
    PCD = 1 << 4
    ACCESSED = 1 << 5
    DIRTY = 1 << 6
    PSE = 1 << 7
    PAT = 1 << 7
    GLOBAL = 1 << 8
    AVAIL0 = 1 << 9
    AVAIL1 = 1 << 10
    AVAIL2 = 1 << 11
    AVAIL = 7 << 9
    NX_BIT = 1 << 63


class DescriptorFlags(IntEnum):
    """Bits of the high word of a segment descriptor (SDM volume 3A, 3.4.5)."""

    ACCESSED = 1 << 8
    WRITABLE_OR_READABLE = 1 << 9
    CONFORMING_OR_DOWN = 1 << 10
    CODE = 1 << 11
    NOT_SYSTEM = 1 << 12
    PRESENT = 1 << 15
    BIG = 1 << 22
    GRANULARITY = 1 << 23


class Selector(IntEnum):
    """Fields of a segment selector (SDM volume 3A, 3.4.2)."""

    RPL = 3
    LDT = 1 << 2


class Dr6(IntEnum):
    """Bits of DR6; FIXED read as ones, and are all there is before a #DB; ZERO reads as zero (SDM volume 3B,
    17.2.3)."""

    B0 = 1 << 0
    B1 = 1 << 1
    B2 = 1 << 2
    B3 = 1 << 3
    ZERO = 1 << 12
    BD = 1 << 13
    BS = 1 << 14
    BT = 1 << 15
    FIXED = 0xFFFF0FF0


class Dr7(IntEnum):
    """Bits of DR7; FIXED reads as one and ZERO as zeroes, ENABLED are the local and global enable bits of the
    four breakpoints (SDM volume 3B, 17.2.4)."""

    ENABLED = 0xFF
    FIXED = 1 << 10
    GD = 1 << 13
    ZERO = 0xD800


class Dr7Type(IntEnum):
    """What a breakpoint waits for: its R/W field in DR7. IO needs CR4.DE."""

    EXECUTION = 0
    WRITES = 1
    IO = 2
    ACCESSES = 3
