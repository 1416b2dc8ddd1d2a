"""A processor whose TLB is a modelled one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.tlb import TLB_USER_END, TlbKind
from paravane.cpu import Cpu
from paravane.cpu.faults import PageFault
from paravane.refusal import Refusal
from paravane.tlb.counting import CountedTraps
from paravane.tlb.model import Tag, Tlb
from paravane.tlb.spec import IN_FLIGHT
from paravane.tlb.tables import EngineTables
from paravane.tlb.walker import use, walk
from paravane.x86 import PAGE_SHIFT, PageFaultCode, Pte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.cpu import CodeGroup, TrapHandler, WalkStep
    from paravane.cpu.interrupts import DeferredSigint
    from paravane.cpu.native_fill import NativeFill
    from paravane.memory import DomainMemory
    from paravane.tlb.spec import TlbSpec

_PRESENT: Final = int(PageFaultCode.page_present)
_WRITE: Final = int(PageFaultCode.write_access)
_GIVEN: Final = int(Pte.PRESENT | Pte.RW | Pte.USER | Pte.NX_BIT)
_FRAME: Final = 0x000F_FFFF_FFFF_F000


class TlbProcessor(Cpu):
    """A `Cpu` that translates addresses below `TLB_USER_END` by a TLB of `spec`.

    What the engine walks are tables that hold exactly what the TLB does (`EngineTables`), and what the TLB
    has let go while one and the same instruction has misses (`IN_FLIGHT`). CR3 is the guest's to those
    around.
    """

    def __init__(
        self,
        spec: TlbSpec,
        memory: DomainMemory,
        handler: TrapHandler,
        *,
        group: CodeGroup,
        spins: Callable[[], None] | None,
        sigint: DeferredSigint,
        tlb_fill: NativeFill | None,
    ) -> None:
        """Raises MemoryError when the hypervisor has no frames for the engine's tables."""
        self.spec = spec
        self.tlb = Tlb(spec.entries, spec.ways)
        self.asn = 0
        self._tags_used = False
        self._memory = memory
        self._base = 0
        self._recent: dict[int, None] = {}
        self._instruction: tuple[int, ...] = ()
        self._tables = EngineTables(memory.machine, spec.most_shown)
        ram = memory.machine.ram
        traps = CountedTraps(handler, self)
        try:
            super().__init__(
                ram, traps, memory.geometry, group=group, spins=spins, sigint=sigint, tlb_fill=tlb_fill
            )
        except BaseException:
            self._tables.close()
            raise

    def close(self) -> None:
        """Also lets go of all frames. Idempotent."""
        super().close()
        self._hide_all()
        self._tables.close()

    @property
    def shown(self) -> dict[int, int]:
        """What the engine can see: virtual page number -> leaf entry."""
        return self._tables.shown

    def differences(self) -> list[str]:
        """How what the engine can see differs from what the TLB holds."""
        held = {tag.vpn: entry for tag, entry in self.tlb if tag.asn == self.asn}
        mapped, said = self._tables.mapped(), []
        for vpn in sorted({*held, *mapped, *self.shown}):
            entry = held.get(vpn)
            if entry is None and vpn in self._recent:
                entry = self.shown.get(vpn)
            if not mapped.get(vpn) == entry == self.shown.get(vpn):
                said.append(f"page {vpn:#x}: the TLB has {entry}, the engine {mapped.get(vpn)}")
        return said

    def frame_at(self, va: int) -> int | None:
        """Also where the walker would have to be asked, who is not: to look at a page has no TLB hold it."""
        mfn = super().frame_at(va)
        va &= 0xFFFFFFFF
        if mfn is None and va < TLB_USER_END and self.spec.kind is not TlbKind.software:
            walked = walk(self.ram, self._base, va)
            mfn = None if walked is None else walked.maddr >> PAGE_SHIFT
        return mfn

    def walks(self, va: int) -> Iterator[tuple[str, list[WalkStep]]]:
        if va & 0xFFFFFFFF >= TLB_USER_END:
            yield from super().walks(va)
            return
        yield f"what its {self.spec.kind.name} TLB holds", self.walk(va)
        if self.spec.kind is not TlbKind.software:
            yield "the tables that it is refilled from", self.walk(va, self._base)

    # What those around do to a processor.

    @property
    def cr3(self) -> int:
        """The guest's CR3. A write makes a TLB forget everything; a tagged one does so until its kernel has
        named an address space, as x86's does while CR4.PCIDE is clear."""
        return self._base

    @cr3.setter
    def cr3(self, value: int) -> None:
        self._base = value & 0xFFFFFFFF
        self._tables.set_kernel(self._ram_quads[(self._base >> 3) + (TLB_USER_END >> 30)])
        self.cr3_cell[0] = self._words[self._layout.cr3] = self._tables.root
        self._want_flush()
        if not self._tags_used:
            self._forget_all()

    def flush_tlb(self) -> None:
        super().flush_tlb()
        self._forget_all()

    def flush_page(self, va: int) -> None:
        """Of a tagged TLB: in the address space that is in use."""
        super().flush_page(va)
        va &= 0xFFFFFFFF
        if va < TLB_USER_END:
            vpn = va >> PAGE_SHIFT
            self.tlb.flush_page(Tag(vpn, self.asn))
            self._recent.pop(vpn, None)
            self._hide(vpn)

    # What a guest asks of its TLB.

    def refill(self, va: int, entry: int) -> None:
        """TLBOP_refill: hold a page of linear `va` as `entry`, a PAE level 1 entry, says; one that is not
        present has the page forgotten. Raises Refusal."""
        if self.spec.kind is not TlbKind.software:
            raise Refusal(Errno.EOPNOTSUPP, f"a TLB that is {self.spec.kind.name} is refilled by its walker")
        if va >= TLB_USER_END:
            raise Refusal(Errno.EINVAL, f"{va:#010x} is in the kernel's area, which no TLB translates")
        vpn, tag = va >> PAGE_SHIFT, Tag(va >> PAGE_SHIFT, 0)
        if not entry & Pte.PRESENT:
            self.flush_page(va)
            return
        mfn = (entry & _FRAME) >> PAGE_SHIFT
        allowed = _GIVEN | _FRAME | int(Pte.ACCESSED | Pte.DIRTY)
        if entry & ~allowed:
            raise Refusal(Errno.EINVAL, f"TLB entry {entry:#x} sets bits {entry & ~allowed:#x}")
        machine = self._memory.machine
        # First the new reference, then the old one's end: the two may be of one frame.
        machine.hold(mfn, self._memory.domid, writable=bool(entry & Pte.RW))
        self.flush_tag(tag)
        self.tlb.counts.refills += 1
        entry |= int(Pte.ACCESSED | Pte.DIRTY if entry & Pte.RW else Pte.ACCESSED)
        self._hold(vpn, entry)

    def flush_tag(self, tag: Tag) -> None:
        """A page is about to be held otherwise: end what it was, without counting that."""
        if self.tlb.forget(tag) or tag.vpn in self._recent:
            self._recent.pop(tag.vpn, None)
            self._hide(tag.vpn)

    def set_asn(self, asn: int) -> None:
        """TLBOP_set_asn: be in another address space from now on. Raises Refusal."""
        self._check_asn(asn)
        self._tags_used = True
        if asn == self.asn:
            return
        self.tlb.counts.switches += 1
        self._hide_all()
        self.asn = asn
        for tag, entry in self.tlb:
            if tag.asn == asn:
                self._tables.show(tag.vpn, entry)
        super().flush_tlb()

    def flush_asn(self, asn: int) -> None:
        """TLBOP_flush_asn: forget an address space. Raises Refusal."""
        self._check_asn(asn)
        self.tlb.flush_asn(asn)
        if asn == self.asn:
            self._hide_all()
            super().flush_tlb()

    def _check_asn(self, asn: int) -> None:
        if self.spec.kind is not TlbKind.tagged:
            raise Refusal(
                Errno.EOPNOTSUPP, f"a TLB that is {self.spec.kind.name} has no address-space numbers"
            )
        if asn >= self.spec.asns:
            raise Refusal(Errno.EINVAL, f"address spaces have the numbers 0 to {self.spec.asns - 1}")

    # Misses.

    def page_fault(self, va: int, error_code: int) -> int | None:
        """A page fault of the engine's at `va`: None if it was a miss that the walker has mended, else the
        error code of the guest's #PF."""
        if va >= TLB_USER_END:
            return error_code
        if self.spec.kind is TlbKind.software:
            if not error_code & _PRESENT:
                self.tlb.counts.misses += 1
                self._begin_instruction()
            return error_code
        walked = walk(self.ram, self._base, va)
        vpn = va >> PAGE_SHIFT
        tag = Tag(vpn, self.asn)
        if walked is None or not walked.allows(error_code, write_protect=self._write_protect):
            # As on x86, a page fault makes the processor forget what it had of the page.
            self.flush_tag(tag)
            return error_code if walked is None else error_code | _PRESENT
        held = self.tlb.find(tag) is not None
        self.tlb.counts.misses += not held
        self.tlb.counts.updates += held
        self._begin_instruction()
        self._hold(vpn, use(self.ram, walked, write=bool(error_code & _WRITE)))
        return None

    def _translate_slowly(self, va: int, write: bool, user: bool) -> int:
        """The hypervisor's own accesses go through the TLB as well, as Xen's do on a processor."""
        try:
            return super()._translate_slowly(va, write, user)
        except PageFault as fault:
            if self.spec.kind is TlbKind.software or fault.va >= TLB_USER_END:
                raise
            error_code = self.page_fault(fault.va, fault.error_code)
            if error_code is not None:
                raise PageFault(fault.va, error_code) from None
        return super()._translate_slowly(va, write, user)

    def _begin_instruction(self) -> None:
        """There is a miss. If it is another instruction's than the last one, what was in flight for that is
        so no more. One that is in a loop has other registers each time."""
        instruction = (self.eip, self.cpl, *self.gprs())
        if instruction == self._instruction:
            return
        self._instruction = instruction
        recent, self._recent = self._recent, {}
        for vpn in recent:
            self._hide_unless_held(vpn)

    def _hold(self, vpn: int, entry: int) -> None:
        """Have `entry` in the TLB, and in sight of the engine."""
        victim = self.tlb.fill(Tag(vpn, self.asn), entry)
        self._tables.show(vpn, entry)
        self._want_page_flush(vpn << PAGE_SHIFT)
        self._recent.pop(vpn, None)
        self._recent[vpn] = None
        if len(self._recent) > IN_FLIGHT:
            oldest = next(iter(self._recent))
            del self._recent[oldest]
            self._hide_unless_held(oldest)
        if victim is not None and victim.asn == self.asn and victim.vpn not in self._recent:
            self._hide(victim.vpn)

    def _hide_unless_held(self, vpn: int) -> None:
        if self.tlb.find(Tag(vpn, self.asn)) is None:
            self._hide(vpn)

    def _forget_all(self) -> None:
        self.tlb.flush()
        self._hide_all()

    def _hide_all(self) -> None:
        """What is in the TLB all the same has to be shown again, or forgotten."""
        self._recent = {}
        while self.shown:  # a frame that is let go may be free then, for which others flush as well
            self._hide(next(iter(self.shown)))

    def _hide(self, vpn: int) -> None:
        if vpn not in self.shown:
            return
        entry = self._tables.hide(vpn)
        self._want_page_flush(vpn << PAGE_SHIFT)
        if self.spec.kind is TlbKind.software:
            self._memory.machine.let_go((entry & _FRAME) >> PAGE_SHIFT, writable=bool(entry & Pte.RW))
