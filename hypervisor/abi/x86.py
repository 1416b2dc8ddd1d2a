"""Numbers of the processor that hypervisor and guests share (Intel SDM volume 3A, chapters 2, 4 and 6)."""

from enum import IntEnum
from typing import Final

from paravane.abi.names import c_names

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT


@c_names("X86_EXC_")
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


@c_names("PFEC_")
class PageFaultCode(IntEnum):
    """Bits of a page fault's error code."""

    page_present = 1 << 0
    write_access = 1 << 1
    user_mode = 1 << 2
    reserved_bit = 1 << 3
    insn_fetch = 1 << 4


@c_names("X86_EFLAGS_")
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


@c_names("X86_CR0_")
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


@c_names("X86_CR4_")
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


@c_names("_PAGE_")
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
