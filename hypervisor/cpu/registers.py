"""The registers of a stopped processor: views of the engine's saved context."""

import struct
from array import array
from typing import TYPE_CHECKING, Any, Final

from paravane.classes import NamedTuple
from paravane.cpu.attention import Attention
from paravane.cpu.engine import numbers
from paravane.cpu.engine.context_offsets import ContextLayout, context_layout
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.engine.library import Mmr, Msr
from paravane.cpu.engine.live import open_engine
from paravane.x86 import DescriptorFlags, Eflags

NONE_IN_FLIGHT: Final = 0xFFFFFFFF
"""The engine's exception in flight, when there is none."""

EFLAGS_FIXED: Final = int(Eflags.FIXED)
EFLAGS_ARITHMETIC: Final = int(Eflags.CF | Eflags.PF | Eflags.AF | Eflags.ZF | Eflags.SF | Eflags.OF)
_KEPT_ELSEWHERE: Final = EFLAGS_ARITHMETIC | int(Eflags.DF)
EFLAGS_RF: Final = int(Eflags.RF)
EFLAGS_VM: Final = int(Eflags.VM)

_MASK = 0xFFFFFFFF
_PAGE: Final = 0xFFFFF000
_MOST_PAGES: Final = 32
_ESP = 2 * 4
# The engine is a 64-bit processor: each general register takes two words.
_GPRS = struct.Struct("<" + "I4x" * 8)


def _general_register(index: int) -> Any:
    """A property over general register `index` (hardware order) of the saved context."""

    at = 2 * index

    def read(self: "Registers") -> int:
        return self._gprs[at]

    def write(self: "Registers", value: int) -> None:
        self._gprs[at] = value & _MASK
        self._dirty = True

    return property(read, write)


class Kept(NamedTuple):
    """Words of the saved context, and which of them EIP and ESP are."""

    words: memoryview
    eip: int
    esp: int


