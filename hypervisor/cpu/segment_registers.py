"""Loading segment registers, and with them rings, as instructions do (SDM volume 3, chapter 5)."""

from typing import Final

from paravane.cpu import segments
from paravane.cpu.attention import Attention
from paravane.cpu.engine import numbers
from paravane.cpu.engine.context_offsets import SEGMENTS
from paravane.cpu.engine.library import Mmr
from paravane.cpu.faults import SegmentFault
from paravane.cpu.geometry import Geometry
from paravane.cpu.paging import GuestMemory
from paravane.cpu.ram import Ram
from paravane.cpu.registers import Registers
from paravane.cpu.segments import Descriptor, Table

TASK_STATE: Final = 0xFFFFFF00
"""Linear address of a task-state segment that is not there, where no guest has a page."""

_LDT_FLAGS: Final = 0x8200
TSS_FLAGS: Final = 0x8900
_SEGMENTS_DUE: Final = int(Attention.SEGMENTS)


class SegmentRegisters(Registers, GuestMemory):
    """Registers over memory that holds descriptor tables."""

    def __init__(self, ram: Ram, geometry: Geometry) -> None:
        Registers.__init__(self)
        GuestMemory.__init__(self, ram, geometry)
        self._gdt = Table(0, None)
        self._ldt = Table(0, None)

    @property
    def segments_due(self) -> bool:
        """CS and SS are to be loaded anew on the return to the guest."""
        return self.attention[0] & _SEGMENTS_DUE != 0

    @segments_due.setter
    def segments_due(self, due: bool) -> None:
        self.want_attention(Attention.SEGMENTS, wanted=due)

    def reload_segments(self) -> None:
        """A descriptor table changed: CS and SS are to be loaded anew before the guest goes on.

        Who returns to the guest looks at `segments_due` and does it: only there is a place to report that a
        descriptor is no good any more. Data segments keep what they have cached, as on hardware.
        """
        self.segments_due = True

    def set_gdt(self, base: int, limit: int) -> None:
        """Load GDTR: linear `base`, `limit` in bytes minus one."""
        self._gdt = Table(base & 0xFFFFFFFF, limit & 0xFFFF)
        self.segments_due = True
        self._through_api(numbers.UC_X86_REG_GDTR, Mmr(base=self._gdt.base, limit=limit & 0xFFFF))

    def set_ldt(self, base: int, limit: int, selector: int = 8) -> None:
        """Load LDTR: linear `base`, `limit` in bytes minus one; (0, 0) is the empty LDT.

        `selector` is what SLDT reads; the descriptor it names is not looked at.
        """
        empty = not base and not limit
        self._ldt = Table(base & 0xFFFFFFFF, None if empty else limit)
        self.segments_due = True
        flags = 0 if empty else _LDT_FLAGS
        self._through_api(
            numbers.UC_X86_REG_LDTR,
            Mmr(selector=0 if empty else selector, base=self._ldt.base, limit=limit, flags=flags),
        )

    def set_task_selector(self, selector: int) -> None:
        """What STR reads. The task-state segment stays the one that is not there."""
        self._through_api(numbers.UC_X86_REG_TR, Mmr(selector=selector, base=TASK_STATE, flags=TSS_FLAGS))

    def load_segment(self, name: str, selector: int, *, cpl: int | None = None) -> None:
        """Load DS, ES, FS, GS or SS as ring `cpl` (default: the current one) would, or SegmentFault."""
        selector &= 0xFFFF
        level = self.cpl if cpl is None else cpl
        if name not in SEGMENTS or name == "cs":
            raise ValueError(f"{name} is not a segment register that can be loaded")
        if selector & ~3 == 0:
            if name == "ss":
                raise SegmentFault(segments.VECTOR_GP, 0)
            self._cache_segment(name, selector, 0, 0, 0)
            return
        descriptor = segments.fetch(self, self._gdt, self._ldt, selector)
        if name == "ss":
            segments.check_stack(descriptor, level)
        else:
            segments.check_data(descriptor, level)
        self._load_descriptor(name, descriptor)

    def hold_segment(self, name: str, descriptor: Descriptor) -> None:
        """Have segment register `name` hold `descriptor` as it is, whatever tables and ring would say: for
        whoever loads segments by other tables than the engine's. ValueError for a name that is none."""
        if name not in SEGMENTS:
            raise ValueError(f"there is no segment register {name}")
        self._cache_segment(name, *descriptor)

    def set_ring(self, cpl: int) -> None:
        """Be in ring `cpl` (1-3) from now on, whatever CS says. ValueError for any other."""
        if cpl not in (1, 2, 3):
            raise ValueError(f"no guest runs in ring {cpl}")
        self._set_cpl(cpl)

    def enter(
        self, *, cs: int, eip: int, eflags: int, cpl: int, ss: int | None = None, esp: int | None = None
    ) -> None:
        """Go to ring `cpl` (1-3) at `cs:eip` as an IRET from ring 0 would; nothing changes on SegmentFault.

        `ss` and `esp` default to the current ones. Data segments too privileged for the new ring become null.
        """
        cs, stack = cs & 0xFFFF, (self.ss if ss is None else ss) & 0xFFFF
        if cs & ~3 == 0 or stack & ~3 == 0:
            raise SegmentFault(segments.VECTOR_GP, 0)
        code = segments.fetch(self, self._gdt, self._ldt, cs)
        if cpl not in (1, 2, 3):
            raise SegmentFault(segments.VECTOR_GP, cs & ~3)
        segments.check_code(code, cpl)
        data = segments.fetch(self, self._gdt, self._ldt, stack)
        segments.check_stack(data, cpl)
        if eip & 0xFFFFFFFF > code.limit:
            raise SegmentFault(segments.VECTOR_GP, 0)
        self._load_descriptor("cs", code)
        self._load_descriptor("ss", data)
        self._set_cpl(cpl)
        self.drop_privileged_segments(cpl)
        self.eip, self.eflags = eip, eflags
        if esp is not None:
            self.esp = esp

    def jump(self, *, cs: int, eip: int) -> None:
        """Go on at `cs:eip` in the same ring, as a far transfer would; nothing changes on SegmentFault."""
        code = segments.fetch(self, self._gdt, self._ldt, cs)
        segments.check_code(code, self.cpl)
        if eip & 0xFFFFFFFF > code.limit:
            raise SegmentFault(segments.VECTOR_GP, 0)
        self._load_descriptor("cs", code)
        self.eip = eip

    def _load_descriptor(self, name: str, descriptor: Descriptor) -> None:
        marked = segments.mark_accessed(self, self._gdt, self._ldt, descriptor)
        self._cache_segment(name, marked.selector, marked.base, marked.limit, marked.flags)

    def drop_privileged_segments(self, cpl: int) -> None:
        """Make null the data segments that ring `cpl` may not have, as a return to it does."""
        for name in ("ds", "es", "fs", "gs"):
            flags = self._words[self._layout.segments[name].flags]
            cached = Descriptor(0, 0, 0, flags)
            if flags and cached.dpl < cpl and not cached.is_conforming:
                self._cache_segment(name, 0, 0, 0, 0)
