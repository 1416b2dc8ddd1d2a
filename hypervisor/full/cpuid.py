"""What CPUID answers on a bare PC: a plain processor of 32 bits, of which everything that it names works."""

from __future__ import annotations

from typing import Final

_VENDOR: Final = b"GenuineIntel"
_SIGNATURE: Final = 0x663
"""Family 6, model 6, stepping 3, as QEMU's qemu32 has it."""

_FPU, _PSE, _TSC, _PAE, _CX8, _PGE, _CMOV, _MMX, _FXSR, _SSE, _SSE2 = (
    1 << bit for bit in (0, 3, 4, 6, 8, 13, 15, 23, 24, 25, 26)
)
_FEATURES: Final = _FPU | _PSE | _TSC | _PAE | _CX8 | _PGE | _CMOV | _MMX | _FXSR | _SSE | _SSE2


def cpuid(leaf: int) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX and EDX; those of leaf 1 beyond it, as a processor answers with its last leaf."""
    if leaf == 0:
        first, third, second = (int.from_bytes(_VENDOR[at : at + 4], "little") for at in (0, 8, 4))
        return 1, first, third, second
    return _SIGNATURE, 0, 0, _FEATURES
