"""Read a saved domain: everything in its file, checked as far as that goes without a machine."""

from __future__ import annotations

from array import array
from dataclasses import field
from struct import Struct
from typing import IO, TYPE_CHECKING, Final

from paravane.abi.domctl_frames import (
    XEN_DOMCTL_PFINFO_BROKEN,
    XEN_DOMCTL_PFINFO_L3TAB,
    XEN_DOMCTL_PFINFO_LPINTAB,
    XEN_DOMCTL_PFINFO_NOTAB,
    XEN_DOMCTL_PFINFO_XTAB,
)
from paravane.abi.vcpu import VCPU_GUEST_CONTEXT
from paravane.classes import dataclass
from paravane.migration.p2m import PER_PAGE
from paravane.migration.save import P2M_FRAMES, PAGES, PFN_TYPE_SHIFT, PV_INFO
from paravane.migration.settings import Settings, from_json
from paravane.migration.stream import RecordType, StreamError, read_config, read_records
from paravane.migration.vcpu_records import VCPU
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.abi.vcpu import VcpuGuestContext

_ALLOCATE_ONLY: Final = 0xE << 28
"""XEN_DOMCTL_PFINFO_XALLOC (public/domctl.h): a page that is there, with whatever it holds."""

_MOST_EXTENDED: Final = 128
_PFN_MASK: Final = (1 << 32) - 1
_COUNT: Final = Struct("<Q")


@dataclass(slots=True)
class SavedVcpu:
    """One vcpu's context, with pfns where it names frames, and what the context leaves out."""

    context: VcpuGuestContext | None = None
    extended: bytes = b""


@dataclass(slots=True)
class Loaded:
    """A saved domain. `uses` has each of its pages, by pfn, with its use (XEN_DOMCTL_PFINFO_*), `contents`
    those of them that hold something; `p2m_frames` are the pages its own list of frames lies in."""

    settings: Settings
    max_pfn: int = -1
    p2m_frames: array[int] = field(default_factory=lambda: array("Q"))
    uses: dict[int, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    shared_info: bytes = b""
    vcpus: dict[int, SavedVcpu] = field(default_factory=dict)
    cpuid: bytes = b""


def load(stream: IO[bytes]) -> Loaded:
    """What a file holds. Raises StreamError, a sentence without the file's name."""
    loaded = Loaded(from_json(read_config(stream)))
    for kind, body in read_records(stream):
        take = _RECORDS.get(kind)
        if take is None:
            raise StreamError(f"it has a record {kind.name}, which a paravirtual domain here has not")
        take(loaded, body)
    if loaded.max_pfn < 0 or not loaded.shared_info:
        raise StreamError("it has no memory")
    first = loaded.vcpus.get(0)
    if first is None or first.context is None:
        raise StreamError("it has no first vcpu")
    return loaded


def _pv_info(loaded: Loaded, body: bytes) -> None:
    if len(body) != PV_INFO.size or PV_INFO.unpack(body)[:2] != (4, 3):
        raise StreamError("it is no domain of 32 bits with PAE's page tables")


def _cpuid_policy(loaded: Loaded, body: bytes) -> None:
    loaded.cpuid = body


def _p2m_frames(loaded: Loaded, body: bytes) -> None:
    if len(body) < P2M_FRAMES.size:
        raise StreamError("the list of its frames is cut off")
    if loaded.max_pfn >= 0:
        raise StreamError("it has two lists of its frames")
    first, last = P2M_FRAMES.unpack_from(body)
    frames = body[P2M_FRAMES.size :]
    if first or last >= PER_PAGE * PER_PAGE or len(frames) != 8 * (last // PER_PAGE + 1):
        raise StreamError(f"the list of its frames cannot be: pfn {first:#x} to {last:#x}")
    loaded.max_pfn, loaded.p2m_frames = last, array("Q", frames)


def _page_data(loaded: Loaded, body: bytes) -> None:
    if len(body) < PAGES.size:
        raise StreamError("a record of pages is cut off")
    count = PAGES.unpack_from(body)[0]
    at = PAGES.size + _COUNT.size * count
    if not count or len(body) < at:
        raise StreamError("a record of pages is cut off")
    for (word,) in _COUNT.iter_unpack(body[PAGES.size : at]):
        pfn, use = word & _PFN_MASK, word >> PFN_TYPE_SHIFT
        if pfn > loaded.max_pfn:
            raise StreamError(f"it has a page {pfn:#x}, and its last one is {loaded.max_pfn:#x}")
        if use in (XEN_DOMCTL_PFINFO_XTAB, XEN_DOMCTL_PFINFO_BROKEN):
            continue
        if use == _ALLOCATE_ONLY:
            use = XEN_DOMCTL_PFINFO_NOTAB
        else:
            if use & ~XEN_DOMCTL_PFINFO_LPINTAB > XEN_DOMCTL_PFINFO_L3TAB or use & 0xFFF_FFFF:
                raise StreamError(f"page {pfn:#x} is of a kind {use:#x} that a 32-bit domain has not")
            loaded.contents[pfn] = body[at : at + PAGE_SIZE]
            at += PAGE_SIZE
        loaded.uses[pfn] = use
    if at != len(body):
        raise StreamError("a record of pages has not the length that it should have")


def _shared_info(loaded: Loaded, body: bytes) -> None:
    if len(body) != PAGE_SIZE:
        raise StreamError(f"its shared_info has {len(body)} bytes")
    loaded.shared_info = body


def _vcpu(loaded: Loaded, body: bytes) -> tuple[SavedVcpu, bytes]:
    if len(body) < VCPU.size:
        raise StreamError("what it says of a vcpu is cut off")
    number = VCPU.unpack_from(body)[0]
    if number >= loaded.settings.vcpus:
        raise StreamError(f"it has a vcpu {number}, and {loaded.settings.vcpus} in all")
    return loaded.vcpus.setdefault(number, SavedVcpu()), body[VCPU.size :]


def _vcpu_basic(loaded: Loaded, body: bytes) -> None:
    vcpu, data = _vcpu(loaded, body)
    if len(data) != VCPU_GUEST_CONTEXT.size:
        raise StreamError(f"the context of a vcpu has {len(data)} bytes")
    vcpu.context = VCPU_GUEST_CONTEXT.unpack(data)


def _vcpu_extended(loaded: Loaded, body: bytes) -> None:
    vcpu, data = _vcpu(loaded, body)
    if len(data) > _MOST_EXTENDED:
        raise StreamError(f"the extended context of a vcpu has {len(data)} bytes")
    vcpu.extended = data


def _nothing(loaded: Loaded, body: bytes) -> None:
    """What makes no difference here: the end of what does not change; the rate of the TSC, which the guest
    reads in its time records anew; MSRs of a processor that has none of those that are saved."""


_RECORDS: Final[Mapping[RecordType, Callable[[Loaded, bytes], None]]] = {
    RecordType.X86_PV_INFO: _pv_info,
    RecordType.X86_CPUID_POLICY: _cpuid_policy,
    RecordType.X86_MSR_POLICY: _nothing,
    RecordType.STATIC_DATA_END: _nothing,
    RecordType.X86_PV_P2M_FRAMES: _p2m_frames,
    RecordType.PAGE_DATA: _page_data,
    RecordType.X86_TSC_INFO: _nothing,
    RecordType.SHARED_INFO: _shared_info,
    RecordType.X86_PV_VCPU_BASIC: _vcpu_basic,
    RecordType.X86_PV_VCPU_EXTENDED: _vcpu_extended,
    RecordType.X86_PV_VCPU_MSRS: _nothing,
}
