"""TLBs of other processors than x86, modelled: refilled by the kernel, or tagged. See README.md."""

from typing import TYPE_CHECKING

from paravane.late import late

if TYPE_CHECKING:
    from paravane.abi.tlb import TlbKind
    from paravane.tlb.model import Tag, Tlb, TlbCounts
    from paravane.tlb.processor import TlbProcessor
    from paravane.tlb.spec import MOST_ENTRIES, TlbSpec
else:
    # What every domain is asked for is a spec, and few have one.
    __getattr__ = late(
        __name__, model="Tag Tlb TlbCounts", processor="TlbProcessor", spec="MOST_ENTRIES TlbKind TlbSpec"
    )

__all__ = ["MOST_ENTRIES", "Tag", "Tlb", "TlbCounts", "TlbKind", "TlbProcessor", "TlbSpec"]
