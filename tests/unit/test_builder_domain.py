"""A whole domain at its start of day, in machine memory, as its first instruction will find it."""

import gzip
import logging
from array import array

import pytest

from paravane.abi.elfnote import ElfNote
from paravane.abi.hypercall import VmassistType
from paravane.abi.shared_info import SHARED_INFO
from paravane.abi.start_info import START_INFO, StartInfo
from paravane.builder import StartOfDay, build_domain, hypercall_page
from paravane.cpu.ram import Ram
from paravane.image import Image, ImageError, load_image
from paravane.memory import DomainMemory, FrameFlag, FrameType, audit
from tests.support.elfwriter import PAGE, PF_R, ElfImage, ElfSegment, ElfSymbol, legacy_kernel, xen_notes
from tests.support.needs import GRUB, require
from tests.support.residents import new_domain_memory, new_machine_memory

DOMID = 5
MIB = 256
CONSOLE_PORT, STORE_PORT = 3, 4


class Built:
    """One domain made by the builder, and its memory as its own page tables show it."""

    def __init__(
        self, image: Image, mib: int, *, command_line: str = "", ramdisk: bytes | None = None, seed: int = 1
    ) -> None:
        self.machine = new_machine_memory(Ram((mib + 4) * MIB), seed=seed)
        self.memory = new_domain_memory(self.machine, DOMID, image.geometry, max_pages=mib * MIB)
        self.shared_info = self.memory.share_xen_frame()
        self.start: StartOfDay = build_domain(
            self.memory,
            image,
            mib * MIB,
            shared_info_mfn=self.shared_info,
            console_evtchn=CONSOLE_PORT,
            store_evtchn=STORE_PORT,
            command_line=command_line,
            ramdisk=ramdisk,
        )

    def entry(self, address: int) -> int:
        """The leaf entry for a virtual address, found from the base pointer on; 0 if there is none."""
        geometry, mfn, entry = self.memory.geometry, self.start.base_mfn, 0
        for level in range(geometry.levels, 0, -1):
            at = (mfn << 12) + geometry.index(address, level) * geometry.entry_size
            entry = int.from_bytes(self.machine.ram.read(at, geometry.entry_size), "little")
            if not entry & 1:
                return 0
            mfn = (entry & geometry.address_mask) >> 12
        return entry

    def mfn(self, address: int) -> int:
        return (self.entry(address) & self.memory.geometry.address_mask) >> 12

    def read(self, address: int, size: int) -> bytes:
        """Virtual memory, page by page."""
        data = b""
        while len(data) < size:
            at = address + len(data)
            part = min(PAGE - at % PAGE, size - len(data))
            assert self.entry(at), f"{at:#x} is not mapped"
            data += self.machine.ram.read((self.mfn(at) << 12) + at % PAGE, part)
        return data

    @property
    def info(self) -> StartInfo:
        return START_INFO.unpack(self.read(self.start.esi, START_INFO.size))


def small_kernel(extra: dict[int, int | str | bytes] | None = None) -> Image:
    """A kernel at 0xC0000000 of three pages: code, nothing, a hypercall page."""
    places: dict[int, int | str | bytes] = {
        ElfNote.VIRT_BASE: 0xC0000000,
        ElfNote.ENTRY: 0xC0000010,
        ElfNote.HYPERCALL_PAGE: 0xC0002000,
    }
    segments = [ElfSegment(0, bytes(range(256)) * 10), ElfSegment(2 * PAGE, b"", PAGE)]
    return load_image(ElfImage(segments, xen_notes(places | (extra or {}))).pack())


@pytest.mark.parametrize("pae", ["yes", "no"])
def test_the_frames_of_a_new_domain_pass_the_audit(pae: str) -> None:
    built = Built(small_kernel({ElfNote.PAE_MODE: pae}), 8)
    assert audit(built.machine) == []
    assert built.memory.tot_pages == 8 * MIB
    frames, layout = built.machine.frames, built.start.layout
    for run in layout.tables:
        for pfn in range(run.region.pfn, run.region.end):
            assert frames.type[built.start.p2m[pfn]] == FrameType(run.level)
    assert frames.flags[built.start.base_mfn] & FrameFlag.PINNED


@pytest.mark.parametrize("pae", ["yes", "no"])
def test_every_page_is_mapped_writable_but_page_tables(pae: str) -> None:
    built = Built(small_kernel({ElfNote.PAE_MODE: pae}), 8)
    layout = built.start.layout
    for pfn in range(layout.mapped_pages):
        is_table = layout.page_tables.pfn <= pfn < layout.page_tables.end
        entry = built.entry(layout.address(pfn))
        assert entry >> 12 == built.start.p2m[pfn]
        assert entry & 0xFFF == (0x21 if is_table else 0x23)
    assert built.entry(layout.address(layout.mapped_pages)) == 0


