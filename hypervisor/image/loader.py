"""From bytes to an `Image`: unpack, read tables and notes, check all that Xen's loader checks and more."""

from __future__ import annotations

from paravane.abi.arch import HYPERVISOR_VIRT_START_NONPAE, HYPERVISOR_VIRT_START_PAE
from paravane.abi.elfnote import GUEST_SECTION, ElfNote
from paravane.abi.version import XenFeature
from paravane.image.bsd_symtab import bsd_symtab
from paravane.image.elf import PF_R, PF_W, PF_X, PT_LOAD, Elf, ProgramHeader
from paravane.image.errors import ImageError
from paravane.image.image import Image, Segment
from paravane.image.notes import Notes, PaeMode, read_notes
from paravane.image.unpack import unpack
from paravane.x86 import PAGE_SIZE


def load_image(data: bytes) -> Image:
    """The kernel in `data`: an ELF file, the same gzipped, or a Linux bzImage.

    Raises ImageError, one sentence, for anything that cannot be started as a 32-bit PV kernel. Whether it
    fits into a domain's memory is the builder's question.
    """
    elf = Elf(unpack(data))
    notes = read_notes(elf)
    _check_kind(notes)
    virt_base, paddr_offset = _bases(notes)
    loadable = [s for s in elf.segments if s.p_type == PT_LOAD and s.p_flags & (PF_R | PF_W | PF_X)]
    if not loadable:
        raise ImageError("the image has nothing to load: no PT_LOAD segment with any permission")
    segments = tuple(_segment(elf, header, virt_base - paddr_offset) for header in loadable)
    symtab = _symtab_segment(elf, notes, segments)
    virt_start = min(segment.address for segment in segments)
    virt_end = max(segment.end for segment in segments) if symtab is None else symtab.end
    _check_placement(segments, virt_base, virt_start, virt_end, notes.pae)
    entry = notes.numbers.get(ElfNote.ENTRY, elf.header.e_entry)
    if not virt_start <= entry < virt_end:
        raise ImageError(
            f"the entry point {entry:#x} is outside the kernel, which fills {virt_start:#x} to {virt_end:#x}"
        )
    _check_p2m_base(notes, virt_start, virt_end)
    page = _hypercall_page(notes, virt_base, virt_end)
    return Image(elf, notes, segments, virt_base, paddr_offset, virt_start, virt_end, entry, page, symtab)


def _check_kind(notes: Notes) -> None:
    """Whether the notes are those of a PV kernel that can be an ordinary domain."""
    generic = notes.text(ElfNote.LOADER).startswith("generic")
    if not generic and not notes.text(ElfNote.GUEST_OS).startswith("linux"):
        if ElfNote.PHYS32_ENTRY in notes.numbers:
            raise ImageError("this image starts in a PVH domain only (PHYS32_ENTRY); it has no PV entry")
        raise ImageError(
            f"the image is for the loader {notes.text(ElfNote.LOADER)!r}, and its system is "
            f"{notes.text(ElfNote.GUEST_OS)!r}; Xen loads those for 'generic' and Linux"
        )
    if not notes.text(ElfNote.XEN_VERSION).startswith("xen-3.0"):
        raise ImageError(
            f"the image is for {notes.text(ElfNote.XEN_VERSION)!r}, and Xen's PV interface is 'xen-3.0'"
        )
    if notes.required_features >> XenFeature.dom0 & 1:
        raise ImageError("the kernel can only be the control domain: it requires the feature 'dom0'")


def _bases(notes: Notes) -> tuple[int, int]:
    """VIRT_BASE and PADDR_OFFSET with their defaults, which differ between the two forms of notes."""
    base = notes.numbers.get(ElfNote.VIRT_BASE)
    offset = notes.numbers.get(ElfNote.PADDR_OFFSET)
    if base is None and offset is not None:
        raise ImageError("the image gives a PADDR_OFFSET without a VIRT_BASE")
    base = base or 0
    if offset is None:
        offset = base if notes.source == GUEST_SECTION else 0
    if base % PAGE_SIZE or base >= 1 << 32:
        raise ImageError(f"VIRT_BASE {base:#x} is not a page boundary in 32 bits")
    return base, offset


def _segment(elf: Elf, header: ProgramHeader, virt_offset: int) -> Segment:
    if header.p_filesz > header.p_memsz:
        raise ImageError(
            f"the segment at {header.p_paddr:#x} has {header.p_filesz:#x} bytes in the file but only "
            f"{header.p_memsz:#x} in memory"
        )
    data = elf.contents(header.p_offset, header.p_filesz, f"segment for {header.p_paddr:#x}")
    address = header.p_paddr + virt_offset
    return Segment(address, data, header.p_memsz, header.p_flags, header.p_vaddr, header.p_paddr)


def _symtab_segment(elf: Elf, notes: Notes, segments: tuple[Segment, ...]) -> Segment | None:
    """The symbol table after the kernel, if the kernel asks for it and the file has one."""
    data = bsd_symtab(elf) if notes.bsd_symtab else None
    if data is None:
        return None
    address = max(segment.end for segment in segments) + 3 & ~3
    return Segment(address, memoryview(data), len(data), PF_R | PF_W, address, address)


def _check_placement(
    segments: tuple[Segment, ...], virt_base: int, virt_start: int, virt_end: int, pae: PaeMode
) -> None:
    hole = HYPERVISOR_VIRT_START_NONPAE if pae is PaeMode.NO else HYPERVISOR_VIRT_START_PAE
    if virt_start < virt_base:
        raise ImageError(f"the kernel starts at {virt_start:#x}, below its VIRT_BASE {virt_base:#x}")
    if virt_end > hole:
        raise ImageError(f"the kernel ends at {virt_end:#x}, in the hypervisor's hole from {hole:#x}")
    if virt_start % PAGE_SIZE:
        raise ImageError(f"the kernel starts at {virt_start:#x}, which is not a page boundary")
    previous: Segment | None = None
    for segment in sorted((s for s in segments if s.memory_size), key=lambda s: s.address):
        if previous is not None and segment.address < previous.end:
            raise ImageError(
                f"the segments at {previous.address:#x} and {segment.address:#x} overlap: the first one ends "
                f"at {previous.end:#x}"
            )
        previous = segment


def _check_p2m_base(notes: Notes, virt_start: int, virt_end: int) -> None:
    base = notes.numbers.get(ElfNote.INIT_P2M)
    if base is not None and virt_start <= base < virt_end:
        raise ImageError(
            f"INIT_P2M {base:#x} is inside the kernel, which fills {virt_start:#x} to {virt_end:#x}"
        )


def _hypercall_page(notes: Notes, virt_base: int, virt_end: int) -> int | None:
    """The page to fill with hypercall entries. It must be the kernel's: elsewhere it would destroy things."""
    address = notes.numbers.get(ElfNote.HYPERCALL_PAGE)
    if address is None:
        return None
    page = address - address % PAGE_SIZE
    if not virt_base <= page < virt_end:
        raise ImageError(
            f"HYPERCALL_PAGE {address:#x} is outside the kernel, which is mapped from {virt_base:#x} to "
            f"{virt_end:#x}"
        )
    return page
