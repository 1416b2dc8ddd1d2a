"""What a guest asks of a modelled TLB: a hypercall of Paravane's own, which Xen does not have.

It is number 55, the last of those that public/xen.h keeps for what an architecture has of its own
(`__HYPERVISOR_arch_7`): x86 uses the first two of these eight and no more, and a TLB that is not x86's is
just that. Without such a TLB it answers as Xen does, -ENOSYS.
"""

from enum import IntEnum
from typing import Final

from paravane.abi.hypercall import Hypercall
from paravane.abi.layout import U32, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

TLB_OP: Final = int(Hypercall.arch_7)
"""The hypercall's number."""

TLB_ASNS: Final = 256
"""Address-space numbers that a tagged TLB tells apart, from 0 (MIPS has as many: EntryHi.ASID)."""

TLB_USER_END: Final = 0xC000_0000
"""Linear address where the TLB's part of an address space ends; what is above is never missed."""


@c_names("TLBOP_")
class TlbOp(IntEnum):
    """Commands: the first argument."""

    describe = 0
    refill = 1
    set_asn = 2
    flush_asn = 3


@c_names("TLBKIND_")
class TlbKind(IntEnum):
    """How a TLB is refilled, and whether its entries say whose they are."""

    hardware = 1
    software = 2
    tagged = 3


class TlbDescription(NamedTuple):
    """What TLBOP_describe writes: a `TlbKind`, entries, ways, and how many address-space numbers there are (1
    where a TLB has no tags)."""

    kind: U32
    entries: U32
    ways: U32
    asns: U32


TLB_DESCRIPTION: Final = Layout("tlb_description", TlbDescription)