def test_p2m_and_m2p_are_inverse_and_frames_are_scattered() -> None:
    built = Built(small_kernel(), 8)
    p2m = built.start.p2m
    assert len(set(p2m)) == 8 * MIB
    assert [built.machine.m2p[mfn] for mfn in p2m] == list(range(8 * MIB))
    assert all(after != before + 1 for before, after in zip(p2m, p2m[1:], strict=False))
    listed = array("I", built.read(built.info.mfn_list, 4 * len(p2m)))
    assert listed == p2m


def test_start_info_says_where_everything_is() -> None:
    built = Built(small_kernel(), 8, command_line="root=/dev/xvda1 ro")
    start, info, layout = built.start, built.info, built.start.layout
    assert info.magic.rstrip(b"\0") == b"xen-3.0-x86_32p"
    assert info.nr_pages == 8 * MIB
    assert info.shared_info == built.shared_info << 12
    assert info.flags == 0
    assert (info.store_mfn, info.store_evtchn) == (start.p2m[layout.xenstore_pfn], STORE_PORT)
    assert (info.console.mfn, info.console.evtchn) == (start.p2m[layout.console_pfn], CONSOLE_PORT)
    assert built.mfn(info.pt_base) == start.base_mfn
    assert info.nr_pt_frames == 4
    assert (info.mod_start, info.mod_len) == (0, 0)
    assert info.cmd_line.rstrip(b"\0") == b"root=/dev/xvda1 ro"
    assert (info.first_p2m_pfn, info.nr_p2m_frames) == (0, 0)
    assert (start.store_mfn, start.console_mfn) == (info.store_mfn, info.console.mfn)
    assert start.start_info_mfn == built.mfn(start.esi)
    # The order of public/xen.h, each element on a page of its own.
    order = [info.mfn_list, start.esi, start.esi + PAGE, start.esi + 2 * PAGE, info.pt_base]
    assert order == sorted(order)
    assert info.pt_base == start.esi + 3 * PAGE
    assert start.esp == info.pt_base + info.nr_pt_frames * PAGE + PAGE


def test_the_first_registers_are_those_of_a_ring_1_kernel() -> None:
    start = Built(small_kernel(), 8).start
    assert (start.eip, start.cs, start.ss) == (0xC0000010, 0xE019, 0xE021)
    assert start.eflags == 0x202
    assert start.vm_assist == 1 << VmassistType.pae_extended_cr3


def test_kernel_bytes_hypercall_page_and_zeroes_are_in_place() -> None:
    built = Built(small_kernel(), 8)
    assert built.read(0xC0000000, 2560) == bytes(range(256)) * 10
    assert built.read(0xC0000000 + 2560, 2 * PAGE - 2560) == bytes(2 * PAGE - 2560)
    assert built.read(0xC0002000, PAGE) == hypercall_page()
    layout = built.start.layout
    for pfn in (layout.xenstore_pfn, layout.console_pfn, layout.boot_stack_pfn, layout.mapped_pages - 1):
        assert built.read(layout.address(pfn), PAGE) == bytes(PAGE)


def test_upcalls_start_masked_on_every_vcpu() -> None:
    built = Built(small_kernel(), 8)
    shared = SHARED_INFO.unpack(built.machine.ram.read(built.shared_info << 12, SHARED_INFO.size))
    assert [vcpu.evtchn_upcall_mask for vcpu in shared.vcpu_info] == [1] * 32
    assert not any(vcpu.evtchn_upcall_pending for vcpu in shared.vcpu_info)


def test_a_ramdisk_is_mapped_after_the_kernel() -> None:
    ramdisk = bytes(range(251)) * 100
    built = Built(small_kernel(), 8, ramdisk=ramdisk)
    assert (built.info.mod_start, built.info.mod_len) == (0xC0003000, len(ramdisk))
    assert built.read(built.info.mod_start, len(ramdisk)) == ramdisk


def test_a_gzipped_ramdisk_arrives_unpacked() -> None:
    ramdisk = bytes(range(251)) * 100
    built = Built(small_kernel(), 8, ramdisk=gzip.compress(ramdisk))
    assert built.info.mod_len == len(ramdisk) + 16
    assert built.read(built.info.mod_start, built.info.mod_len) == ramdisk + bytes(16)


