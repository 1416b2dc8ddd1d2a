"""The x87 and SSE state of one processor as an FXSAVE image (SDM volume 1, 10.5.1)."""

import struct

from paravane.cpu.engine import numbers
from paravane.cpu.engine.library import Engine
from paravane.x86 import FXSAVE_SIZE

# FCW FSW FTW(abridged) FOP FIP FCS FDP FDS MXCSR MXCSR_MASK
_HEADER = struct.Struct("<HHBxHIHxxIHxxII")
_MXCSR_MASK = 0xFFBF
_ST0, _XMM0, _SLOT = 32, 160, 16
_REGISTERS = 8
_EMPTY = 3


def save(engine: Engine) -> bytes:
    """The 512-byte image. Must be taken while the engine holds the processor's current state."""
    tags = engine.read_register(numbers.UC_X86_REG_FPTAG) & 0xFFFF
    abridged = sum(1 << i for i in range(_REGISTERS) if tags >> 2 * i & 3 != _EMPTY)
    image = bytearray(FXSAVE_SIZE)
    _HEADER.pack_into(
        image,
        0,
        engine.read_register(numbers.UC_X86_REG_FPCW) & 0xFFFF,
        engine.read_register(numbers.UC_X86_REG_FPSW) & 0xFFFF,
        abridged,
        engine.read_register(numbers.UC_X86_REG_FOP) & 0x7FF,
        int.from_bytes(engine.read_bytes(numbers.UC_X86_REG_FIP, 8)[:4], "little"),
        engine.read_register(numbers.UC_X86_REG_FCS) & 0xFFFF,
        int.from_bytes(engine.read_bytes(numbers.UC_X86_REG_FDP, 8)[:4], "little"),
        engine.read_register(numbers.UC_X86_REG_FDS) & 0xFFFF,
        engine.read_register(numbers.UC_X86_REG_MXCSR),
        _MXCSR_MASK,
    )
    for i in range(_REGISTERS):
        image[_ST0 + i * _SLOT : _ST0 + i * _SLOT + 10] = engine.read_bytes(numbers.UC_X86_REG_ST0 + i, 10)
        image[_XMM0 + i * _SLOT : _XMM0 + (i + 1) * _SLOT] = read_xmm(engine, i)
    return bytes(image)


def load(engine: Engine, image: bytes) -> None:
    """Make `image` the state. ValueError for a wrong size or reserved MXCSR bits (#GP on hardware)."""
    if len(image) != FXSAVE_SIZE:
        raise ValueError(f"an FXSAVE image has {FXSAVE_SIZE} bytes, not {len(image)}")
    fcw, fsw, abridged, fop, fip, fcs, fdp, fds, mxcsr, _ = _HEADER.unpack_from(image)
    if mxcsr & ~_MXCSR_MASK:
        raise ValueError(f"reserved bits set in MXCSR {mxcsr:#x}")
    tags = sum(_EMPTY << 2 * i for i in range(_REGISTERS) if not abridged >> i & 1)
    engine.write_register(numbers.UC_X86_REG_FPCW, fcw)
    # The status word holds the top of the stack, which the stack registers are counted from.
    engine.write_register(numbers.UC_X86_REG_FPSW, fsw)
    engine.write_register(numbers.UC_X86_REG_FPTAG, tags)
    engine.write_register(numbers.UC_X86_REG_FOP, fop)
    engine.write_bytes(numbers.UC_X86_REG_FIP, struct.pack("<Q", fip))
    engine.write_register(numbers.UC_X86_REG_FCS, fcs)
    engine.write_bytes(numbers.UC_X86_REG_FDP, struct.pack("<Q", fdp))
    engine.write_register(numbers.UC_X86_REG_FDS, fds)
    engine.write_register(numbers.UC_X86_REG_MXCSR, mxcsr)
    for i in range(_REGISTERS):
        engine.write_bytes(numbers.UC_X86_REG_ST0 + i, image[_ST0 + i * _SLOT : _ST0 + i * _SLOT + 10])
        write_xmm(engine, i, image[_XMM0 + i * _SLOT : _XMM0 + (i + 1) * _SLOT])


def read_xmm(engine: Engine, number: int) -> bytes:
    """One SSE register. Must be read while the engine holds the processor's current state."""
    return engine.read_bytes(numbers.UC_X86_REG_XMM0 + number, _SLOT)


def write_xmm(engine: Engine, number: int, value: bytes) -> None:
    """Make 16 bytes one SSE register."""
    engine.write_bytes(numbers.UC_X86_REG_XMM0 + number, value)
