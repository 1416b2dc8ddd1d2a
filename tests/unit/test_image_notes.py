"""Notes of an image, in all the places and forms that Xen's loader knows."""

import pytest

from paravane.abi.elfnote import ElfNote
from paravane.abi.version import XenFeature
from paravane.image import ImageError, PaeMode, load_image
from tests.support.elfwriter import PAGE, ElfImage, ElfSegment, kernel, legacy_kernel, note, xen_notes
from tests.support.needs import GRUB, require

LEGACY = "GUEST_OS=NetBSD,XEN_VER=xen-3.0,LOADER=generic"
NETBSD = (
    f"{LEGACY},GUEST_VER=4.99,VIRT_BASE=0xc0000000,ELF_PADDR_OFFSET=0xc0000000,VIRT_ENTRY=0xc0100000,"
    "HYPERCALL_PAGE=0x00000101,PAE=yes[extended-cr3],BSD_SYMTAB=yes"
)


def refusal(image: ElfImage) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(image.pack())
    return str(caught.value)


@pytest.mark.slow
def test_grubs_truncated_last_note_is_read_as_xen_reads_it() -> None:
    image = load_image(require(GRUB).read_bytes())
    assert (image.notes.source, image.guest_os, image.loader, image.xen_version) == (
        "PT_NOTE",
        "GRUB",
        "generic",
        "xen-3.0",
    )
    assert image.pae is PaeMode.EXTENDED_CR3
    assert (image.entry, image.virt_base, image.hypercall_page) == (0, 0, None)
    assert (image.virt_start, image.virt_end) == (0, 0x416858 + 0x16A86C)


def test_every_note_reaches_its_property() -> None:
    extra: dict[int, int | str | bytes] = {
        ElfNote.VIRT_BASE: 0xC0000000,
        ElfNote.ENTRY: 0xC0001004,
        ElfNote.HYPERCALL_PAGE: 0xC0002000,
        ElfNote.GUEST_VERSION: "5.4",
        ElfNote.HV_START_LOW: 0xF5800000,
        ElfNote.INIT_P2M: 0x80000000,
        ElfNote.MOD_START_PFN: 1,
        ElfNote.SUSPEND_CANCEL: 1,
        ElfNote.L1_MFN_VALID: bytes(range(16)),
        ElfNote.FEATURES: "!writable_page_tables|pae_pgdir_above_4gb|from_the_future",
        ElfNote.SUPPORTED_FEATURES: 1 << XenFeature.dom0,
    }
    image = load_image(kernel(bytes(3 * PAGE), extra=extra).pack())
    assert (image.virt_base, image.virt_start, image.virt_end) == (0xC0000000, 0xC0000000, 0xC0003000)
    assert (image.entry, image.hypercall_page) == (0xC0001004, 0xC0002000)
    assert (image.guest_version, image.hv_start_low, image.init_p2m) == ("5.4", 0xF5800000, 0x80000000)
    assert image.mod_start_pfn
    assert image.suspend_cancel
    assert image.l1_mfn_valid == ((0x0706050403020100, 0x0F0E0D0C0B0A0908),)
    assert image.notes.required_features == 1 << XenFeature.writable_page_tables
    assert image.notes.supported_features == (
        1 << XenFeature.writable_page_tables | 1 << XenFeature.pae_pgdir_above_4gb | 1 << XenFeature.dom0
    )


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("yes", PaeMode.EXTENDED_CR3),
        ("yes,bimodal", PaeMode.BIMODAL),
        ("bimodal", PaeMode.BIMODAL),
        ("no", PaeMode.NO),
        ("yes[extended-cr3]", PaeMode.NO),
    ],
)
def test_pae_note_chooses_the_page_tables(text: str, mode: PaeMode) -> None:
    image = load_image(kernel(extra={ElfNote.PAE_MODE: text}).pack())
    assert image.pae is mode
    assert image.two_level == (mode is PaeMode.NO)
    assert image.guest_type == ("xen-3.0-x86_32" if image.two_level else "xen-3.0-x86_32p")


def test_notes_in_a_section_count_only_without_a_note_segment() -> None:
    sound = kernel()
    sound.notes_as_section = True
    assert load_image(sound.pack()).notes.source == "SHT_NOTE"


def test_a_note_segment_without_xen_notes_leads_to_the_sections() -> None:
    image = legacy_kernel(LEGACY)
    image.notes = note(1, 7, name=b"GNU\0")
    assert load_image(image.pack()).notes.source == "__xen_guest"


def test_numbers_of_odd_sizes_count_as_zero_and_wide_ones_are_read() -> None:
    odd = kernel(extra={ElfNote.MOD_START_PFN: b"\1\0\0"})
    assert not load_image(odd.pack()).mod_start_pfn
    wide = ElfImage([ElfSegment(0, bytes(64))], xen_notes() + note(ElfNote.MOD_START_PFN, 1 << 40, width=8))
    assert load_image(wide.pack()).mod_start_pfn


