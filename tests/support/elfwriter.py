"""Builds ELF32 kernel images for tests, field by field, sound or with any defect.

    image = ElfImage(segments=[ElfSegment(0, b"\\xf4")], notes=xen_notes(entry=0))
    image.header["e_machine"] = 62
    data = image.pack()

Every number of a header may be overridden; offsets that are not given are those of the sound file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from paravane.abi.elfnote import ElfNote
from paravane.image.elf import ElfHeader, ProgramHeader, SectionHeader

PAGE = 4096
PF_X, PF_W, PF_R = 1, 2, 4
PT_LOAD, PT_NOTE = 1, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOTE = 1, 2, 3, 7
STB_LOCAL, STB_GLOBAL = 0, 1
STT_NOTYPE, STT_FUNC, STT_SECTION, STT_FILE = 0, 2, 3, 4
SHN_ABS = 0xFFF1

_EHDR = struct.Struct("<16sHHIIIIIHHHHHH")
_PHDR = struct.Struct("<8I")
_SHDR = struct.Struct("<10I")
_SYM = struct.Struct("<IIIBBH")

ENTRY, HYPERCALL_PAGE, VIRT_BASE, PADDR_OFFSET, XEN_VERSION, GUEST_OS, GUEST_VERSION, LOADER, PAE_MODE = (
    range(1, 10)
)
FEATURES, BSD_SYMTAB, HV_START_LOW, L1_MFN_VALID, SUSPEND_CANCEL, INIT_P2M, MOD_START_PFN = range(10, 17)
SUPPORTED_FEATURES, PHYS32_ENTRY = 17, 18


def note(kind: int, value: int | str | bytes, *, name: bytes = b"Xen\0", width: int = 4) -> bytes:
    """One ELF note. A number takes `width` bytes, a text its bytes and a NUL."""
    if isinstance(value, int):
        desc = value.to_bytes(width, "little")
    else:
        desc = value.encode() + b"\0" if isinstance(value, str) else value
    padded_name = name + bytes(-len(name) % 4)
    return struct.pack("<3I", len(name), len(desc), kind) + padded_name + desc + bytes(-len(desc) % 4)


def xen_notes(extra: dict[int, int | str | bytes] | None = None, *, without: tuple[int, ...] = ()) -> bytes:
    """The notes of a plain PAE kernel at address 0, with `extra` ones added or replaced, others left out."""
    values: dict[int, int | str | bytes] = {
        ElfNote.GUEST_OS: "test",
        ElfNote.LOADER: "generic",
        ElfNote.XEN_VERSION: "xen-3.0",
        ElfNote.PAE_MODE: "yes",
        ElfNote.VIRT_BASE: 0,
        ElfNote.ENTRY: 0,
    }
    values |= extra or {}
    return b"".join(note(kind, value) for kind, value in values.items() if kind not in without)


@dataclass(slots=True)
class ElfSegment:
    """A PT_LOAD segment; `header` overrides fields of its program header."""

    address: int
    data: bytes
    memory_size: int | None = None
    flags: int = PF_R | PF_W | PF_X
    header: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class ElfSection:
    """A section that no segment loads; `header` overrides fields of its header."""

    name: str
    kind: int
    data: bytes
    header: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class ElfSymbol:
    """A symbol of section 1 unless `section` says otherwise."""

    name: str
    value: int
    size: int = 0
    binding: int = STB_GLOBAL
    kind: int = STT_FUNC
    section: int = 1


@dataclass(slots=True)
class ElfImage:
    """`notes` go into a PT_NOTE segment, or with `notes_as_section` into an SHT_NOTE section alone."""

    segments: list[ElfSegment] = field(default_factory=list)
    notes: bytes = b""
    notes_as_section: bool = False
    sections: list[ElfSection] = field(default_factory=list)
    symbols: list[ElfSymbol] = field(default_factory=list)
    header: dict[str, int | bytes] = field(default_factory=dict)
    note_header: dict[str, int] = field(default_factory=dict)

    def pack(self) -> bytes:
        """The file: ELF header, program headers, contents, section headers."""
        image = bytearray(_EHDR.size + _PHDR.size * self._program_headers())
        programs = [self._load(image, segment) for segment in self.segments]
        if self.notes and not self.notes_as_section:
            programs.append(self._note_segment(image))
        sections = self._sections(image)
        image += bytes(-len(image) % 4)
        values: dict[str, int | bytes] = {
            "e_ident": b"\x7fELF\x01\x01\x01".ljust(16, b"\0"),
            "e_type": 2,
            "e_machine": 3,
            "e_version": 1,
            "e_entry": 0,
            "e_phoff": _EHDR.size,
            "e_shoff": len(image) if sections else 0,
            "e_flags": 0,
            "e_ehsize": _EHDR.size,
            "e_phentsize": _PHDR.size,
            "e_phnum": len(programs),
            "e_shentsize": _SHDR.size,
            "e_shnum": len(sections),
            "e_shstrndx": len(sections) - 1 if sections else 0,
        }
        image += b"".join(sections)
        values |= self.header
        image[: _EHDR.size] = _EHDR.pack(*(values[name] for name in ElfHeader._fields))
        image[_EHDR.size : _EHDR.size + _PHDR.size * len(programs)] = b"".join(programs)
        return bytes(image)

    def _program_headers(self) -> int:
        return len(self.segments) + bool(self.notes and not self.notes_as_section)

    @staticmethod
    def _load(image: bytearray, segment: ElfSegment) -> bytes:
        image += bytes(-len(image) % 16)
        memory_size = len(segment.data) if segment.memory_size is None else segment.memory_size
        sizes = (len(segment.data), memory_size, segment.flags, PAGE)
        header = _fields(
            ProgramHeader._fields, (PT_LOAD, len(image), segment.address, segment.address, *sizes)
        )
        image += segment.data
        return _PHDR.pack(*(header | segment.header).values())

    def _note_segment(self, image: bytearray) -> bytes:
        image += bytes(-len(image) % 4)
        header = _fields(ProgramHeader._fields, (PT_NOTE, len(image), 0, 0, len(self.notes), 0, PF_R, 4))
        image += self.notes
        return _PHDR.pack(*(header | self.note_header).values())

    def _sections(self, image: bytearray) -> list[bytes]:
        """Append the sections' contents; gives their headers, or none when the image has no section."""
        sections = list(self.sections)
        if self.notes and self.notes_as_section:
            sections.append(ElfSection(".note.Xen", SHT_NOTE, self.notes))
        if self.symbols:
            table, strings = _symbol_table(self.symbols)
            sections.append(
                ElfSection(".symtab", SHT_SYMTAB, table, {"sh_link": len(sections) + 2, "sh_entsize": 16})
            )
            sections.append(ElfSection(".strtab", SHT_STRTAB, strings))
        if not sections:
            return []
        names = bytearray(1)
        headers = [bytes(_SHDR.size)]
        for section in sections:
            headers.append(_section(image, names, section))
        headers.append(_section(image, names, ElfSection(".shstrtab", SHT_STRTAB, b""), own_names=True))
        return headers


