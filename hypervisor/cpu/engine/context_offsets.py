"""Where the engine keeps what its API does not show.

The engine's saved context is a copy of its whole processor state, in a layout of its own that any release
may change. A `ContextLayout` is found by experiment on a scratch engine: values written through the official
API and faults of known error code are looked for in the context. What is not found exactly once ends in
EngineError.
"""

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterable
from functools import cache

from paravane.classes import NamedTuple, dataclass
from paravane.cpu.engine import library, numbers
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.engine.live import open_engine

# Hardware order of the segment registers (SDM volume 2, table 2-1, sreg encoding).
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")

_GDT, _CODE, _FAR_CODE, _STACK, _SIZE = 0x1000, 0x2000, 0x3000, 0x8000, 0x10000
_CODE32, _DATA32, _ODD_DATA, _DATA16, _CODE16, _USER_CODE, _USER_DATA = (
    0x08,
    0x10,
    0x18,
    0x20,
    0x28,
    0x33,
    0x3B,
)
_ODD_BASE, _ODD_LIMIT = 0x12340, 0x05432
_DESCRIPTORS = (
    0,
    0x00CF9B000000FFFF,
    0x00CF93000000FFFF,
    0x0040930123405432,
    0x008F93000000FFFF,
    0x008F9B000000FFFF,
    0x00CFFB000000FFFF,
    0x00CFF3000000FFFF,
)


class SegmentSlots(NamedTuple):
    """Word indices of one segment register's cached descriptor."""

    selector: int
    base: int
    limit: int
    flags: int


@dataclass(frozen=True, slots=True)
class ContextLayout:
    """Indices of 32-bit words in the context, and masks within the word of cached flags (`hflags`)."""

    regs: int
    reg_stride: int
    eip: int
    cr0: int
    cr2: int
    cr3: int
    hflags: int
    error_code: int
    is_int: int
    old_exception: int
    segments: dict[str, SegmentSlots]
    cs32: int
    ss32: int
    addseg: int
    cpl_mask: int
    dr: int
    io_break: int
    inhibit: int
    task_switched: int
    eflags: int
    """EFLAGS without those that `flags` holds."""
    flags: int

    @property
    def end_of_segments(self) -> int:
        """The word past the general registers, EIP, all flags and the segment registers."""
        last = max(max(slot.selector, slot.base, slot.limit, slot.flags) for slot in self.segments.values())
        return max(last, self.hflags, self.eip, self.eflags, self.flags) + 2


@cache
def context_layout() -> ContextLayout:
    """The layout of this process's engine library, found on first use. EngineError when not understood."""
    probe = _Probe()
    try:
        return probe.find()
    finally:
        probe.close()


