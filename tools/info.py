"""What a kernel image is, in words and numbers, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.elfnote import ElfNote
from paravane.abi.hypercall import Hypercall
from paravane.abi.version import XenFeature
from paravane.builder import MAX_PAGES, amount, smallest_memory
from paravane.place import Places
from paravane.tools.hypercall_scan import scan_hypercalls
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.image import Image

_WIDTH = 16


def describe(image: Image) -> str:
    """Kind, notes, segments, entry, memory and hypercalls of an image, as lines of text."""
    return "".join(f"{line}\n" for part in (_summary, _notes, _segments, _hypercalls) for line in part(image))


def _summary(image: Image) -> Iterator[str]:
    version = f" {image.guest_version}" if image.guest_version else ""
    yield _field("guest", f"{image.guest_os or 'unnamed'}{version}")
    yield _field("ABI", f"{image.guest_type} (PAE: {image.pae.value})")
    yield _field("kernel", f"{image.virt_start:#010x} to {image.virt_end:#010x}, {_size(image)}")
    yield _field(
        "pfn 0 at", f"{image.virt_base:#010x}, physical addresses start at {image.elf_paddr_offset:#x}"
    )
    yield _field("entry", f"{image.entry:#010x}{Places(image).at(image.entry).names}")
    page = image.hypercall_page
    yield _field("hypercall page", "none" if page is None else f"{page:#010x}{Places(image).at(page).names}")
    pages = smallest_memory(image)
    yield _field("memory", "more than any domain has" if pages > MAX_PAGES else f"at least {amount(pages)}")
    yield _field("ramdisk", "by pfn, outside the initial mapping" if image.mod_start_pfn else "mapped")
    placed = ", loaded after the kernel" if image.bsd_symtab else ""
    problem = f"; {image.symbols.problem}" if image.symbols.problem else ""
    yield _field("symbols", f"{len(image.symbols)}{placed}{problem}")
    lines = f"{len(image.lines)} rows{'; ' * bool(image.lines.problem)}{image.lines.problem}"
    yield _field("source lines", lines)


def _size(image: Image) -> str:
    return f"{amount(-(-(image.virt_end - image.virt_start) // PAGE_SIZE))} in memory"


def _notes(image: Image) -> Iterator[str]:
    notes = image.notes
    yield f"notes from {notes.source}:"
    shown = {note: f"{number:#x}" for note, number in notes.numbers.items()}
    shown |= {note: repr(text) for note, text in notes.texts.items()}
    if notes.l1_mfn_valid:
        pairs = ", ".join(f"{mask:#x}={value:#x}" for mask, value in notes.l1_mfn_valid)
        shown[ElfNote.L1_MFN_VALID] = pairs
    for note in sorted(shown):
        yield f"  {note.name:<{_WIDTH}} {shown[note]}"
    for kind, mask in (("supports", notes.supported_features), ("requires", notes.required_features)):
        names = [feature.name for feature in XenFeature if mask >> feature & 1]
        if names:
            yield f"  {kind:<{_WIDTH}} {' '.join(names)}"


def _segments(image: Image) -> Iterator[str]:
    yield "segments:"
    yield "  address     end         in file     in memory   flags"
    for segment in image.contents:
        flags = f"r{'w' if segment.writable else '-'}{'x' if segment.executable else '-'}"
        own = "  (symbol table)" if segment is image.bsd_symtab else ""
        yield (
            f"  {segment.address:#010x}  {segment.end:#010x}  {len(segment.data):#010x}  "
            f"{segment.memory_size:#010x}  {flags}{own}"
        )


def _hypercalls(image: Image) -> Iterator[str]:
    use = scan_hypercalls(image)
    yield (
        "hypercalls it seems to use:"
        if use.places or use.unknown
        else "hypercalls it seems to use: none found"
    )
    for number, count in sorted(use.places.items()):
        yield f"  {number:3}  {Hypercall(number).name.rstrip('_'):<30} {_places(count)}"
    if use.unknown:
        yield f"    ?  {'with a number computed elsewhere':<30} {_places(use.unknown)}"


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count} places"


def _field(name: str, value: str) -> str:
    return f"{name + ':':<{_WIDTH}} {value}"
