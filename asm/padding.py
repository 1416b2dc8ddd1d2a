"""Code that does nothing, in the very bytes GNU as writes for a 32-bit processor of unknown make."""

from __future__ import annotations

# By length: NOP, XCHG %ax,%ax, and LEA of ESI into itself, whose displacement and SIB byte take up space. No
# single one has five bytes.
_NOPS = (
    b"", b"\x90", b"\x66\x90", b"\x8d\x76\0", b"\x8d\x74\x26\0", b"\x8d\x74\x26\0\x90",
    b"\x8d\xb6\0\0\0\0", b"\x8d\xb4\x26\0\0\0\0",
)  # fmt: skip
MAX_NOP = len(_NOPS) - 1
_MAX_WALKED = 20  # bytes: from more, it is cheaper to jump
_MAX_SHORT_JUMP = 127


def nops(size: int, largest: int = MAX_NOP) -> bytes:
    """`size` bytes of instructions of at most `largest` bytes each that change nothing but EIP."""
    largest = 4 if largest == 5 else largest
    return _NOPS[largest] * (size // largest) + _NOPS[size % largest]


def code_padding(size: int, largest: int = MAX_NOP) -> bytes:
    """What fills `size` bytes between code: a few instructions, or a jump over many."""
    if size <= _MAX_WALKED:
        return nops(size, largest)
    if size - 2 <= _MAX_SHORT_JUMP:
        return bytes((0xEB, size - 2)) + nops(size - 2, largest)
    return b"\xe9" + (size - 5).to_bytes(4, "little") + nops(size - 5, largest)
