"""The pieces that the builder puts into a domain: page tables, hypercall page, ramdisk."""

import gzip
import struct
from array import array

import pytest

from paravane.abi.elfnote import ElfNote
from paravane.builder import StartLayout, hypercall_page, plan_layout
from paravane.builder.module import module_contents, module_size
from paravane.builder.page_tables import page_table_pages
from paravane.image import load_image
from tests.support.elfwriter import PAGE, ElfImage, ElfSegment, xen_notes

LEAF, READ_ONLY_LEAF, UPPER = 0x23, 0x21, 0x67
NR_PAGES = 8192


def layout(base: int, pae: str) -> StartLayout:
    notes = xen_notes({ElfNote.VIRT_BASE: base, ElfNote.ENTRY: base, ElfNote.PAE_MODE: pae})
    return plan_layout(load_image(ElfImage([ElfSegment(0, b"\xf4")], notes).pack()), NR_PAGES)


def walk(
    plan: StartLayout, tables: dict[int, bytes], pfns: dict[int, int], root: int, address: int
) -> list[int]:
    """The entries on the way to `address`, from the top down, read as the processor reads them."""
    geometry, entries, pfn = plan.geometry, [], root
    for level in range(geometry.levels, 0, -1):
        code = "<Q" if geometry.entry_size == 8 else "<I"
        (entry,) = struct.unpack_from(code, tables[pfn], geometry.index(address, level) * geometry.entry_size)
        entries.append(entry)
        if not entry & 1:
            break
        pfn = pfns[entry >> 12]
    return entries


@pytest.mark.parametrize("pae", ["yes", "no"])
@pytest.mark.parametrize("base", [0, 0x10000, 0x7FE00000, 0xC0000000, 0xC0123000])
def test_the_processor_finds_each_page_and_no_other(base: int, pae: str) -> None:
    plan = layout(base, pae)
    mfns = array("I", range(0xFFFFF, 0xFFFFF - 3 * NR_PAGES, -3))
    pfns = {mfn: pfn for pfn, mfn in enumerate(mfns)}
    tables = dict(page_table_pages(plan, mfns))
    assert sorted(tables) == list(range(plan.page_tables.pfn, plan.page_tables.end))
    assert all(len(contents) == PAGE for contents in tables.values())
    root = plan.page_tables.pfn
    for pfn in (0, 1, root - 1, root, plan.page_tables.end - 1, plan.boot_stack_pfn, plan.mapped_pages - 1):
        *upper, leaf = walk(plan, tables, pfns, root, plan.address(pfn))
        is_table = plan.page_tables.pfn <= pfn < plan.page_tables.end
        assert leaf == mfns[pfn] << 12 | (READ_ONLY_LEAF if is_table else LEAF)
        assert [entry & 0xFFF for entry in upper] == [UPPER] * len(upper)
    for outside in (base - 1, plan.address(plan.mapped_pages)):
        if 0 <= outside < 1 << 32:
            assert walk(plan, tables, pfns, root, outside)[-1] & 1 == 0
    size = plan.geometry.entry_size
    present = sum(contents[at] & 1 for contents in tables.values() for at in range(0, PAGE, size))
    assert present == plan.mapped_pages + plan.page_tables.pages - 1


def test_the_l2_of_the_last_l3_slot_is_there_and_empty_for_a_low_kernel() -> None:
    plan = layout(0, "yes")
    tables = dict(page_table_pages(plan, array("I", range(NR_PAGES))))
    root = struct.unpack_from("<4Q", tables[plan.page_tables.pfn])
    l2 = plan.tables[1].region
    assert [entry >> 12 for entry in root] == list(range(l2.pfn, l2.end))
    assert tables[l2.end - 1] == bytes(PAGE)


def test_the_hypercall_page_calls_each_number_and_treats_iret_apart() -> None:
    page = hypercall_page()
    assert len(page) == PAGE
    assert page[:8] == b"\xb8\0\0\0\0\xcd\x82\xc3"
    assert page[32 * 17 : 32 * 17 + 8] == b"\xb8\x11\0\0\0\xcd\x82\xc3"
    assert page[32 * 23 : 32 * 23 + 8] == b"\x50\xb8\x17\0\0\0\xcd\x82"
    assert page[32 * 127 :] == b"\xb8\x7f\0\0\0\xcd\x82\xc3" + b"\xcc" * 24


def test_a_plain_ramdisk_is_taken_as_it_is() -> None:
    for blob in (b"", b"070701", b"\x1f\x8b", bytes(5000)):
        assert (module_size(blob), module_contents(blob)) == (len(blob), blob)


def test_a_gzipped_ramdisk_is_unpacked_into_the_promised_size_and_16_bytes() -> None:
    blob = gzip.compress(b"initial ramdisk" * 100)
    assert module_size(blob) == 1500 + 16
    assert module_contents(blob) == b"initial ramdisk" * 100


def test_a_ramdisk_that_unpacks_to_more_than_it_promises_stays_packed() -> None:
    blob = gzip.compress(bytes(1000)) + gzip.compress(b"second")
    assert module_size(blob) == max(6 + 16, len(blob))
    assert module_contents(blob) == blob


@pytest.mark.parametrize("damage", [lambda b: b[:-12] + b[-4:], lambda b: b[:12] + b"\xff" * 8 + b[20:]])
def test_a_damaged_ramdisk_stays_packed(damage: "object") -> None:
    assert callable(damage)
    blob = damage(gzip.compress(bytes(range(256)) * 10))
    assert module_contents(blob) == blob
    assert module_size(blob) >= len(blob)


def test_a_ramdisk_that_promises_absurd_sizes_stays_packed() -> None:
    blob = gzip.compress(b"x")[:-4] + b"\xff\xff\xff\xff"
    assert (module_size(blob), module_contents(blob)) == (len(blob), blob)
