"""Where things lie at the start of day, in both page-table shapes."""

import pytest

from paravane.abi.elfnote import ElfNote
from paravane.builder import Region, StartLayout, plan_layout
from paravane.image import Image, ImageError, load_image
from tests.support.elfwriter import PAGE, ElfImage, ElfSegment, xen_notes
from tests.support.needs import GRUB, require

MIB = 256
"""Pages per MiB."""


def image(
    pages: int = 1,
    *,
    base: int = 0,
    start: int = 0,
    pae: str = "yes",
    extra: dict[int, int | str | bytes] | None = None,
) -> Image:
    """A kernel of `pages` pages, `start` bytes above VIRT_BASE."""
    places: dict[int, int | str | bytes] = {ElfNote.VIRT_BASE: base, ElfNote.ENTRY: base + start}
    notes = xen_notes(places | {ElfNote.PAE_MODE: pae} | (extra or {}))
    return load_image(ElfImage([ElfSegment(start, b"\xf4", pages * PAGE)], notes).pack())


def tables(layout: StartLayout) -> list[tuple[int, int, int]]:
    """(level, number of tables, first part covered) from the top down."""
    return [(run.level, run.region.pages, run.first) for run in layout.tables]


def test_elements_follow_each_other_in_xens_order() -> None:
    layout = plan_layout(image(3), 32 * MIB, 5 * PAGE + 1)
    assert layout.kernel == Region(0, 3)
    assert layout.module == Region(3, 6)
    assert layout.p2m == Region(9, 8)
    assert (layout.start_info_pfn, layout.xenstore_pfn, layout.console_pfn) == (17, 18, 19)
    assert layout.page_tables == Region(20, 7)
    assert layout.boot_stack_pfn == 27
    assert layout.mapped_pages == 1024


def test_pae_tables_at_address_0_are_an_l3_all_four_l2_and_the_l1s() -> None:
    layout = plan_layout(image(), 32 * MIB)
    assert tables(layout) == [(3, 1, 0), (2, 4, 0), (1, 2, 0)]


def test_pae_tables_of_a_high_kernel_have_the_last_l2_only() -> None:
    layout = plan_layout(image(base=0xC0000000, start=0x100000), 32 * MIB)
    assert tables(layout) == [(3, 1, 0), (2, 1, 3), (1, 2, 0x600)]
    assert layout.kernel == Region(0x100, 1)
    assert layout.address(layout.kernel.pfn) == 0xC0100000
    assert layout.pfn(0xC0100FFF) == 0x100


def test_pae_tables_of_a_kernel_across_a_gigabyte_have_each_l2_up_to_the_last() -> None:
    layout = plan_layout(image(base=0x7FE00000), 32 * MIB)
    assert tables(layout)[1] == (2, 3, 1)
    assert layout.address(layout.mapped_pages) % (4 << 20) == 0


def test_two_level_tables_are_one_directory_and_one_table_per_4_mib() -> None:
    layout = plan_layout(image(base=0xC0000000, pae="no"), 32 * MIB)
    assert tables(layout) == [(2, 1, 0), (1, 1, 0x300)]
    assert layout.geometry.entry_size == 4


@pytest.mark.parametrize("pages", range(870, 900))
def test_at_least_512_kib_lie_between_the_boot_stack_and_the_end(pages: int) -> None:
    layout = plan_layout(image(pages), 32 * MIB)
    assert layout.mapped_pages % 1024 == 0
    padding = layout.mapped_pages - layout.boot_stack_pfn - 1
    assert padding >= 128
    assert layout.tables[-1].region.pages * 512 == layout.mapped_pages
    # No boundary further than it has to be.
    assert padding < 128 + 1024 + 2


def test_the_tables_of_the_next_4_mib_may_themselves_need_it() -> None:
    # 1024 - 128 padding - 1 stack - 7 tables - 3 pages - 1 p2m: the last size that fits into 4 MiB.
    fits = 1024 - 128 - 1 - 7 - 3 - 1
    assert plan_layout(image(fits), 4 * MIB).mapped_pages == 1024
    assert plan_layout(image(fits + 1), 16 * MIB).mapped_pages == 2048


def test_a_mapped_ramdisk_extends_the_initial_mapping() -> None:
    layout = plan_layout(image(), 32 * MIB, 8 << 20)
    assert not layout.module_is_unmapped
    assert layout.module == Region(1, 2048)
    assert layout.mapped_pages == 3 * 1024


def test_an_unmapped_ramdisk_lies_after_it() -> None:
    layout = plan_layout(image(extra={ElfNote.MOD_START_PFN: 1}), 32 * MIB, 8 << 20)
    assert layout.module_is_unmapped
    assert layout.module == Region(1024, 2048)
    assert (layout.mapped_pages, layout.needed_pages) == (1024, 3072)


def test_init_p2m_moves_nothing_in_a_32_bit_domain() -> None:
    wanted = image(base=0xC0000000, extra={ElfNote.INIT_P2M: 0x80000000})
    assert plan_layout(wanted, 32 * MIB) == plan_layout(image(base=0xC0000000), 32 * MIB)


@pytest.mark.slow
@pytest.mark.parametrize("mib", [8, 16, 32, 64, 256, 512, 1024])
def test_grub_finds_twice_its_list_of_frames_mapped(mib: int) -> None:
    layout = plan_layout(load_image(require(GRUB).read_bytes()), mib * MIB)
    assert layout.p2m.pfn * PAGE + 8 * layout.nr_pages <= layout.mapped_pages * PAGE
    assert layout.page_tables.pages == 5 + layout.mapped_pages // 512


@pytest.mark.slow
def test_too_little_memory_is_refused_with_the_amount_that_does() -> None:
    grub = load_image(require(GRUB).read_bytes())
    with pytest.raises(ImageError, match="does not fit into 4 MiB of memory; it needs at least 8 MiB"):
        plan_layout(grub, 4 * MIB)
    assert plan_layout(grub, 8 * MIB).needed_pages == 8 * MIB


@pytest.mark.parametrize(
    ("size", "unmapped"), [(1, False), (5 << 20, False), (77 << 20, True), (900 << 20, True)]
)
def test_the_amount_that_is_named_fits_and_one_page_less_does_not(size: int, unmapped: bool) -> None:
    kernel = image(extra={ElfNote.MOD_START_PFN: int(unmapped)})
    with pytest.raises(ImageError) as caught:
        plan_layout(kernel, 1, size)
    amount, unit = str(caught.value).split("at least ")[1].split()
    pages = int(amount) * {"MiB": MIB, "KiB": 0.25}[unit]
    assert plan_layout(kernel, int(pages), size).needed_pages == pages
    with pytest.raises(ImageError):
        plan_layout(kernel, int(pages) - 1, size)


def test_a_kernel_that_fits_into_no_domain_is_refused() -> None:
    with pytest.raises(ImageError, match="more than the 4096 MiB"):
        plan_layout(image(0x80000), 32 * MIB, 3 << 30)


@pytest.mark.parametrize("nr_pages", [0, -1, (1 << 20) + 1])
def test_absurd_memory_sizes_are_refused(nr_pages: int) -> None:
    with pytest.raises(ImageError, match="from 1 to 1048576 pages"):
        plan_layout(image(), nr_pages)


@pytest.mark.parametrize(("pae", "base"), [("yes", 0xF5780000), ("no", 0xFBF80000)])
def test_an_initial_mapping_into_the_hypervisors_hole_is_refused(pae: str, base: int) -> None:
    with pytest.raises(ImageError, match="in the hypervisor's hole"):
        plan_layout(image(base=base, pae=pae), 32 * MIB)