def _section(image: bytearray, names: bytearray, section: ElfSection, *, own_names: bool = False) -> bytes:
    name_at = len(names)
    names += section.name.encode() + b"\0"
    data = bytes(names) if own_names else section.data
    image += bytes(-len(image) % 4)
    header = _fields(SectionHeader._fields, (name_at, section.kind, 0, 0, len(image), len(data), 0, 0, 1, 0))
    image += data
    return _SHDR.pack(*(header | section.header).values())


def _symbol_table(symbols: list[ElfSymbol]) -> tuple[bytes, bytes]:
    table, strings = bytearray(_SYM.size), bytearray(1)
    for symbol in symbols:
        info = symbol.binding << 4 | symbol.kind
        table += _SYM.pack(len(strings), symbol.value, symbol.size, info, 0, symbol.section)
        strings += symbol.name.encode() + b"\0"
    return bytes(table), bytes(strings)


def _fields(names: tuple[str, ...], values: tuple[int, ...]) -> dict[str, int]:
    return dict(zip(names, values, strict=True))


def kernel(
    code: bytes = b"\xf4" * 64,
    *,
    extra: dict[int, int | str | bytes] | None = None,
    without: tuple[int, ...] = (),
    memory_size: int | None = None,
) -> ElfImage:
    """A sound image: one segment at 0, the notes of `xen_notes`."""
    return ElfImage([ElfSegment(0, code, memory_size)], xen_notes(extra, without=without))


def legacy_kernel(text: str, code: bytes = b"\xf4" * PAGE, address: int = 0) -> ElfImage:
    """An image with a `__xen_guest` section instead of notes."""
    return ElfImage(
        [ElfSegment(address, code)], sections=[ElfSection("__xen_guest", SHT_PROGBITS, text.encode() + b"\0")]
    )
