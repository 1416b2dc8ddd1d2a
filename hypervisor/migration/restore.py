"""Put what was saved into a domain without memory, in the order in which libxc does it."""

from __future__ import annotations

from array import array
from itertools import groupby
from typing import TYPE_CHECKING

from paravane.abi.arch import xen_cr3_to_pfn, xen_pfn_to_cr3
from paravane.abi.domctl_frames import (
    XEN_DOMCTL_PFINFO_L3TAB,
    XEN_DOMCTL_PFINFO_LPINTAB,
    XEN_DOMCTL_PFINFO_LTAB_SHIFT,
    XEN_DOMCTL_PFINFO_LTABTYPE_MASK,
    XEN_DOMCTL_PFINFO_NOTAB,
)
from paravane.abi.shared_info import SHARED_INFO, VCPU_INFO, XEN_LEGACY_MAX_VCPUS
from paravane.abi.start_info import START_INFO, StartInfoConsoleDomU
from paravane.abi.vcpu import VcpuContextFlag
from paravane.builder import Rings
from paravane.memory.pins import pin
from paravane.migration.stream import StreamError
from paravane.migration.tables import is_table, renumber
from paravane.migration.vcpu_records import load_extended, missing_features
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.abi.vcpu import VcpuGuestContext
    from paravane.domain import Domain
    from paravane.migration.load import Loaded

_NO_FRAME = 0xFFFF_FFFF
_LAST_RESERVED_ENTRY = 14 * PAGE_SIZE // 8
"""Entries of a GDT that are the guest's."""


def restore(domain: Domain, loaded: Loaded, *, console_port: int, store_port: int) -> Rings:
    """Give `domain`, which has its vcpus and no memory, what was saved. Its kernel finds the new ports of its
    console and its store in start_info, and no event pending.

    Raises StreamError, a sentence, for what cannot run here: a processor with more than ours has, page tables
    that the hypervisor would refuse, contexts that name what there is not; MemoryError when the machine has
    too few frames.
    """
    return _Restorer(domain, loaded).restore(console_port, store_port)


