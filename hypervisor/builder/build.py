"""Makes a new domain's memory and first processor state out of a kernel image, as Xen's toolstack does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from paravane.abi.arch import FlatSelector
from paravane.abi.hypercall import VmassistType
from paravane.abi.shared_info import SHARED_INFO, VCPU_INFO, XEN_LEGACY_MAX_VCPUS
from paravane.abi.start_info import (
    MAX_GUEST_CMDLINE,
    START_INFO,
    StartInfo,
    StartInfoConsoleDomU,
    StartInfoFlag,
)
from paravane.builder.hypercall_page import hypercall_page
from paravane.builder.module import module_contents, module_size
from paravane.builder.page_tables import page_table_pages
from paravane.builder.start_layout import plan_layout
from paravane.classes import NamedTuple, dataclass
from paravane.image.notes import PaeMode
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Eflags

if TYPE_CHECKING:
    from array import array

    from paravane.builder.start_layout import StartLayout
    from paravane.image.image import Image
    from paravane.memory import DomainMemory

_log = logging.getLogger("paravane.builder")


class Rings(NamedTuple):
    """The machine frames of a domain's rings."""

    console_mfn: int
    store_mfn: int


@dataclass(frozen=True, slots=True)
class StartOfDay:
    """What the first vcpu starts with, and where the builder put things.

    `ss` goes into SS, DS, ES, FS and GS; `ss` and `esp` are the kernel stack that Xen knows until the first
    stack_switch; ESI holds `esi`, all other general registers 0. `base_mfn` is the top page table, pinned;
    `vm_assist` the mask of assists the image asked for (bits by VMASST_TYPE_*); `p2m[pfn]` the mfn of a
    pfn.
    """

    eip: int
    esp: int
    esi: int
    eflags: int
    cs: int
    ss: int
    base_mfn: int
    vm_assist: int
    shared_info_mfn: int
    start_info_mfn: int
    console_mfn: int
    store_mfn: int
    p2m: array[int]
    layout: StartLayout


def build_domain(
    memory: DomainMemory,
    image: Image,
    nr_pages: int,
    *,
    shared_info_mfn: int,
    console_evtchn: int,
    store_evtchn: int,
    command_line: str = "",
    ramdisk: bytes | None = None,
    privileged: bool = False,
) -> StartOfDay:
    """Populate `memory`, a domain without frames yet and of the image's geometry, with `nr_pages` pages.

    `shared_info_mfn` is the domain's shared_info frame, zeroed; the event channels are its own ports, meant
    for the backends of console and xenstore; a `privileged` domain has neither ring, and its start_info says
    that it is the first domain. Of the command line 1023 bytes fit, the rest is cut off as Xen
    does. Raises ImageError, before anything is done, when image and ramdisk do not fit; MemoryError or
    ValueError as `DomainMemory.populate` does.
    """
    if memory.geometry.name != image.geometry.name:
        raise ValueError(f"a {memory.geometry.name} domain cannot run a kernel for {image.geometry.name}")
    layout = plan_layout(image, nr_pages, None if ramdisk is None else module_size(ramdisk))
    p2m = memory.populate(nr_pages)
    info = _start_info(
        image,
        layout,
        p2m,
        shared_info_mfn=shared_info_mfn,
        console_evtchn=console_evtchn,
        store_evtchn=store_evtchn,
        command_line=_command_line(command_line),
        mod_len=0 if ramdisk is None else module_size(ramdisk),
    )
    if privileged:
        info = _of_control_domain(info)
    _fill(_Pages(memory, p2m), image, layout, p2m, info)
    if ramdisk is not None and layout.module is not None:
        _Pages(memory, p2m).store(layout.module.pfn << PAGE_SHIFT, module_contents(ramdisk))
    memory.pin(p2m[layout.page_tables.pfn])
    _mask_upcalls(memory, shared_info_mfn)
    return _start_of_day(image, layout, p2m, shared_info_mfn)


class _Pages:
    """The domain's pseudo-physical memory: each page lies in a machine frame of its own."""

    def __init__(self, memory: DomainMemory, p2m: array[int]) -> None:
        self._ram = memory.machine.ram
        self._p2m = p2m

    def store(self, paddr: int, data: bytes | memoryview) -> None:
        """Write bytes at a pseudo-physical address."""
        view, at = memoryview(data), 0
        while at < len(view):
            offset = paddr & PAGE_SIZE - 1
            size = min(PAGE_SIZE - offset, len(view) - at)
            maddr = (self._p2m[paddr >> PAGE_SHIFT] << PAGE_SHIFT) + offset
            self._ram.write(maddr, view[at : at + size])
            at += size
            paddr += size


