"""The registers of a vcpu as a debugger sees them.

Numbers are places in the lists below, in the order of their description (`description.py`). General, segment,
x87 and SSE registers have GDB's names and types for i386; the rest is a feature of our own, in the group
`system`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.cpu import SegmentFault
from paravane.x86 import Eflags

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.vcpu import Vcpu


class RegisterError(Exception):
    """A register cannot have that value, or cannot be written at all; the message is one sentence."""


_WRITABLE_FLAGS: Final = int(
    Eflags.CF
    | Eflags.PF
    | Eflags.AF
    | Eflags.ZF
    | Eflags.SF
    | Eflags.TF
    | Eflags.DF
    | Eflags.OF
    | Eflags.NT
    | Eflags.AC
    | Eflags.ID
)
"""What a guest can change itself; the other flags are the hypervisor's."""


class Look:
    """One look at a stopped vcpu. The image of its FPU, which takes longest, is made once at most."""

    def __init__(self, vcpu: Vcpu) -> None:
        self.vcpu = vcpu

    @cached_property
    def image(self) -> bytes:
        """Its FXSAVE image."""
        return self.vcpu.cpu.fpu_save()


@dataclass(frozen=True, slots=True)
class Register:
    """Name, size in bits and GDB's type; `group` where it is not one of GDB's own; how it is read and
    written, in the bytes of the protocol (little endian)."""

    name: str
    bits: int
    kind: str
    read: Callable[[Look], bytes]
    write: Callable[[Vcpu, bytes], None]
    group: str = ""

    @property
    def size(self) -> int:
        """Bytes of its value."""
        return self.bits // 8