class _Restorer:
    def __init__(self, domain: Domain, loaded: Loaded) -> None:
        self._domain = domain
        self._loaded = loaded
        self._ram = domain.platform.ram
        self._mfns = array("I", [_NO_FRAME]) * (loaded.max_pfn + 1)

    def restore(self, console_port: int, store_port: int) -> Rings:
        domain, loaded = self._domain, self._loaded
        try:
            missing = missing_features(loaded.cpuid, domain.vcpus[0].cpuid)
        except ValueError as error:
            raise StreamError(str(error)) from None
        if missing:
            raise StreamError(f"its processor can do what this one cannot: CPUID {', '.join(missing)}")
        self._populate()
        self._fill()
        self._share()
        contexts = {number: vcpu.context for number, vcpu in loaded.vcpus.items() if vcpu.context}
        rings = self._start_info(contexts[0], console_port, store_port)
        for number, context in sorted(contexts.items()):
            self._set_context(number, context)
        self._pin()
        self._tell_frames()
        return rings

    def _populate(self) -> None:
        """Frames for all its pages, neighbours at once."""
        pages, most = len(self._loaded.uses), self._domain.memory.max_pages
        if pages > most:
            raise StreamError(f"it has {pages} pages, and its memory is of {most} at most")
        for first, count in _runs(self._loaded.uses):
            frames = self._domain.memory.populate(count, first)
            self._mfns[first : first + count] = frames

    def _fill(self) -> None:
        for pfn, page in self._loaded.contents.items():
            use = self._loaded.uses[pfn]
            data = renumber(page, use, self._mfn, None) if is_table(use) else page
            self._ram.write(self._mfns[pfn] << PAGE_SHIFT, data)

    def _share(self) -> None:
        """Its shared_info: what it had, but for events, which are all masked, and time, which is another."""
        saved, offsets = self._loaded.shared_info, SHARED_INFO.offsets
        page = self._ram.bytes[self._domain.shared_info : self._domain.shared_info + PAGE_SIZE]
        pending, mask, clock = (offsets[name] for name in ("evtchn_pending", "evtchn_mask", "wc_version"))
        arch = offsets["arch.max_pfn"]
        page[:pending] = saved[:pending]
        page[arch : SHARED_INFO.size] = saved[arch : SHARED_INFO.size]
        page[pending:mask] = bytes(mask - pending)
        page[mask:clock] = b"\xff" * (clock - mask)
        tree = offsets["arch.pfn_to_mfn_frame_list_list"]
        page[tree : tree + 4] = bytes(4)
        selector = VCPU_INFO.offsets["evtchn_pending_sel"]
        for number in range(XEN_LEGACY_MAX_VCPUS):
            at = number * VCPU_INFO.size + selector
            page[at : at + 4] = bytes(4)

    def _start_info(self, context: VcpuGuestContext, console_port: int, store_port: int) -> Rings:
        """Bring start_info, which the first vcpu's EDX names, up to date."""
        at = self._plain(context.user_regs.edx, "start_info") << PAGE_SHIFT
        info = START_INFO.unpack(self._ram.read(at, START_INFO.size))
        store = self._plain(info.store_mfn, "the ring of its store")
        console = self._plain(info.console.mfn, "the ring of its console")
        self._ram.write(
            at,
            START_INFO.pack(
                info._replace(
                    nr_pages=self._loaded.max_pfn + 1,
                    shared_info=self._domain.shared_info,
                    flags=0,
                    store_mfn=store,
                    store_evtchn=store_port,
                    console=StartInfoConsoleDomU(console, console_port),
                )
            ),
        )
        return Rings(console, store)

    def _set_context(self, number: int, context: VcpuGuestContext) -> None:
        if context.gdt_ents > _LAST_RESERVED_ENTRY:
            raise StreamError(f"vcpu {number} has a GDT of {context.gdt_ents} entries")
        used = -(-context.gdt_ents // 512)
        frames = [self._plain(pfn, "its GDT") for pfn in context.gdt_frames[:used]]
        root = xen_cr3_to_pfn(context.ctrlreg[3])
        if self._loaded.uses.get(root, 0) & XEN_DOMCTL_PFINFO_LTABTYPE_MASK != XEN_DOMCTL_PFINFO_L3TAB:
            raise StreamError(f"vcpu {number} runs on page {root:#x}, which is no root of page tables")
        control = list(context.ctrlreg)
        control[3] = xen_pfn_to_cr3(self._mfn(root))
        registers = context.user_regs
        if number == 0:
            registers = registers._replace(edx=self._mfn(registers.edx))
        vcpu = self._domain.vcpus[number]
        try:
            vcpu.set_context(
                context._replace(
                    flags=context.flags | VcpuContextFlag.online,
                    gdt_frames=(*frames, *[0] * (len(context.gdt_frames) - used)),
                    ctrlreg=tuple(control),
                    user_regs=registers,
                )
            )
            load_extended(vcpu, self._loaded.vcpus[number].extended)
        except Refusal as refusal:
            raise StreamError(f"vcpu {number} cannot go on: {refusal.sentence}") from None

    def _pin(self) -> None:
        memory = self._domain.memory
        for pfn, use in self._loaded.uses.items():
            if is_table(use) and use & XEN_DOMCTL_PFINFO_LPINTAB:
                level = (use & XEN_DOMCTL_PFINFO_LTABTYPE_MASK) >> XEN_DOMCTL_PFINFO_LTAB_SHIFT
                try:
                    pin(memory.machine.types, memory, self._mfns[pfn], level)
                except Refusal as refusal:
                    raise StreamError(f"page table {pfn:#x} cannot be pinned: {refusal.sentence}") from None

    def _tell_frames(self) -> None:
        """Write the new frames into the guest's own list of them."""
        numbers = self._mfns.tobytes()
        for at, pfn in enumerate(self._loaded.p2m_frames):
            mfn = self._plain(pfn, "the list of its frames")
            try:
                # By now it may be in use as what the stream did not say.
                self._domain.memory.write_frame(mfn, numbers[at * PAGE_SIZE : (at + 1) * PAGE_SIZE])
            except Refusal as refusal:
                raise StreamError(f"the list of its frames cannot lie there: {refusal.sentence}") from None

    def _mfn(self, pfn: int) -> int:
        if pfn > self._loaded.max_pfn or self._mfns[pfn] == _NO_FRAME:
            raise StreamError(f"it uses page {pfn:#x}, which it has not")
        return self._mfns[pfn]

    def _plain(self, pfn: int, what: str) -> int:
        """The frame of a page that is no page table."""
        mfn = self._mfn(pfn)
        if self._loaded.uses[pfn] != XEN_DOMCTL_PFINFO_NOTAB:
            raise StreamError(f"{what} lies in page {pfn:#x}, which is a page table")
        return mfn


def _runs(pfns: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbours among numbers: the first, and how many."""
    found = []
    for _, group in groupby(enumerate(sorted(pfns)), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in group]
        found.append((numbers[0], len(numbers)))
    return found