class Registers:
    """State of one processor while its guest is not executing.

    Reads see the context saved at the last trap or stop; writes are collected there (`_dirty`) and reach the
    engine when the guest resumes. EFLAGS alone goes through the engine's API: its arithmetic flags are not
    kept as such while a guest runs.
    """

    if TYPE_CHECKING:
        eax: int
        ecx: int
        edx: int
        ebx: int
        esp: int
        ebp: int
        esi: int
        edi: int
    else:
        eax, ecx, edx, ebx, esp, ebp, esi, edi = (_general_register(index) for index in range(8))

    def __init__(self) -> None:
        self._layout: ContextLayout = context_layout()
        self._engine = open_engine()
        self._words = self._engine.words
        self._gprs = self._words[self._layout.regs : self._layout.regs + 16]
        self._eip_at = self._layout.eip
        self._hflags_at = self._layout.hflags
        self._cs_at = self._layout.segments["cs"].selector
        self._ss_at = self._layout.segments["ss"].selector
        self._dirty = False
        self._extra = False
        self.attention = array("q", (0,))
        """Why the next trap is not for native code (`paravane.cpu.attention`): one number, which such code
        reads where it is."""
        self._eflags: int | None = None
        self._eflags_written = False
        self._flush_wanted = False
        self._stale_pages: list[int] = []
        self.flush_count = array("q", (0,))
        """`flushes`, where native code counts its own."""

    @property
    def flushes(self) -> int:
        """How often the TLB was flushed: who remembers where a linear address is may do so until it is again,
        as the processor does."""
        return self.flush_count[0]

    def gprs(self) -> tuple[int, int, int, int, int, int, int, int]:
        """EAX ECX EDX EBX ESP EBP ESI EDI in one go."""
        return _GPRS.unpack_from(self._gprs)

    def answer(self, value: int) -> None:
        """Put `value` into EAX: as the property does, at half its cost."""
        self._gprs[0] = value & _MASK
        self._dirty = True

    def interrupted(self) -> tuple[int, int, int, int, int]:
        """CS, EIP, SS, ESP and the CPL in one go."""
        words = self._words
        return (
            words[self._cs_at] & 0xFFFF,
            words[self._eip_at],
            words[self._ss_at] & 0xFFFF,
            self._gprs[_ESP],
            words[self._hflags_at] & 3,
        )

    def want_attention(self, reason: Attention, *, wanted: bool) -> None:
        """The next trap is to be served by Python for this reason, or is not any more."""
        if wanted:
            self.attention[0] |= int(reason)
        else:
            self.attention[0] &= ~int(reason)

    @property
    def kept(self) -> Kept:
        """Where some registers are kept, to be read only: for paths that cannot afford a property."""
        return Kept(self._words, self._eip_at, self._layout.regs + _ESP)

    @property
    def eip(self) -> int:
        """The instruction a fault happened at, or the one after `int n`."""
        return self._words[self._eip_at]

    @eip.setter
    def eip(self, value: int) -> None:
        self._words[self._eip_at] = value & _MASK
        self._dirty = True

    @property
    def eflags(self) -> int:
        """EFLAGS; VM is never set through here.

        RF reads as 0 unless it was written in this trap: the processor clears it once the instruction it was
        set for is over, the engine only at the end of a block, so what it says is of the past.
        """
        if self._eflags is None:
            self._eflags = self._engine.read_register(numbers.UC_X86_REG_EFLAGS) & ~EFLAGS_RF
        return self._eflags

    @eflags.setter
    def eflags(self, value: int) -> None:
        self._eflags = value & _MASK & ~EFLAGS_VM | EFLAGS_FIXED
        self._eflags_written = self._extra = self._dirty = True
        if value & EFLAGS_RF:
            # RF is for the next instruction, and the engine clears it at the end of a block: make that one.
            self._words[self._hflags_at] |= self._layout.inhibit

    @property
    def system_eflags(self) -> int:
        """EFLAGS as `eflags` has them, without the status flags and DF: those the engine keeps elsewhere and
        has to be asked for, the system flags not."""
        if self._eflags is not None:
            return self._eflags & ~_KEPT_ELSEWHERE
        return self._words[self._layout.eflags] & ~(_KEPT_ELSEWHERE | EFLAGS_RF)

    @property
    def cpl(self) -> int:
        """The current privilege level."""
        return self._words[self._hflags_at] & 3

    @property
    def has_big_code(self) -> bool:
        """The code segment is one of 32-bit code."""
        return self._words[self._hflags_at] & self._layout.cs32 != 0

    @property
    def has_big_stack(self) -> bool:
        """The stack segment uses ESP, not SP."""
        return self._words[self._hflags_at] & self._layout.ss32 != 0

    @property
    def cs(self) -> int:
        return self.selector("cs")

    @property
    def ss(self) -> int:
        return self.selector("ss")

    @property
    def ds(self) -> int:
        return self.selector("ds")

    @property
    def es(self) -> int:
        return self.selector("es")

    @property
    def fs(self) -> int:
        return self.selector("fs")

    @property
    def gs(self) -> int:
        return self.selector("gs")

    def selector(self, name: str) -> int:
        """Selector in segment register `name` ("cs", "ss", "ds", "es", "fs", "gs")."""
        return self._words[self._layout.segments[name].selector] & 0xFFFF

    def segment_base(self, name: str) -> int:
        """Cached base of segment register `name`, in linear bytes."""
        return self._words[self._layout.segments[name].base]

    @property
    def cr2(self) -> int:
        """Linear address of the last page fault."""
        return self._words[self._layout.cr2]

    @cr2.setter
    def cr2(self, value: int) -> None:
        self._words[self._layout.cr2] = value & _MASK
        self._dirty = True

    def get_dr(self, index: int) -> int:
        """Debug register `index` (0-3, 6, 7)."""
        return self._words[self._debug_slot(index)]

    def _debug_slot(self, index: int) -> int:
        if index not in (0, 1, 2, 3, 6, 7):
            raise ValueError(f"there is no debug register {index}")
        return self._layout.dr + 2 * index

    def _cache_segment(self, name: str, selector: int, base: int, limit: int, flags: int) -> None:
        """Fill the hidden part of a segment register, and what the engine derives from all of them."""
        words, slots = self._words, self._layout.segments
        slot = slots[name]
        words[slot.selector], words[slot.base] = selector, base
        words[slot.limit], words[slot.flags] = limit, flags
        big = int(DescriptorFlags.BIG)
        hflags = words[self._hflags_at] & ~(self._layout.cs32 | self._layout.ss32 | self._layout.addseg)
        if words[slots["cs"].flags] & big:
            hflags |= self._layout.cs32
        if words[slots["ss"].flags] & big:
            hflags |= self._layout.ss32
        flat = not (words[slots["ds"].base] | words[slots["es"].base] | words[slots["ss"].base])
        if not flat or not hflags & self._layout.cs32:
            hflags |= self._layout.addseg
        words[self._hflags_at] = hflags
        self._dirty = True

    def _set_cpl(self, cpl: int) -> None:
        words = self._words
        words[self._hflags_at] = words[self._hflags_at] & ~self._layout.cpl_mask | cpl
        self._dirty = True

    def _put_back(self) -> None:
        """Make the collected state the engine's. EngineError, and the engine as it was, in ring 0."""
        if not self._words[self._hflags_at] & 3:
            raise EngineError("a guest was about to run in ring 0")
        self._dirty = False
        self._engine.restore()
        if self._extra:
            self._extra = False
            self._finish_restore()

    def _finish_restore(self) -> None:
        """What a restored context alone does not bring about."""
        if self._eflags_written:
            self._eflags_written = False
            assert self._eflags is not None
            self._engine.write_register(numbers.UC_X86_REG_EFLAGS, self._eflags)
        if self._flush_wanted:
            self._flush_wanted = False
            self._stale_pages.clear()
            self._engine.flush_tlb()
        elif self._stale_pages:
            for va in self._stale_pages:
                self._engine.flush_page(va)
            self._stale_pages.clear()

    def _want_flush(self) -> None:
        self.flush_count[0] += 1
        self._dirty = self._extra = self._flush_wanted = True

    def _want_page_flush(self, va: int) -> None:
        self.flush_count[0] += 1
        self._stale_pages.append(va & _PAGE)
        # One after the other costs more than all at once, refilled, from some number on.
        self._flush_wanted |= len(self._stale_pages) > _MOST_PAGES
        self._dirty = self._extra = True

    def _take(self) -> None:
        """Collect the engine's state."""
        self._engine.save()
        self._eflags = None

    def _through_api(self, number: int, value: int | Mmr | Msr) -> None:
        """Write a register that only the engine's API gets right, between two traps or inside one."""
        if self._dirty:
            self._put_back()
        if isinstance(value, int):
            self._engine.write_register(number, value & _MASK)
        else:
            self._engine.write_structure(number, value)
        self._take()
        # The trap's own marks (exception in flight) are in the context again, so resume from it.
        self._dirty = True
