"""What a kernel says about itself to Xen (public/elfnote.h): notes in a PT_NOTE segment, else in SHT_NOTE
sections, else the text of a `__xen_guest` section. The order and each reading are those of Xen's own loader.

A library that reads notes takes the types of all of them for GNU's, and minutes over a name as long as a note
may claim.
"""

from __future__ import annotations

import re
import struct
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Final

from paravane.abi.elfnote import GUEST_SECTION, LEGACY_KEYS, ElfNote
from paravane.abi.layout import U32, Layout
from paravane.abi.version import XenFeature
from paravane.classes import NamedTuple, dataclass
from paravane.image.elf import PT_NOTE, SHT_NOTE
from paravane.image.errors import ImageError
from paravane.text import printable
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.image.elf import Elf

MAX_NOTES: Final = 65536
MAX_GUEST_TEXT: Final = 65536
"""Bytes of a `__xen_guest` text that are looked at."""

_NAME = "Xen"
_UINT64_MAX = (1 << 64) - 1
_TEXT_NOTES = frozenset(
    (
        ElfNote.XEN_VERSION,
        ElfNote.GUEST_OS,
        ElfNote.GUEST_VERSION,
        ElfNote.LOADER,
        ElfNote.PAE_MODE,
        ElfNote.FEATURES,
        ElfNote.BSD_SYMTAB,
    )
)
_KNOWN = frozenset(note for note in ElfNote if note.value <= ElfNote.MAX)
_NUMBERS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_LOADER_FEATURES = {
    feature.name: feature.value
    for feature in (
        XenFeature.writable_page_tables,
        XenFeature.writable_descriptor_tables,
        XenFeature.auto_translated_physmap,
        XenFeature.supervisor_mode_kernel,
        XenFeature.pae_pgdir_above_4gb,
        XenFeature.hvm_callback_vector,
        XenFeature.dom0,
    )
}
"""The features a FEATURES text may name. The loader knows no others, even where the hypervisor does."""


class ElfNoteHeader(NamedTuple):
    """Start of a note; its name and then its descriptor follow, each padded to 4 bytes."""

    namesz: U32
    descsz: U32
    type: U32


NOTE_HEADER = Layout("Elf32_Nhdr", ElfNoteHeader)


class PaeMode(Enum):
    """How a kernel uses page tables. BIMODAL copes with both; EXTENDED_CR3 lets its L3 lie above 4 GiB."""

    NO = "no"
    YES = "yes"
    EXTENDED_CR3 = "yes[extended-cr3]"
    BIMODAL = "bimodal"


@dataclass(slots=True)
class Notes:
    """The notes found, and in `source` where: numbers and texts by note, features as masks of XENFEAT_*."""

    source: str
    numbers: dict[ElfNote, int] = field(default_factory=dict)
    texts: dict[ElfNote, str] = field(default_factory=dict)
    pae: PaeMode = PaeMode.NO
    supported_features: int = 0
    required_features: int = 0
    l1_mfn_valid: tuple[tuple[int, int], ...] = ()

    def text(self, note: ElfNote) -> str:
        return self.texts.get(note, "")

    @property
    def bsd_symtab(self) -> bool:
        """Whether the kernel wants its symbol table in memory. In the older form the key alone says so."""
        if self.source == GUEST_SECTION:
            return ElfNote.BSD_SYMTAB in self.texts
        return self.text(ElfNote.BSD_SYMTAB) == "yes"


def read_notes(elf: Elf) -> Notes:
    """Find and read the notes. Raises ImageError when there are none or one of them is unreadable."""
    budget = _Budget(MAX_NOTES)
    for areas in _note_areas(elf):
        notes = Notes(areas[0][0] if areas else "")
        found = [
            _read_note(elf, notes, *note) for area in areas for note in _xen_notes(elf, *area[1:], budget)
        ]
        if found:
            return notes
    guest = elf.section_named(GUEST_SECTION)
    if guest is None:
        raise ImageError("this is no kernel for Xen: it has neither Xen ELF notes nor a __xen_guest section")
    size = min(guest.sh_size, MAX_GUEST_TEXT)
    return _read_guest_text(bytes(elf.contents(guest.sh_offset, size, "__xen_guest section")))


def _note_areas(elf: Elf) -> Iterator[list[tuple[str, int, int]]]:
    """Where notes may be, as (form, offset, size): first all segments, then, if asked again, all sections."""
    yield [("PT_NOTE", s.p_offset, s.p_filesz) for s in elf.segments if s.p_type == PT_NOTE and s.p_offset]
    yield [("SHT_NOTE", s.sh_offset, s.sh_size) for s in elf.sections[1:] if s.sh_type == SHT_NOTE]


@dataclass(slots=True)
class _Budget:
    """How many notes of any owner may still be read, over all note areas of the file."""

    left: int

    def spend(self) -> None:
        if not self.left:
            raise ImageError(f"the image has more than {MAX_NOTES} ELF notes")
        self.left -= 1


