"""The hypercall of Paravane's own, for a modelled TLB (paravane.abi.tlb)."""

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.tlb import TLB_DESCRIPTION, TlbDescription, TlbOp
from paravane.hypercalls.table import Hex, Ptr, UInt, commands
from paravane.refusal import Refusal
from paravane.tlb import TlbProcessor

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller
    from paravane.hypercalls.declaration import Arguments


def _has_tlb(caller: "Caller", arguments: "Arguments") -> "Arguments":
    _processor(caller)
    return arguments


def _processor(caller: "Caller") -> TlbProcessor:
    cpu = caller.vcpu.cpu
    if not isinstance(cpu, TlbProcessor):
        raise Refusal(Errno.ENOSYS, "the domain's processors are x86's: boot it with --tlb")
    return cpu


tlb = commands(Hypercall.arch_7, TlbOp, check=_has_tlb)


@tlb(TlbOp.describe)
def describe(caller: "Caller", arg: Ptr) -> int:
    """Write what TLB there is, a struct tlb_description."""
    spec = _processor(caller).spec
    description = TlbDescription(spec.kind, spec.entries, spec.ways, spec.asns)
    caller.copy_to_guest(arg, TLB_DESCRIPTION.pack(description))
    return 0


@tlb(TlbOp.refill)
def refill(caller: "Caller", va: Ptr, low: Hex, high: Hex) -> int:
    """Have the caller's TLB hold the page of `va` as a level 1 entry says; one that is not present takes the
    page out. The frame is to be the domain's own; one that may be written is in use as that until the entry
    goes.

    -EINVAL for an address in the kernel's area, bits that a TLB does not have, and a frame that cannot be
    mapped so; -EOPNOTSUPP for a TLB that is refilled by hardware.
    """
    _processor(caller).refill(va, high << 32 | low)
    return 0


@tlb(TlbOp.set_asn)
def set_asn(caller: "Caller", asn: UInt) -> int:
    """Be in address space `asn` from now on; nothing is forgotten. -EINVAL for a number there is not,
    -EOPNOTSUPP for a TLB without tags."""
    _processor(caller).set_asn(asn)
    return 0


@tlb(TlbOp.flush_asn)
def flush_asn(caller: "Caller", asn: UInt) -> int:
    """Forget all of address space `asn`. Refused as set_asn."""
    _processor(caller).flush_asn(asn)
    return 0