def _fill(pages: _Pages, image: Image, layout: StartLayout, p2m: array[int], info: StartInfo) -> None:
    """Everything but the ramdisk. Fresh frames hold zeroes, so what is not written is zero."""
    for segment in image.contents:
        pages.store(segment.address - layout.virt_base, segment.data)
    pages.store(layout.p2m.pfn << PAGE_SHIFT, p2m.tobytes())
    for pfn, contents in page_table_pages(layout, p2m):
        pages.store(pfn << PAGE_SHIFT, contents)
    pages.store(layout.start_info_pfn << PAGE_SHIFT, START_INFO.pack(info))
    if image.hypercall_page is not None:
        pages.store(image.hypercall_page - layout.virt_base, hypercall_page())


def _command_line(text: str) -> bytes:
    line = text.encode("utf-8", "surrogateescape")
    if len(line) >= MAX_GUEST_CMDLINE:
        _log.warning("the command line has %d bytes; the guest gets %d", len(line), MAX_GUEST_CMDLINE - 1)
    return line[: MAX_GUEST_CMDLINE - 1]


def _start_info(
    image: Image,
    layout: StartLayout,
    p2m: array[int],
    *,
    shared_info_mfn: int,
    console_evtchn: int,
    store_evtchn: int,
    command_line: bytes,
    mod_len: int,
) -> StartInfo:
    mod_start, flags = 0, 0
    if layout.module is not None:
        mod_start = layout.address(layout.module.pfn)
        if layout.module_is_unmapped:
            mod_start, mod_len = layout.module.pfn, layout.module.pages * PAGE_SIZE
            flags = int(StartInfoFlag.MOD_START_PFN)
    return StartInfo(
        magic=image.guest_type.encode(),
        nr_pages=layout.nr_pages,
        shared_info=shared_info_mfn << PAGE_SHIFT,
        flags=flags,
        store_mfn=p2m[layout.xenstore_pfn],
        store_evtchn=store_evtchn,
        console=StartInfoConsoleDomU(p2m[layout.console_pfn], console_evtchn),
        pt_base=layout.address(layout.page_tables.pfn),
        nr_pt_frames=layout.page_tables.pages,
        mfn_list=layout.address(layout.p2m.pfn),
        mod_start=mod_start,
        mod_len=mod_len,
        cmd_line=command_line,
        # Only a list outside the initial mapping is described by frames, and a 32-bit domain never has one.
        first_p2m_pfn=0,
        nr_p2m_frames=0,
    )


def _of_control_domain(info: StartInfo) -> StartInfo:
    """As the first domain of a machine finds it: no rings, as nobody has made any, and no screen either."""
    flags = info.flags | StartInfoFlag.PRIVILEGED | StartInfoFlag.INITDOMAIN
    return info._replace(flags=flags, store_mfn=0, store_evtchn=0, console=StartInfoConsoleDomU(0, 0))


def _mask_upcalls(memory: DomainMemory, shared_info_mfn: int) -> None:
    """Every vcpu starts with its event upcalls masked."""
    mask = (shared_info_mfn << PAGE_SHIFT) + SHARED_INFO.offsets["vcpu_info.evtchn_upcall_mask"]
    for vcpu_id in range(XEN_LEGACY_MAX_VCPUS):
        memory.machine.ram.bytes[mask + vcpu_id * VCPU_INFO.size] = 1


def _start_of_day(image: Image, layout: StartLayout, p2m: array[int], shared_info_mfn: int) -> StartOfDay:
    extended = image.pae in (PaeMode.EXTENDED_CR3, PaeMode.BIMODAL)
    return StartOfDay(
        eip=image.entry,
        esp=layout.address(layout.boot_stack_pfn + 1),
        esi=layout.address(layout.start_info_pfn),
        eflags=Eflags.IF | Eflags.FIXED,
        cs=FlatSelector.RING1_CS,
        ss=FlatSelector.RING1_SS,
        base_mfn=p2m[layout.page_tables.pfn],
        vm_assist=1 << VmassistType.pae_extended_cr3 if extended else 0,
        shared_info_mfn=shared_info_mfn,
        start_info_mfn=p2m[layout.start_info_pfn],
        console_mfn=p2m[layout.console_pfn],
        store_mfn=p2m[layout.xenstore_pfn],
        p2m=p2m,
        layout=layout,
    )