def test_a_ramdisk_may_be_handed_over_by_pfn() -> None:
    ramdisk = b"r" * (5 * PAGE + 1)
    built = Built(small_kernel({ElfNote.MOD_START_PFN: 1}), 8, ramdisk=ramdisk)
    info, layout = built.info, built.start.layout
    assert info.flags == 1 << 3
    assert (info.mod_start, info.mod_len) == (layout.mapped_pages, 6 * PAGE)
    mfns = built.start.p2m[info.mod_start : info.mod_start + 6]
    assert b"".join(built.machine.ram.read(mfn << 12, PAGE) for mfn in mfns) == ramdisk.ljust(6 * PAGE, b"\0")
    assert audit(built.machine) == []


def test_a_bsd_kernel_finds_its_symbols_after_it() -> None:
    keys = "XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=0xc0000000,VIRT_ENTRY=0xc0100000,PAE=yes,BSD_SYMTAB=yes"
    elf = legacy_kernel(keys, bytes(PAGE + 2), 0xC0100000)
    elf.symbols = [ElfSymbol("main", 0xC0100000)]
    built = Built(load_image(elf.pack()), 8)
    size = int.from_bytes(built.read(0xC0101004, 4), "little")
    assert built.read(0xC0101008, 4) == b"\x7fELF"
    assert b"\0main\0" in built.read(0xC0101008, size)
    assert built.start.vm_assist == 0
    # pfn 0 lies at VIRT_BASE, a megabyte below the kernel.
    assert built.mfn(0xC0000000) == built.start.p2m[0]


def test_grub_is_where_its_image_says() -> None:
    data = require(GRUB).read_bytes()
    image = load_image(data)
    built = Built(image, 32)
    assert audit(built.machine) == []
    assert built.read(0, 0xBE33) == data[0x1000 : 0x1000 + 0xBE33]
    assert built.read(0x416858, 0x16A86C) == data[0xCE33 : 0xCE33 + 0x16A86C]
    assert built.read(0xBE33, 0x416858 - 0xBE33) == bytes(0x416858 - 0xBE33)
    assert built.info.nr_pt_frames == 9
    # GRUB copies twice the list of frames.
    assert built.read(built.info.mfn_list, 8 * 32 * MIB)


def test_two_level_start_info_names_its_abi() -> None:
    built = Built(small_kernel({ElfNote.PAE_MODE: "no"}), 8)
    assert built.info.magic.rstrip(b"\0") == b"xen-3.0-x86_32"
    assert built.info.nr_pt_frames == 2
    assert built.start.vm_assist == 0


def test_a_long_command_line_is_cut_as_xen_cuts_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "paravane.builder"):
        built = Built(small_kernel(), 8, command_line="x" * 5000)
    assert built.info.cmd_line == b"x" * 1023 + b"\0"
    assert "5000 bytes" in caplog.text


def test_a_domain_that_is_too_small_is_refused_before_it_gets_a_frame() -> None:
    image = load_image(require(GRUB).read_bytes())
    machine = new_machine_memory(Ram(16 * MIB))
    memory: DomainMemory = new_domain_memory(machine, DOMID, image.geometry, max_pages=4 * MIB)
    shared, free = memory.share_xen_frame(), machine.nr_free
    with pytest.raises(ImageError, match="needs at least 8 MiB"):
        build_domain(memory, image, 4 * MIB, shared_info_mfn=shared, console_evtchn=1, store_evtchn=2)
    assert (memory.tot_pages, machine.nr_free) == (0, free)


def test_the_wrong_page_table_shape_is_an_error_of_the_caller() -> None:
    machine = new_machine_memory(Ram(16 * MIB))
    memory = new_domain_memory(machine, DOMID, small_kernel().geometry, max_pages=8 * MIB)
    image = small_kernel({ElfNote.PAE_MODE: "no"})
    with pytest.raises(ValueError, match="pae domain cannot run a kernel for two-level"):
        build_domain(memory, image, 8 * MIB, shared_info_mfn=1, console_evtchn=1, store_evtchn=2)


def test_different_seeds_give_different_frames_and_the_same_domain() -> None:
    first, second = Built(small_kernel(), 8, seed=1), Built(small_kernel(), 8, seed=2)
    assert first.start.p2m != second.start.p2m
    assert first.start.layout == second.start.layout


def test_a_segment_without_write_permission_is_still_mapped_writable() -> None:
    image = load_image(ElfImage([ElfSegment(0, b"\xf4", flags=PF_R)], xen_notes()).pack())
    assert Built(image, 8).entry(0) & 0xFFF == 0x23
