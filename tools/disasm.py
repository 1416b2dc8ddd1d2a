"""Disassembly listings of 32-bit x86 ELF files: symbols as labels, source lines where DWARF has them."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

import capstone

from paravane.classes import NamedTuple
from paravane.image.elf import PF_X, PT_LOAD, SHF_EXECINSTR, SHT_NOBITS, Elf
from paravane.image.errors import ImageError
from paravane.image.lines import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_INSTRUCTION = 15  # bytes; Intel SDM volume 2, section 2.3.11
BATCH = 1000  # instructions that capstone decodes, and holds in memory, at once
ZEROS = re.compile(rb"\0{32,}")
BRANCH = re.compile(r"call|j|loop")


class DisasmError(Exception):
    """The bytes cannot be listed; the message is one sentence."""


def disassemble(image: bytes) -> Iterator[str]:
    """The listing of all executable sections, line by line, in AT&T syntax.

    Bytes that are no instruction appear as `.byte`, long runs of zeros as one line. A symbol inside an
    instruction starts a new one, as code must begin there. Raises DisasmError for a file that is no linked
    ELF32 i386 file or too damaged to read; a damaged symbol or line table costs labels or source lines
    only, and is mentioned.
    """
    try:
        elf = Elf(image)
        blocks = _code(elf)
        if not blocks:
            raise DisasmError("it has no executable section")
        listing = _Listing(elf)
        for block in blocks:
            yield from listing.header(block.name)
            yield from listing.area(block.code, block.address)
    except ImageError as error:
        raise DisasmError(str(error)) from None


class _Block(NamedTuple):
    """One run of code: an executable section, or a segment where no section says what is code."""

    address: int
    name: str
    code: bytes


def _code(elf: Elf) -> list[_Block]:
    """All code by address."""
    parts = [
        (section.sh_addr, elf.section_name(section), section.sh_offset, section.sh_size)
        for section in elf.sections
        if section.sh_flags & SHF_EXECINSTR and section.sh_type != SHT_NOBITS and section.sh_size
    ] or [
        (segment.p_vaddr, f"LOAD {index}", segment.p_offset, segment.p_filesz)
        for index, segment in enumerate(elf.segments)
        if segment.p_type == PT_LOAD and segment.p_flags & PF_X and segment.p_filesz
    ]
    # Parts of a sound file share no bytes; a listing of 65,000 views of the same megabyte would have no end.
    if sum(size for _, _, _, size in parts) > len(elf.data):
        raise DisasmError("its executable sections overlap in the file")
    blocks = [_Block(at, name, bytes(elf.contents(offset, size, name))) for at, name, offset, size in parts]
    return sorted(blocks)


class _Listing:
    """What is known about addresses, and the decoder that turns bytes into lines."""

    def __init__(self, elf: Elf) -> None:
        self._labels: dict[int, list[str]] = {}
        self._complaints: list[str] = []
        self._read_labels(elf)
        self._lines = read_lines(elf)
        if self._lines.problem:
            self._complaints.append(f"; source lines are incomplete: {self._lines.problem}")
        self._starts = sorted(self._labels)
        self._decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
        self._decoder.syntax = capstone.CS_OPT_SYNTAX_ATT
        self._decoder.skipdata = True

    def _read_labels(self, elf: Elf) -> None:
        """The names of every address that a symbol marks as a place in the program."""
        try:
            for symbol in elf.symbols():
                self._labels.setdefault(symbol.address, []).append(symbol.name)
        except ImageError as error:
            self._complaints.append(f"; there are no labels: {error}")

    def header(self, name: str) -> Iterator[str]:
        yield from self._complaints
        self._complaints.clear()
        yield f"; section {name}"

    def area(self, code: bytes, address: int) -> Iterator[str]:
        """The lines of one run of code, cut at every label in it."""
        first = bisect_right(self._starts, address)
        last = bisect_right(self._starts, address + len(code) - 1)
        cuts = [0, *(start - address for start in self._starts[first:last]), len(code)]
        for start, end in zip(cuts, cuts[1:], strict=False):
            for label in self._labels.get(address + start, ()):
                yield f"\n{address + start:08x} <{label}>:"
            yield from self._block(code[start:end], address + start)

    def _block(self, code: bytes, address: int) -> Iterator[str]:
        at = 0
        while at < len(code):
            zeros = ZEROS.search(code, at)
            stop = zeros.start() if zeros else len(code)
            if zeros and stop == at:
                yield f"{address + at:08x}:  ... {zeros.end() - at} zero bytes"
                at = zeros.end()
                continue
            start = at
            batch = code[at : min(at + BATCH * MAX_INSTRUCTION, stop + MAX_INSTRUCTION)]
            for where, size, mnemonic, operands in self._decoder.disasm_lite(batch, address + at, BATCH):
                yield from self._instruction(where, code[at : at + size], mnemonic, operands)
                at += size
                if at >= stop:
                    break
            if at == start:
                raise DisasmError(f"the decoder makes nothing of the bytes at {address + at:#x}")

    def _instruction(self, address: int, code: bytes, mnemonic: str, operands: str) -> Iterator[str]:
        source = self._lines.starting_at(address)
        if source is not None:
            yield f"; {source[0]}:{source[1]}"
        text = f"{mnemonic} {operands}".rstrip()
        if BRANCH.match(mnemonic) and operands.startswith("0x"):
            text += self._place(int(operands, 16))
        yield f"{address:08x}:  {code.hex(' '):<{3 * 8}} {text}"

    def _place(self, target: int) -> str:
        """Where a branch goes, as ` <symbol+offset>` of the nearest label before it, if any."""
        index = bisect_right(self._starts, target) - 1
        if index < 0:
            return ""
        start = self._starts[index]
        offset = f"+{target - start:#x}" if target > start else ""
        return f" <{self._labels[start][0]}{offset}>"
