"""The stack in a report: its words, and the calls that led to EIP as far as it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import PageFault
from paravane.report.disassembler import disassembler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.cpu import Cpu
    from paravane.image import Image
    from paravane.place import Places

STACK_WORDS: Final = 32
"""Words of the stack that are shown."""

MOST_CALLS: Final = 16
SEARCHED_WORDS: Final = 256
"""Calls that are shown, and words of the stack in which return addresses are looked for."""

LARGEST_FRAME: Final = 1 << 16
"""Bytes between two frame pointers that are still believed to belong together."""

_CALL_LENGTHS: Final = (5, 2, 3, 6, 7, 4)
_CALL_OPCODES: Final = frozenset((0xE8, 0xFF, 0x9A, 0x2E, 0x3E, 0x64, 0x65))
"""What calls can begin with: their opcodes, and the prefixes that compilers put before them."""


def words(cpu: Cpu, image: Image, places: Places) -> Iterator[str]:
    """The words from ESP on, those that lie in the kernel's code with their symbols."""
    top = _top(cpu)
    for address in range(top, top + 4 * STACK_WORDS, 16):
        row = []
        for at in range(address, address + 16, 4):
            word = _word(cpu, at)
            if word is None:
                break
            row.append(word)
        if not row:
            yield f"  {address & 0xFFFFFFFF:08x}: not readable"
            return
        notes = "".join(places.at(word).names for word in row if image.is_code(word))
        yield f"  {address & 0xFFFFFFFF:08x}: {' '.join(f'{word:08x}' for word in row)}{notes}"


def calls(cpu: Cpu, image: Image, places: Places) -> Iterator[str]:
    """A title, and a line for each call that has not returned, the innermost first.

    Frame pointers are followed where EBP is one: then the list is what happened. Otherwise it is every word
    of the stack that lies after a call, which may be one that has long returned.
    """
    frames = list(_by_frame_pointers(cpu))
    found = frames or list(_on_the_stack(cpu, image))
    if not found:
        return
    yield "calls, by frame pointers:" if frames else "calls, by return addresses on the stack:"
    yield from (f"  {places.before(address)}" for address in found[:MOST_CALLS])


def _by_frame_pointers(cpu: Cpu) -> Iterator[int]:
    """Return addresses, from the frame that EBP points to; before them the one at the top of the stack, where
    a function has made no frame (yet)."""
    base, top = cpu.segment_base("ss"), _top(cpu)
    frame = base + cpu.ebp & 0xFFFF_FFFF
    first = _word(cpu, top)
    if not 0 <= frame - top < LARGEST_FRAME or frame % 4:
        return
    for number in range(MOST_CALLS):
        outer, address = _word(cpu, frame), _word(cpu, frame + 4)
        if outer is None or address is None or not _follows_call(cpu, address):
            return
        if number == 0 and frame + 4 != top and first is not None and _follows_call(cpu, first):
            yield first
        yield address
        outer = base + outer & 0xFFFF_FFFF
        if not 0 < outer - frame < LARGEST_FRAME or outer % 4:
            return
        frame = outer


def _on_the_stack(cpu: Cpu, image: Image) -> Iterator[int]:
    top = _top(cpu)
    for at in range(top, top + 4 * SEARCHED_WORDS, 4):
        word = _word(cpu, at)
        if word is None:
            return
        if image.is_code(word) and _follows_call(cpu, word):
            yield word


def _follows_call(cpu: Cpu, address: int) -> bool:
    """Whether the instruction before linear `address` can be a call."""
    decoder = disassembler(big=cpu.has_big_code)
    for length in _CALL_LENGTHS:
        try:
            raw = cpu.read(address - length, length) if address >= length else b""
        except PageFault:
            continue
        if raw[:1] and raw[0] in _CALL_OPCODES:
            for _, size, mnemonic, _ in decoder.disasm_lite(raw, address - length, 1):
                if size == length and mnemonic.lstrip("l").startswith("call"):
                    return True
    return False


def _top(cpu: Cpu) -> int:
    """Where ESP is, whatever the base and the size of its segment."""
    return cpu.segment_base("ss") + (cpu.esp if cpu.has_big_stack else cpu.esp & 0xFFFF) & 0xFFFF_FFFF


def _word(cpu: Cpu, address: int) -> int | None:
    try:
        return cpu.read_u32(address & 0xFFFF_FFFF)
    except PageFault:
        return None
