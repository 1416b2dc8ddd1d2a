"""Where everything lies when a domain starts (public/xen.h, "Start-of-day memory layout").

The initial mapping begins at VIRT_BASE with pfn 0 and runs through consecutive pfns: kernel, ramdisk, list
of frames, start_info, xenstore ring, console ring, page tables, boot stack, padding. It ends on a 4 MiB
boundary, at least 512 KiB past the boot stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.arch import HYPERVISOR_VIRT_START_NONPAE, HYPERVISOR_VIRT_START_PAE
from paravane.classes import NamedTuple, dataclass
from paravane.image.errors import ImageError
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.cpu.geometry import Geometry
    from paravane.image.image import Image

MAX_PAGES: Final = 1 << 20
"""Frames a 32-bit base pointer can tell apart: 4 GiB."""

PFN_SIZE: Final = 4
"""Bytes per entry of the list of frames."""

PADDING_PAGES: Final = (512 << 10) // PAGE_SIZE
REGION_SHIFT: Final = 22
"""log2 of the boundary on which the initial mapping ends."""

_LAST_L3_SLOT = 3


class Region(NamedTuple):
    """`pages` consecutive pseudo-physical frames from `pfn`."""

    pfn: int
    pages: int

    @property
    def end(self) -> int:
        """The first pfn past the region."""
        return self.pfn + self.pages


class TableRun(NamedTuple):
    """The page tables of one level, in order in `region`. Each covers so many bytes of the address space; the
    first one covers part number `first` of it."""

    level: int
    region: Region
    first: int


@dataclass(frozen=True, slots=True)
class StartLayout:
    """The plan of a new domain's memory. `tables` runs from the top level down to level 1.

    `module` is None without a ramdisk; it is part of the initial mapping unless `module_is_unmapped`.
    `mapped_pages` pfns from 0 are mapped in a row from `virt_base`; `needed_pages` in all have a purpose.
    """

    geometry: Geometry
    nr_pages: int
    virt_base: int
    kernel: Region
    module: Region | None
    module_is_unmapped: bool
    p2m: Region
    start_info_pfn: int
    xenstore_pfn: int
    console_pfn: int
    page_tables: Region
    tables: tuple[TableRun, ...]
    boot_stack_pfn: int
    mapped_pages: int
    needed_pages: int

    def address(self, pfn: int) -> int:
        """Virtual address at which the initial mapping shows a pfn."""
        return self.virt_base + (pfn << PAGE_SHIFT)

    def pfn(self, address: int) -> int:
        """Inverse of `address`."""
        return address - self.virt_base >> PAGE_SHIFT


def plan_layout(image: Image, nr_pages: int, module_size: int | None = None) -> StartLayout:
    """Plan the memory of a domain of `nr_pages` pages, with a ramdisk of `module_size` bytes unless None.

    Raises ImageError when the memory is too small, saying how much is needed, or too large, or when the
    initial mapping would reach the hypervisor's hole.
    """
    if not 0 < nr_pages <= MAX_PAGES:
        raise ImageError(f"a domain has from 1 to {MAX_PAGES} pages, not {nr_pages}")
    layout = _lay_out(image, nr_pages, module_size)
    if layout.needed_pages > nr_pages:
        raise ImageError(
            f"the kernel does not fit into {amount(nr_pages)} of memory; "
            f"{_needs(smallest_memory(image, module_size))}"
        )
    two_level = layout.geometry.levels == 2
    hole = HYPERVISOR_VIRT_START_NONPAE if two_level else HYPERVISOR_VIRT_START_PAE
    end = layout.address(layout.mapped_pages)
    if end > hole:
        raise ImageError(
            f"the initial mapping would end at {end:#x}, in the hypervisor's hole from {hole:#x}"
        )
    return layout


def _lay_out(image: Image, nr_pages: int, module_size: int | None) -> StartLayout:
    start = (image.virt_start - image.virt_base) >> PAGE_SHIFT
    kernel = Region(start, _pages(image.virt_end - image.virt_start))
    unmapped = module_size is not None and image.mod_start_pfn
    module = Region(kernel.end, _pages(module_size)) if module_size is not None else None
    p2m = Region(kernel.end if module is None or unmapped else module.end, _pages(nr_pages * PFN_SIZE))
    start_info = p2m.end
    first_table = start_info + 3
    mapped_end, tables = _plan_tables(image, first_table)
    boot_stack = tables[-1].region.end
    mapped_pages = (mapped_end - image.virt_base) >> PAGE_SHIFT
    if module is not None and unmapped:
        module = Region(mapped_pages, module.pages)
    return StartLayout(
        geometry=image.geometry,
        nr_pages=nr_pages,
        virt_base=image.virt_base,
        kernel=kernel,
        module=module,
        module_is_unmapped=unmapped,
        p2m=p2m,
        start_info_pfn=start_info,
        xenstore_pfn=start_info + 1,
        console_pfn=start_info + 2,
        page_tables=Region(first_table, boot_stack - first_table),
        tables=tables,
        boot_stack_pfn=boot_stack,
        mapped_pages=mapped_pages,
        needed_pages=mapped_pages + (module.pages if module is not None and unmapped else 0),
    )


def _plan_tables(image: Image, first_pfn: int) -> tuple[int, tuple[TableRun, ...]]:
    """End of the initial mapping and its page tables, which begin at `first_pfn` and map themselves too.

    More tables may push the end over the next boundary, which takes more tables: repeated until it fits.
    """
    start = image.virt_base + (first_pfn << PAGE_SHIFT)
    extra = 1 + PADDING_PAGES
    pages = extra
    while True:
        end = ((start + pages * PAGE_SIZE) | (1 << REGION_SHIFT) - 1) + 1
        tables = _count_tables(image.geometry, image.virt_base, end, first_pfn)
        pages = tables[-1].region.end - first_pfn + extra
        if start + pages * PAGE_SIZE <= end:
            return end, tables


def _count_tables(geometry: Geometry, base: int, end: int, pfn: int) -> tuple[TableRun, ...]:
    """The tables that map `base` to `end`, laid out from `pfn`: the top one first, then level by level."""
    runs = [TableRun(geometry.levels, Region(pfn, 1), 0)]
    for level in range(geometry.levels - 1, 0, -1):
        shift = geometry.shifts[geometry.levels - 1 - level]
        first, last = base >> shift, end - 1 >> shift
        if geometry.levels == 3 and level == 2:
            # The L2 of the last L3 slot is always there: it is the one that carries the hypervisor's entries.
            last = max(last, _LAST_L3_SLOT)
        runs.append(TableRun(level, Region(runs[-1].region.end, last - first + 1), first))
    return tuple(runs)


def smallest_memory(image: Image, module_size: int | None = None) -> int:
    """Pages that a domain needs for the image; more than MAX_PAGES if no domain can have so many."""
    # More memory needs a longer list of frames, so the need is looked up again for what was needed.
    nr_pages, needed = 0, 1
    while nr_pages < needed <= MAX_PAGES:
        nr_pages = needed
        needed = _lay_out(image, nr_pages, module_size).needed_pages
    return needed


def _needs(pages: int) -> str:
    if pages > MAX_PAGES:
        return f"it needs more than the {amount(MAX_PAGES)} a domain can have"
    return f"it needs at least {amount(pages)}"


def amount(pages: int) -> str:
    """So many pages in words: `32 MiB`, `5640 KiB`."""
    kib = pages * PAGE_SIZE >> 10
    return f"{kib >> 10} MiB" if kib % 1024 == 0 else f"{kib} KiB"


def _pages(size: int) -> int:
    return size + PAGE_SIZE - 1 >> PAGE_SHIFT
