"""What has the traps of a processor with a modelled TLB first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.abi.hypercall import HYPERCALL_VECTOR
from paravane.x86 import Eflags, Vector

if TYPE_CHECKING:
    from paravane.cpu import TrapHandler
    from paravane.tlb.model import Tlb


class Refilled(Protocol):
    """A processor with a modelled TLB (paravane.tlb.TlbProcessor)."""

    cr2: int
    eip: int
    eflags: int
    passed_breakpoint: int | None
    tlb: Tlb

    def segment_base(self, name: str, /) -> int: ...

    def page_fault(self, va: int, error_code: int, /) -> int | None:
        """None if a page fault at `va` was a miss that is mended, else the error code of the guest's #PF."""
        ...


class CountedTraps:
    """A `TrapHandler` before another: mends what the walker of the TLB would, which is no trap, and counts
    all others but for `int n` of the guest's own, which needs no hypervisor."""

    def __init__(self, handler: TrapHandler, processor: Refilled) -> None:
        self._handler = handler
        self._processor = processor

    def exception(self, vector: int, error_code: int) -> None:
        processor = self._processor
        passed, processor.passed_breakpoint = processor.passed_breakpoint, None
        if vector == Vector.PF:
            delivered = processor.page_fault(processor.cr2, error_code)
            if delivered is None:
                if passed == processor.segment_base("cs") + processor.eip & 0xFFFFFFFF:
                    processor.eflags |= Eflags.RF  # it begins again, and past its breakpoint
                return
            error_code = delivered
        processor.tlb.counts.exits += 1
        self._handler.exception(vector, error_code)

    def interrupt(self, vector: int) -> None:
        self._processor.tlb.counts.exits += vector == HYPERCALL_VECTOR
        self._handler.interrupt(vector)

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return self._handler.cpuid(leaf, subleaf)