def _word(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _general(name: str, kind: str = "int32") -> Register:
    def write(vcpu: Vcpu, data: bytes) -> None:
        setattr(vcpu.cpu, name, _number(data))

    return Register(name, 32, kind, lambda look: _word(getattr(look.vcpu.cpu, name)), write)


def _write_flags(vcpu: Vcpu, data: bytes) -> None:
    before = vcpu.cpu.eflags
    vcpu.cpu.eflags = before & ~_WRITABLE_FLAGS | _number(data) & _WRITABLE_FLAGS


def _segment(name: str) -> Register:
    def write(vcpu: Vcpu, data: bytes) -> None:
        selector = _number(data)
        if selector == vcpu.cpu.selector(name):
            return
        if name in {"cs", "ss"}:
            raise RegisterError(f"{name} is written by changes of ring only")
        try:
            vcpu.cpu.load_segment(name, selector & 0xFFFF)
        except SegmentFault as fault:
            raise RegisterError(f"{name} cannot be {selector:#x}: {fault}") from None

    return Register(name, 32, "int32", lambda look: _word(look.vcpu.cpu.selector(name)), write)


def _of_image(name: str, bits: int, kind: str, at: int, size: int, group: str = "") -> Register:
    """A register in `size` bytes from `at` of the FXSAVE image (SDM volume 1, table 10-2)."""

    def read(look: Look) -> bytes:
        return look.image[at : at + size].ljust(bits // 8, b"\0")

    def write(vcpu: Vcpu, data: bytes) -> None:
        image = bytearray(vcpu.cpu.fpu_save())
        image[at : at + size] = data[:size]
        try:
            vcpu.cpu.fpu_load(bytes(image))
        except ValueError as error:
            raise RegisterError(f"{name} cannot be that: {error}") from None

    return Register(name, bits, kind, read, write, group)


_EMPTY: Final = 3
_STACK_AT, _SLOT = 32, 16


def _tag(content: bytes) -> int:
    """The tag of a register that is in use (SDM volume 1, 8.1.7): valid, zero, special."""
    exponent, integer = _number(content[8:10]) & 0x7FFF, content[7] >> 7
    if exponent == 0 and not any(content[:8]):
        return 1
    return 0 if integer and 0 < exponent < 0x7FFF else 2


def _read_tags(look: Look) -> bytes:
    image = look.image
    top, used, tags = image[3] >> 3 & 7, image[4], 0
    for number in range(8):
        at = _STACK_AT + _SLOT * (number - top & 7)
        tags |= (_tag(image[at : at + 10]) if used >> number & 1 else _EMPTY) << 2 * number
    return _word(tags)


def _write_tags(vcpu: Vcpu, data: bytes) -> None:
    image, tags = bytearray(vcpu.cpu.fpu_save()), _number(data)
    image[4] = sum(1 << number for number in range(8) if tags >> 2 * number & 3 != _EMPTY)
    vcpu.cpu.fpu_load(bytes(image))


def _system(name: str, read: Callable[[Vcpu], int], kind: str = "int32") -> Register:
    def refuse(vcpu: Vcpu, data: bytes) -> None:
        if _number(data) != read(vcpu) & 0xFFFFFFFF:
            raise RegisterError(f"{name} is the guest's to change, by its own instructions and hypercalls")

    return Register(name, 32, kind, lambda look: _word(read(look.vcpu)), refuse, "system")


def _control(number: int) -> Register:
    return _system(f"cr{number}", lambda vcpu: vcpu.traps.control_register(number))


def _debug(number: int) -> Register:
    return _system(f"dr{number}", lambda vcpu: vcpu.traps.debug_register(number))


CORE: Final = (
    *(_general(name) for name in ("eax", "ecx", "edx", "ebx")),
    _general("esp", "data_ptr"),
    _general("ebp", "data_ptr"),
    _general("esi"),
    _general("edi"),
    _general("eip", "code_ptr"),
    Register("eflags", 32, "i386_eflags", lambda look: _word(look.vcpu.cpu.eflags), _write_flags),
    *(_segment(name) for name in ("cs", "ss", "ds", "es", "fs", "gs")),
    *(_of_image(f"st{number}", 80, "i387_ext", 32 + 16 * number, 10) for number in range(8)),
    _of_image("fctrl", 32, "int", 0, 2, "float"),
    _of_image("fstat", 32, "int", 2, 2, "float"),
    Register("ftag", 32, "int", _read_tags, _write_tags, "float"),
    _of_image("fiseg", 32, "int", 12, 2, "float"),
    _of_image("fioff", 32, "int", 8, 4, "float"),
    _of_image("foseg", 32, "int", 20, 2, "float"),
    _of_image("fooff", 32, "int", 16, 4, "float"),
    _of_image("fop", 32, "int", 6, 2, "float"),
)
SSE: Final = (
    *(_of_image(f"xmm{number}", 128, "vec128", 160 + 16 * number, 16) for number in range(8)),
    _of_image("mxcsr", 32, "i386_mxcsr", 24, 4, "vector"),
)
SYSTEM: Final = (
    _system("fs_base", lambda vcpu: vcpu.cpu.segment_base("fs"), "data_ptr"),
    _system("gs_base", lambda vcpu: vcpu.cpu.segment_base("gs"), "data_ptr"),
    *(_control(number) for number in (0, 2, 3, 4)),
    *(_debug(number) for number in (0, 1, 2, 3, 6, 7)),
    _system("ring", lambda vcpu: vcpu.cpu.cpl),
)

REGISTERS: Final = (*CORE, *SSE, *SYSTEM)
"""All of them, by their numbers."""

NUMBERS: Final = {register.name: number for number, register in enumerate(REGISTERS)}


def read_all(vcpu: Vcpu) -> bytes:
    """Every register, one after the other (packet `g`)."""
    look = Look(vcpu)
    return b"".join(register.read(look) for register in REGISTERS)


def read_one(vcpu: Vcpu, number: int) -> bytes:
    """Packet `p`. Raises RegisterError."""
    if number >= len(REGISTERS):
        raise RegisterError(f"there is no register {number}")
    return REGISTERS[number].read(Look(vcpu))


def write_all(vcpu: Vcpu, data: bytes) -> None:
    """What `read_all` gives, changed. Raises RegisterError when it is of another length, or for the first
    register that cannot be what it says; those before it are written then."""
    if len(data) != sum(register.size for register in REGISTERS):
        raise RegisterError("that is not the size of all registers")
    look, at = Look(vcpu), 0
    for register in REGISTERS:
        value = data[at : at + register.size]
        if value != register.read(look):
            register.write(vcpu, value)
        at += register.size


def write_one(vcpu: Vcpu, number: int, data: bytes) -> None:
    """Packet `P`. Raises RegisterError."""
    if number >= len(REGISTERS) or len(data) != REGISTERS[number].size:
        raise RegisterError(f"there is no register {number} of {len(data)} bytes")
    REGISTERS[number].write(vcpu, data)