class _Probe:
    """A scratch engine with a flat address space, no paging and a small descriptor table."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        anchor = ctypes.c_char.from_buffer(self._memory)
        self.engine = open_engine()
        self.engine.map(0, _SIZE, ctypes.addressof(anchor))
        del anchor
        self._memory[_GDT : _GDT + 8 * len(_DESCRIPTORS)] = struct.pack("<8Q", *_DESCRIPTORS)
        self._on_trap: Callable[[int], None] = lambda vector: None
        self.engine.hook(
            numbers.UC_HOOK_INTR, library.INTERRUPT_HOOK, lambda uc, vector, user: self._on_trap(vector)
        )
        table = library.Mmr(base=_GDT, limit=8 * len(_DESCRIPTORS) - 1)
        self.engine.write_structure(numbers.UC_X86_REG_GDTR, table)
        self._load(numbers.UC_X86_REG_CS, _CODE32)
        for number in (
            numbers.UC_X86_REG_SS,
            numbers.UC_X86_REG_DS,
            numbers.UC_X86_REG_ES,
            numbers.UC_X86_REG_FS,
            numbers.UC_X86_REG_GS,
        ):
            self._load(number, _DATA32)

    def close(self) -> None:
        self.engine.close()
        self._memory.close()

    def find(self) -> ContextLayout:
        regs, stride = self._find_registers()
        eip = self._find_word("EIP", numbers.UC_X86_REG_EIP)
        cr2 = self._find_word("CR2", numbers.UC_X86_REG_CR2)
        cr3 = self._find_word("CR3", numbers.UC_X86_REG_CR3)
        cr0, hflags, task_switched = self._find_cr0_and_hflags()
        segments = self._find_segments()
        addseg = self._flag_changed(hflags, numbers.UC_X86_REG_DS, _DATA32, _ODD_DATA, "segment base")
        ss32 = self._flag_changed(hflags, numbers.UC_X86_REG_SS, _DATA32, _DATA16, "stack size")
        # 16-bit code always adds segment bases, so that bit moves too.
        cs32 = self._flag_changed(hflags, numbers.UC_X86_REG_CS, _CODE32, _CODE16, "code size", ignore=addseg)
        error_code, is_int, old_exception = self._find_fault_words()
        self._check_cure(old_exception, eip)
        cpl_mask = self._find_cpl(hflags)
        return ContextLayout(
            regs=regs,
            reg_stride=stride,
            eip=eip,
            cr0=cr0,
            cr2=cr2,
            cr3=cr3,
            hflags=hflags,
            error_code=error_code,
            is_int=is_int,
            old_exception=old_exception,
            segments=segments,
            cs32=cs32,
            ss32=ss32,
            addseg=addseg,
            cpl_mask=cpl_mask,
            dr=self._find_debug_registers(),
            io_break=self._find_io_break(hflags),
            inhibit=self._find_inhibit(hflags),
            task_switched=task_switched,
            eflags=self._find_eflags(),
            flags=self._find_flags(),
        )

    def _load(self, number: int, value: int) -> None:
        self.engine.write_register(number, value)

    def _snapshot(self) -> list[int]:
        self.engine.save()
        return self.engine.words.tolist()

    def _find_registers(self) -> tuple[int, int]:
        values = [0x5A100000 + 0x1357 * (index + 1) for index in range(8)]
        for number, value in zip(library.GPRS, values, strict=True):
            self._load(number, value)
        words = self._snapshot()
        places = [_single(f"register {index}", _indices(words, value)) for index, value in enumerate(values)]
        stride = places[1] - places[0]
        if places != list(range(places[0], places[0] + 8 * stride, stride)):
            raise EngineError("the engine does not keep the general registers in hardware order")
        return places[0], stride

    def _find_word(self, name: str, number: int) -> int:
        self._load(number, 0x3C5A1000)
        before = self._snapshot()
        self._load(number, 0x16E8B000)
        after = self._snapshot()
        self._load(number, 0)
        places = [i for i in _indices(before, 0x3C5A1000) if after[i] == 0x16E8B000]
        return _single(name, places)

    def _find_cr0_and_hflags(self) -> tuple[int, int, int]:
        """Where they are, and the cached flag that says what CR0.TS does."""
        self._load(numbers.UC_X86_REG_CR0, 0x1)
        before = self._snapshot()
        self._load(numbers.UC_X86_REG_CR0, 0x9)
        after = self._snapshot()
        self._load(numbers.UC_X86_REG_CR0, 0x1)
        changed = _changed(before, after)
        cr0 = _single("CR0", [i for i in changed if before[i] == 1 and after[i] == 9])
        hflags = _single("the cached flags", [i for i in changed if i != cr0])
        mask = before[hflags] ^ after[hflags]
        if mask.bit_count() != 1 or not after[hflags] & mask:
            raise EngineError("the engine's cached flags do not show CR0.TS as one bit")
        return cr0, hflags, mask

    def _find_segments(self) -> dict[str, SegmentSlots]:
        registers = {
            "es": numbers.UC_X86_REG_ES,
            "ds": numbers.UC_X86_REG_DS,
            "fs": numbers.UC_X86_REG_FS,
            "gs": numbers.UC_X86_REG_GS,
        }
        found = {name: self._find_segment(name, number) for name, number in registers.items()}
        stride = found["fs"].selector - found["ds"].selector
        first = found["es"]
        slots = {
            name: SegmentSlots(
                first.selector + i * stride,
                first.base + i * stride,
                first.limit + i * stride,
                first.flags + i * stride,
            )
            for i, name in enumerate(SEGMENTS)
        }
        words = self._snapshot()
        consistent = all(slots[name] == found[name] for name in found)
        if not consistent or words[slots["cs"].selector] != _CODE32 or words[slots["ss"].selector] != _DATA32:
            raise EngineError("the engine does not keep the segment registers in hardware order")
        return slots

    def _find_segment(self, name: str, number: int) -> SegmentSlots:
        before = self._snapshot()
        self._load(number, _ODD_DATA)
        after = self._snapshot()
        self._load(number, _DATA32)
        changed = _changed(before, after)
        flags = _DESCRIPTORS[_ODD_DATA >> 3] >> 32

        def place(part: str, value: int) -> int:
            return _single(f"the {part} of {name}", [i for i in changed if after[i] == value])

        return SegmentSlots(
            place("selector", _ODD_DATA),
            place("base", _ODD_BASE),
            place("limit", _ODD_LIMIT),
            place("flags", flags),
        )

    def _flag_changed(
        self, hflags: int, number: int, usual: int, odd: int, what: str, *, ignore: int = 0
    ) -> int:
        self._load(number, usual)
        before = self._snapshot()[hflags]
        self._load(number, odd)
        after = self._snapshot()[hflags]
        self._load(number, usual)
        mask = (before ^ after) & ~ignore
        if mask.bit_count() != 1:
            raise EngineError(f"the engine's cached flags do not show the {what} as one bit")
        return mask

    def _trap(self, code: bytes, address: int = _CODE) -> tuple[int, list[int]]:
        """Run `code` to its first trap from the state before it; its vector and the context there."""
        self.engine.save()
        clean = self.engine.bytes.tobytes()
        seen: list[tuple[int, list[int]]] = []

        def on_trap(vector: int) -> None:
            seen.append((vector, self._snapshot()))
            self.engine.stop()

        self._memory[address : address + len(code)] = code
        self._on_trap = on_trap
        self.engine.flush_code()
        self.engine.start(address)
        self.engine.bytes[:] = clean
        self.engine.restore()
        if not seen:
            raise EngineError("the engine did not report a trap it should have")
        return seen[0]

    def _find_fault_words(self) -> tuple[int, int, int]:
        clean = self._snapshot()
        first_vector, first = self._trap(_load_ds(0x1238))
        second_vector, second = self._trap(_load_ds(0x1A58))
        _, software = self._trap(b"\xcd\x20")
        if (first_vector, second_vector) != (13, 13):
            raise EngineError("the engine did not report a bad selector as a general-protection fault")
        places = [i for i in _indices(first, 0x1238) if second[i] == 0x1A58]
        error_code = _single("the error code", places)
        is_int = error_code + 1
        if (first[is_int], second[is_int], software[is_int]) != (0, 0, 1):
            raise EngineError("the engine's context does not tell a software interrupt from a fault")
        idle = _indices(clean, 0xFFFFFFFF)
        places = [i for i in idle if first[i] == second[i] == 13 and software[i] == 0xFFFFFFFF]
        return error_code, is_int, _single("the exception in flight", places)

    def _check_cure(self, old_exception: int, eip: int) -> None:
        """Two faults in one run must both arrive as such once the exception in flight is forgotten."""
        code = _load_ds(0x1238)
        vectors: list[int] = []

        def on_trap(vector: int) -> None:
            vectors.append(vector)
            self.engine.save()
            self.engine.words[old_exception] = 0xFFFFFFFF
            self.engine.words[eip] = _CODE
            self.engine.restore()
            if len(vectors) == 3:
                self.engine.stop()

        self._memory[_CODE : _CODE + len(code)] = code
        self._on_trap = on_trap
        self.engine.flush_code()
        self.engine.start(_CODE)
        if vectors != [13, 13, 13]:
            raise EngineError(f"the engine reports repeated faults as vectors {vectors}")

    def _find_debug_registers(self) -> int:
        first = self._find_word("DR0", numbers.UC_X86_REG_DR0)
        if self._find_word("DR7", numbers.UC_X86_REG_DR7) != first + 14:
            raise EngineError("the engine does not keep the debug registers side by side")
        return first

    def _find_io_break(self, hflags: int) -> int:
        """The cached flag that makes port instructions look at the debug registers."""
        before = self._snapshot()[hflags]
        # mov $0x20002,%eax (DR7: breakpoint 0 on I/O); mov %eax,%dr7; int $0x20
        _, armed = self._trap(b"\xb8\x02\x00\x02\x00\x0f\x23\xf8\xcd\x20")
        mask = before ^ armed[hflags]
        if mask.bit_count() != 1:
            raise EngineError("the engine's cached flags do not show an I/O breakpoint as one bit")
        return mask

    def _find_inhibit(self, hflags: int) -> int:
        """The cached flag that keeps interrupts away for one more instruction."""
        _, usual = self._trap(b"\xcd\x20")
        # sti; int $0x20
        _, after_sti = self._trap(b"\xfb\xcd\x20")
        mask = usual[hflags] ^ after_sti[hflags]
        if mask.bit_count() != 1:
            raise EngineError("the engine's cached flags do not show the shadow of STI as one bit")
        return mask

    def _find_eflags(self) -> int:
        """Where the flags are that no result has: NT and ID here."""
        self._load(numbers.UC_X86_REG_EFLAGS, 0x4002)
        before = self._snapshot()
        self._load(numbers.UC_X86_REG_EFLAGS, 0x200002)
        after = self._snapshot()
        self._load(numbers.UC_X86_REG_EFLAGS, 0x2)
        return _single("EFLAGS", [i for i in _indices(before, 0x4002) if after[i] == 0x200002])

    def _find_flags(self) -> int:
        """Where the arithmetic flags are once they were computed: alone there, unlike in EFLAGS."""
        self._load(numbers.UC_X86_REG_EFLAGS, 0x2008D7)
        before = self._snapshot()
        self._load(numbers.UC_X86_REG_EFLAGS, 0x200046)
        after = self._snapshot()
        self._load(numbers.UC_X86_REG_EFLAGS, 0x2)
        return _single("the flags", [i for i in _indices(before, 0x8D5) if after[i] == 0x44])

    def _find_cpl(self, hflags: int) -> int:
        _, ring0 = self._trap(b"\xcd\x20")
        self._memory[_FAR_CODE : _FAR_CODE + 2] = b"\xcd\x20"
        to_user = b"".join(
            b"\x68" + struct.pack("<I", value) for value in (_USER_DATA, _STACK, _USER_CODE, _FAR_CODE)
        )
        self._load(numbers.UC_X86_REG_ESP, _STACK)
        _, ring3 = self._trap(to_user + b"\xcb")
        mask = ring0[hflags] ^ ring3[hflags]
        if mask != 3 or ring0[hflags] & mask:
            raise EngineError("the engine's cached flags do not hold the privilege level where expected")
        return mask


def _load_ds(selector: int) -> bytes:
    """`mov $selector,%eax; mov %eax,%ds`, with other bits in EAX so that the error code stays unique."""
    return b"\xb8" + struct.pack("<I", 0x77770000 | selector) + b"\x8e\xd8"


def _indices(words: list[int], value: int) -> list[int]:
    return [index for index, word in enumerate(words) if word == value]


def _changed(before: list[int], after: list[int]) -> list[int]:
    return [index for index, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]


def _single(what: str, places: Iterable[int]) -> int:
    found = list(places)
    if len(found) != 1:
        raise EngineError(
            f"cannot find {what} in the engine's context ({len(found)} candidates): unknown engine"
        )
    return found[0]
