"""A suspended domain as Xen's migration stream, in the order in which libxc writes it."""

from __future__ import annotations

from array import array
from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Final

from paravane.abi.arch import xen_cr3_to_pfn, xen_pfn_to_cr3
from paravane.abi.domctl_frames import XEN_DOMCTL_PFINFO_L2TAB, XEN_DOMCTL_PFINFO_LTABTYPE_MASK
from paravane.abi.sched import ShutdownReason
from paravane.abi.vcpu import VCPU_GUEST_CONTEXT
from paravane.cpu.geometry import PAE
from paravane.memory.frame_use import frame_use
from paravane.memory.frames import PAE_XEN_L2
from paravane.migration.p2m import PhysMap, UnsavableError
from paravane.migration.settings import settings_of, to_json
from paravane.migration.stream import PAGES_OF_A_RECORD, RecordType, head, record, tail
from paravane.migration.tables import is_table, renumber
from paravane.migration.vcpu_records import VCPU, cpuid_leaves, extended
from paravane.time.records import TSC_KHZ
from paravane.vcpu_context import vcpu_context
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.abi.vcpu import VcpuGuestContext
    from paravane.domain import Domain
    from paravane.vcpu import Vcpu

PV_INFO: Final = Struct("<BBHI")
"""Bytes of a word of the guest, levels of its page tables; 0."""

P2M_FRAMES: Final = Struct("<II")
PAGES: Final = Struct("<II")
TSC_INFO: Final = Struct("<IIQII")
"""How the guest reads its TSC (0: as suits the host), kHz, nanoseconds, incarnation; 0."""

PFN_TYPE_SHIFT: Final = 32
"""How far the uses of pages (XEN_DOMCTL_PFINFO_*) are shifted beside their numbers."""


def save(domain: Domain) -> Iterator[bytes]:
    """The stream, in pieces of at most a few MiB. The domain does not run meanwhile, and stays as it is.

    Raises ValueError, a sentence, before the first piece or, where a page table is the reason, between two:
    for a domain that has not suspended itself, for one whose tables have two levels, and for one that maps
    frames that are not its pages.
    """
    if domain.reason is not ShutdownReason.suspend:
        raise ValueError(f"{domain.name} is not suspended")
    if domain.memory.geometry.name != PAE.name:
        raise ValueError(f"{domain.name} cannot be saved: its page tables are not PAE's")
    if domain.tlb is not None:
        raise ValueError(f"{domain.name} cannot be saved: it has a modelled TLB, which Xen does not have")
    try:
        yield from _records(domain, PhysMap(domain))
    except UnsavableError as error:
        raise ValueError(f"{domain.name} cannot be saved: {error}") from None


def _records(domain: Domain, pages: PhysMap) -> Iterator[bytes]:
    vcpus = [vcpu for vcpu in domain.vcpus if not vcpu.run_state.down]
    contexts = [_context(vcpu, pages) for vcpu in vcpus]  # may refuse, so it comes before all that is written
    ram = domain.platform.ram
    yield head(to_json(settings_of(domain)))
    yield record(RecordType.X86_PV_INFO, PV_INFO.pack(4, 3, 0, 0))
    yield record(RecordType.X86_CPUID_POLICY, cpuid_leaves(domain.vcpus[0].cpuid))
    yield record(RecordType.STATIC_DATA_END)
    frames = array("Q", pages.frames).tobytes()
    yield record(RecordType.X86_PV_P2M_FRAMES, P2M_FRAMES.pack(0, pages.max_pfn), frames)
    present = [pfn for pfn in range(pages.max_pfn + 1) if pages.has(pfn)]
    for first in range(0, len(present), PAGES_OF_A_RECORD):
        yield _page_data(domain, pages, present[first : first + PAGES_OF_A_RECORD])
    now = domain.platform.clock.now()
    yield record(RecordType.X86_TSC_INFO, TSC_INFO.pack(0, TSC_KHZ, now, 0, 0))
    yield record(RecordType.SHARED_INFO, ram.read(domain.shared_info, PAGE_SIZE))
    for vcpu, context in zip(vcpus, contexts, strict=True):
        number = VCPU.pack(vcpu.vcpu_id, 0)
        yield record(RecordType.X86_PV_VCPU_BASIC, number, VCPU_GUEST_CONTEXT.pack(context))
        yield record(RecordType.X86_PV_VCPU_EXTENDED, number, extended(vcpu))
    yield tail()


def _page_data(domain: Domain, pages: PhysMap, pfns: Sequence[int]) -> bytes:
    memory, ram = domain.memory, domain.platform.ram
    uses, contents = array("Q"), list[bytes]()
    for pfn in pfns:
        mfn = pages.mfns[pfn]
        use = frame_use(memory, mfn)
        page = ram.read(mfn << PAGE_SHIFT, PAGE_SIZE)
        if is_table(use):
            page = renumber(page, use, pages.pfn, _xen_slot(domain, mfn, use))
        uses.append(use << PFN_TYPE_SHIFT | pfn)
        contents.append(page)
    return record(RecordType.PAGE_DATA, PAGES.pack(len(uses), 0), uses.tobytes(), *chain(contents))


def _xen_slot(domain: Domain, mfn: int, use: int) -> int | None:
    """From which entry on a table is the hypervisor's."""
    is_l2 = use & XEN_DOMCTL_PFINFO_LTABTYPE_MASK == XEN_DOMCTL_PFINFO_L2TAB
    if is_l2 and domain.memory.machine.frames.flags[mfn] & PAE_XEN_L2:
        return domain.memory.space.first_xen_slot
    return None


def _context(vcpu: Vcpu, pages: PhysMap) -> VcpuGuestContext:
    """A vcpu's context with pfns: of its root, of its GDT, and, for the first, of the start_info that its
    kernel gave the hypercall by which it suspended itself."""
    context = vcpu_context(vcpu)
    used = -(-context.gdt_ents // 512)
    frames = tuple(pages.pfn(mfn) if at < used else 0 for at, mfn in enumerate(context.gdt_frames))
    control = list(context.ctrlreg)
    control[3] = xen_pfn_to_cr3(pages.pfn(xen_cr3_to_pfn(control[3])))
    registers = context.user_regs
    if vcpu.vcpu_id == 0:
        registers = registers._replace(edx=pages.pfn(registers.edx))
    return context._replace(gdt_frames=frames, ctrlreg=tuple(control), user_regs=registers)
