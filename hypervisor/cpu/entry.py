"""Ways into a ring that are worked out once and taken many times."""

from paravane.classes import NamedTuple
from paravane.cpu import segments
from paravane.cpu.faults import PageFault, SegmentFault
from paravane.cpu.segments import Descriptor
from paravane.cpu.state import ProcessorState
from paravane.x86 import DescriptorFlags

_DPL_SHIFT = 13
_DPL = 3 << _DPL_SHIFT


def raw_descriptor(cpu: ProcessorState, selector: int) -> int:
    """The 64-bit descriptor that `selector` names in GDT or LDT. SegmentFault #GP(selector) if none."""
    table = cpu._ldt if selector & 4 else cpu._gdt
    offset = selector & 0xFFF8
    refusal = SegmentFault(segments.VECTOR_GP, selector & 0xFFFC)
    if table.limit is None or offset + 7 > table.limit:
        raise refusal
    try:
        return int.from_bytes(cpu.read(table.base + offset, 8), "little")
    except PageFault:
        raise refusal from None


def descriptor(cpu: ProcessorState, selector: int) -> Descriptor:
    """As `raw_descriptor`, taken apart as a segment."""
    return segments.unpack(selector, raw_descriptor(cpu, selector))


def _watches(cpu: ProcessorState, selectors: tuple[int, ...]) -> tuple[tuple[memoryview, int, int], ...]:
    """View, index and value of each descriptor and of the leaf entry that maps its page."""
    leaves = cpu.ram.quads if cpu.geometry.pae else cpu.ram.words
    quads = cpu.ram.quads
    watched: dict[tuple[int, int], tuple[memoryview, int, int]] = {}
    for selector in selectors:
        linear = cpu._gdt.base + (selector & 0xFFF8)
        leaf = cpu.walk(linear)[-1].maddr // cpu.geometry.entry_size
        at = cpu.translate(linear) >> 3
        watched[0, leaf] = (leaves, leaf, leaves[leaf])
        watched[1, at] = (quads, at, quads[at])
    return tuple(watched.values())


class EntryPlan(NamedTuple):
    """A prepared entry as numbers, for native code.

    `stores` are words of the processor's state and what goes there; `watched` machine addresses, what has to
    be there, and its size in bytes. Of the cached flags `keep` stay and `set` are set. Data segments with
    a lower DPL than `ring` become null.
    """

    stores: tuple[tuple[int, int], ...]
    watched: tuple[tuple[int, int, int], ...]
    keep: int
    set: int
    ring: int


class PreparedEntry:
    """`Cpu.enter` into a fixed code and stack segment of the GDT, checked when it is made.

    `valid` compares both descriptors, and the page-table entries that map them, with what they were: neither
    a change in place nor another GDT goes unnoticed, as long as the tables above the leaf stay where they
    are. Data segments too privileged for the new ring become null, as `Cpu.enter` has it.
    """

    def __init__(self, cpu: ProcessorState, cs: int, ss: int, cpl: int) -> None:
        """Raises SegmentFault where `Cpu.enter` would, and for selectors of the LDT and unaligned tables."""
        if (cs | ss) & 4 or cpu._gdt.base & 7:
            raise SegmentFault(segments.VECTOR_GP, cs & 0xFFF8)
        code, stack = descriptor(cpu, cs), descriptor(cpu, ss)
        segments.check_code(code, cpl)
        segments.check_stack(stack, cpl)
        code = segments.mark_accessed(cpu, cpu._gdt, cpu._ldt, code)
        stack = segments.mark_accessed(cpu, cpu._gdt, cpu._ldt, stack)
        self._cpu, self._words, self._cpl = cpu, cpu._words, cpl
        self._watched = _watches(cpu, (cs, ss))
        self.stack_base = stack.base
        self.code_limit = code.limit
        layout, slots = cpu._layout, cpu._layout.segments
        self._stores = tuple(
            store
            for slot, part in ((slots["cs"], code), (slots["ss"], stack))
            for store in (
                (slot.selector, part.selector),
                (slot.base, part.base),
                (slot.limit, part.limit),
                (slot.flags, part.flags),
            )
        )
        self._ds_base, self._es_base = slots["ds"].base, slots["es"].base
        # Nothing is too privileged for ring 1: no guest has a segment of ring 0.
        self._data_flags = tuple(slots[name].flags for name in ("ds", "es", "fs", "gs")) if cpl > 1 else ()
        self._lowest = cpl << _DPL_SHIFT
        self._eip_at, self._esp_at = layout.eip, layout.regs + 4 * layout.reg_stride
        self._addseg = layout.addseg
        self._keep = ~(layout.cpl_mask | layout.cs32 | layout.ss32 | layout.addseg) & 0xFFFFFFFF
        self._set = cpl
        if code.has(DescriptorFlags.BIG):
            self._set |= layout.cs32
        if stack.has(DescriptorFlags.BIG):
            self._set |= layout.ss32
        if stack.base or not code.has(DescriptorFlags.BIG):
            self._set |= layout.addseg

    def valid(self) -> bool:
        """Both descriptors are what they were, and where they were."""
        for view, index, value in self._watched:  # noqa: SIM110 - a generator doubles the cost of a system call
            if view[index] != value:
                return False
        return True

    def plan(self) -> EntryPlan:
        """What `valid` and `enter` look at and do."""
        watched = [(index * view.itemsize, value, view.itemsize) for view, index, value in self._watched]
        return EntryPlan(self._stores, tuple(watched), self._keep, self._set, self._cpl)

    def enter(self, eip: int, eflags: int, esp: int) -> None:
        """Go there. `eip` must be within `code_limit`; EFLAGS are written only where they differ."""
        cpu, words = self._cpu, self._words
        for index in self._data_flags:
            if 0 < words[index] & _DPL < self._lowest:
                cpu.drop_privileged_segments(self._cpl)
                break
        for index, value in self._stores:
            words[index] = value
        at = cpu._hflags_at
        flags = words[at] & self._keep | self._set
        if words[self._ds_base] | words[self._es_base]:
            flags |= self._addseg
        words[at] = flags
        words[self._eip_at], words[self._esp_at] = eip, esp
        cpu._dirty = True
        if eflags != cpu.eflags:
            cpu.eflags = eflags