def test_netbsds_guest_text_places_the_kernel_and_its_hypercall_page() -> None:
    image = load_image(legacy_kernel(NETBSD, bytes(4 * PAGE), 0xC0100000).pack())
    assert (image.virt_base, image.elf_paddr_offset) == (0xC0000000, 0xC0000000)
    assert (image.virt_start, image.entry) == (0xC0100000, 0xC0100000)
    assert image.hypercall_page == 0xC0101000
    assert image.pae is PaeMode.EXTENDED_CR3
    assert image.notes.bsd_symtab


@pytest.mark.parametrize(
    ("value", "mode"),
    [("yes", PaeMode.YES), ("yes,bimodal", PaeMode.YES), ("no", PaeMode.NO), ("", PaeMode.NO)],
)
def test_guest_text_pae_is_without_extended_cr3_by_default(value: str, mode: PaeMode) -> None:
    assert load_image(legacy_kernel(f"{LEGACY},PAE={value}").pack()).pae is mode


def test_guest_text_paddr_offset_defaults_to_virt_base() -> None:
    image = load_image(
        legacy_kernel(f"{LEGACY},VIRT_BASE=3221225472,VIRT_ENTRY=030000000000", address=0xC0000000).pack()
    )
    assert (image.virt_base, image.virt_start, image.entry) == (0xC0000000, 0xC0000000, 0xC0000000)


def test_note_paddr_offset_defaults_to_zero() -> None:
    image = load_image(kernel(extra={ElfNote.VIRT_BASE: 0x400000, ElfNote.ENTRY: 0x400000}).pack())
    assert (image.elf_paddr_offset, image.virt_start) == (0, 0x400000)


def test_guest_text_passes_over_unknown_keys_and_required_features() -> None:
    image = load_image(
        legacy_kernel(f"{LEGACY},,=,WHAT=ever,FEATURES=!nobody_knows|writable_page_tables").pack()
    )
    assert image.notes.supported_features == 1 << XenFeature.writable_page_tables


@pytest.mark.parametrize(
    ("extra", "without", "part"),
    [
        ({}, (ElfNote.LOADER,), "Xen loads those for 'generic' and Linux"),
        ({ElfNote.LOADER: "lilo"}, (), "for the loader 'lilo'"),
        ({}, (ElfNote.XEN_VERSION,), "Xen's PV interface is 'xen-3.0'"),
        ({ElfNote.XEN_VERSION: "xen-2.0"}, (), "'xen-2.0'"),
        ({ElfNote.PHYS32_ENTRY: 0}, (ElfNote.LOADER, ElfNote.XEN_VERSION), "PVH domain only"),
        ({ElfNote.FEATURES: "!dom0"}, (), "control domain"),
        ({ElfNote.FEATURES: "!warp_drive"}, (), "unknown feature 'warp_drive'"),
        ({ElfNote.PADDR_OFFSET: 0}, (ElfNote.VIRT_BASE,), "without a VIRT_BASE"),
        ({ElfNote.VIRT_BASE: 0x800}, (), "VIRT_BASE 0x800 is not a page boundary"),
        ({ElfNote.INIT_P2M: 0x20}, (), "INIT_P2M 0x20 is inside the kernel"),
        ({ElfNote.HYPERCALL_PAGE: 0x1000}, (), "HYPERCALL_PAGE 0x1000 is outside the kernel"),
    ],
)
def test_notes_of_kernels_that_cannot_run_are_refused_in_words(
    extra: dict[int, int | str | bytes], without: tuple[int, ...], part: str
) -> None:
    assert part in refusal(kernel(extra=extra, without=without))


def test_an_old_linux_needs_no_loader_note() -> None:
    image = kernel(extra={ElfNote.GUEST_OS: "linux"}, without=(ElfNote.LOADER,))
    assert load_image(image.pack()).loader == ""


def test_an_image_without_notes_is_no_kernel_for_xen() -> None:
    assert "neither Xen ELF notes nor a __xen_guest section" in refusal(ElfImage([ElfSegment(0, bytes(64))]))


def test_a_note_text_without_end_is_refused() -> None:
    image = kernel()
    image.notes = xen_notes() + note(ElfNote.GUEST_VERSION, b"x" * 8)
    assert "no end" in refusal(image)


def test_a_note_beyond_the_file_is_refused() -> None:
    image = kernel()
    image.note_header["p_filesz"] = 0x10000
    assert "truncated" in refusal(image)


def test_a_note_with_a_name_of_megabytes_is_passed_over() -> None:
    image = kernel()
    image.notes = note(1, 7, name=b"X" * (16 << 20)) + xen_notes()
    data = image.pack()
    assert load_image(data).guest_os == "test"


def test_more_notes_than_xen_reads_are_refused() -> None:
    image = kernel()
    image.notes = bytes(12 * 70_000)
    assert "more than 65536" in refusal(image)