def _xen_notes(elf: Elf, start: int, size: int, budget: _Budget) -> Iterator[tuple[int, int, int]]:
    """(type, offset of the descriptor, its size) of each note named "Xen" in one area of the file.

    Like Xen, this lets the last note reach beyond its area: GRUB's own note writer produces such files.
    """
    elf.contents(start, size, "notes")
    at, end = start, start + size
    while at < end:
        if at + NOTE_HEADER.size > len(elf.data):
            raise ImageError(f"the ELF file is truncated: it ends in the header of the note at {at:#x}")
        budget.spend()
        note = NOTE_HEADER.unpack(elf.data, at)
        name_at = at + NOTE_HEADER.size
        desc_at = name_at + _round_up(note.namesz)
        if elf.text_at(name_at) == _NAME:
            yield note.type, desc_at, note.descsz
        at = desc_at + _round_up(note.descsz)


def _round_up(size: int) -> int:
    return size + 3 & ~3


def _read_note(elf: Elf, notes: Notes, kind: int, at: int, size: int) -> ElfNote | int:
    """Record one note; returns its type. Unknown types are left alone."""
    if kind not in _KNOWN:
        return kind
    note = ElfNote(kind)
    if note in _TEXT_NOTES:
        text = elf.text_at(at)
        if text is None:
            raise ImageError(f"the text of the {note.name} note at {at:#x} has no end")
        notes.texts[note] = text
        _interpret_text(notes, note, text)
    elif note is ElfNote.SUPPORTED_FEATURES:
        if size >= 4 and size % 4 == 0:
            notes.supported_features |= _number(elf, note, at, 4)
    elif note is ElfNote.L1_MFN_VALID:
        notes.l1_mfn_valid = _mask_value_pairs(elf.contents(at, size & ~15, "L1_MFN_VALID note"))
    elif note is not ElfNote.INFO:
        notes.numbers[note] = _number(elf, note, at, size)
    return note


def _number(elf: Elf, note: ElfNote, at: int, size: int) -> int:
    """Value of a numeric note; one of an odd size counts as 0."""
    code = _NUMBERS.get(size)
    if code is None:
        return 0
    return int(struct.unpack(code, elf.contents(at, size, f"{note.name} note"))[0])


def _mask_value_pairs(data: memoryview) -> tuple[tuple[int, int], ...]:
    return tuple((mask, value) for mask, value in struct.iter_unpack("<QQ", data))


def _interpret_text(notes: Notes, note: ElfNote, text: str) -> None:
    if note is ElfNote.PAE_MODE:
        if text == "yes":
            notes.pae = PaeMode.EXTENDED_CR3
        if "bimodal" in text:
            notes.pae = PaeMode.BIMODAL
    elif note is ElfNote.FEATURES:
        _add_features(notes, text, unknown_is_fatal=True)


def _add_features(notes: Notes, text: str, *, unknown_is_fatal: bool) -> None:
    """Read `name|!name|...`; an exclamation mark makes a feature one that the kernel cannot do without."""
    for item in text.split("|"):
        bit = _LOADER_FEATURES.get(item.removeprefix("!"))
        if bit is not None:
            notes.supported_features |= 1 << bit
            if item.startswith("!"):
                notes.required_features |= 1 << bit
        elif item.startswith("!") and unknown_is_fatal:
            raise ImageError(f"the kernel requires the unknown feature {item[1:]!r}")


def _read_guest_text(data: bytes) -> Notes:
    """Read `KEY=value,KEY,...`. In this form Xen passes over a required feature that nobody knows."""
    notes = Notes(GUEST_SECTION)
    text = printable(data.partition(b"\0")[0], MAX_GUEST_TEXT)
    for item in text.split(","):
        key, _, value = item.partition("=")
        note = LEGACY_KEYS.get(key)
        if note is None:
            continue
        if note in _TEXT_NOTES:
            notes.texts[note] = value
        else:
            notes.numbers[note] = _to_number(value)
        if note is ElfNote.FEATURES:
            _add_features(notes, value, unknown_is_fatal=False)
        elif note is ElfNote.PAE_MODE and value.startswith("yes"):
            extended = value == PaeMode.EXTENDED_CR3.value
            notes.pae = PaeMode.EXTENDED_CR3 if extended else PaeMode.YES
    page = notes.numbers.get(ElfNote.HYPERCALL_PAGE)
    if page is not None:
        # Here the hypercall page is a frame number, counted from VIRT_BASE.
        base = notes.numbers.get(ElfNote.VIRT_BASE, 0)
        notes.numbers[ElfNote.HYPERCALL_PAGE] = (page << PAGE_SHIFT) + base & _UINT64_MAX
    return notes


def _to_number(text: str) -> int:
    """What C's strtoull(text, NULL, 0) makes of it: base by prefix, junk after the digits ignored."""
    match = re.match(r"\s*([-+]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))", text, re.ASCII)
    if match is None:
        return 0
    sign, hexadecimal, octal, decimal = match.groups()
    digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal else (decimal or "0", 10)
    # Longer numbers saturate; Python refuses to convert very long decimal ones at all.
    value = min(int(digits, base), _UINT64_MAX) if len(digits) <= 64 else _UINT64_MAX
    return -value & _UINT64_MAX if sign == "-" else value
