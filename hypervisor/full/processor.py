"""A processor of a bare PC: the engine's, with the privileged state beside it and segments by the guest's own
tables.

The guest's ring 0 runs in ring 1 of the engine, its ring 3 in ring 3. The engine has an empty GDT, so every
load of a segment register traps and is done here; it never reads a descriptor or a task-state segment of the
guest's. As on hardware CS and SS show the ring that they are in, and the engine's interrupts are always
enabled, the guest's own flag being kept beside. But with `Sensitive.STATE` segment registers hold the
selectors that the guest loaded, and EFLAGS.IF is the guest's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import SegmentFault, segments
from paravane.cpu.segments import Descriptor
from paravane.full.debug_registers import DebugRegisters
from paravane.full.state import KERNEL, USER, Sensitive
from paravane.x86 import DescriptorFlags, Eflags, Selector, Vector

if TYPE_CHECKING:
    from paravane.cpu import Cpu
    from paravane.full.linear_memory import LinearMemory
    from paravane.full.shadow import Shadow
    from paravane.full.state import PrivilegedState

_ADDRESS: Final = 0xFFFFFFFF
_RPL, _LDT = int(Selector.RPL), int(Selector.LDT)
_IOPL, _IF = int(Eflags.IOPL), int(Eflags.IF)
_IOPL_SHIFT: Final = 12
_DEFINED, _FIXED = sum(Eflags), int(Eflags.FIXED)
_ENGINE_RING: Final = {KERNEL: 1, USER: 3}
_ACCESSED: Final = int(DescriptorFlags.ACCESSED)


class GuestFailure(Exception):
    """What the guest did has no answer here, or none at all: a sentence."""


class InvalidOpcode(SegmentFault):
    """#UD for an instruction that the engine knows and the guest's processor does not."""

    def __init__(self) -> None:
        super().__init__(Vector.UD, 0)


class VirtualProcessor:
    """Its registers are those of `cpu`, but for what `state` has and for EFLAGS and the ring, which are
    here."""

    def __init__(
        self,
        cpu: Cpu,
        state: PrivilegedState,
        memory: LinearMemory,
        shadow: Shadow,
        sensitive: Sensitive = Sensitive.STATE,
    ) -> None:
        self._shows_ring = sensitive is not Sensitive.STATE
        self.cpu, self.state, self.memory, self.shadow = cpu, state, memory, shadow
        self.debug = DebugRegisters(cpu, state, memory)
        cpu.set_gdt(0, 0)

    # Rings and flags.

    @property
    def user(self) -> bool:
        """It is in ring 3."""
        return self.state.cpl == USER

    def set_cpl(self, cpl: int) -> None:
        """Go to the guest's ring 0 or 3. GuestFailure for the two between."""
        if cpl not in _ENGINE_RING:
            raise GuestFailure(f"it enters ring {cpl}; only rings 0 and 3 are virtualised")
        self.state.cpl = cpl
        self.cpu.set_ring(_ENGINE_RING[cpl])

    @property
    def eflags(self) -> int:
        """EFLAGS as the guest has them."""
        eflags = self.cpu.eflags & ~_IOPL | self.state.iopl << _IOPL_SHIFT
        if self._shows_ring:
            eflags = eflags & ~_IF | _IF * self.state.interrupts
        return eflags

    @eflags.setter
    def eflags(self, value: int) -> None:
        value = value & _DEFINED | _FIXED
        self.state.iopl = value >> _IOPL_SHIFT & 3
        if self._shows_ring:
            self.state.interrupts = value & _IF != 0
            self.cpu.eflags = value & ~_IOPL | _IF
            return
        # With an I/O privilege level of 1 the kernel's CLI, STI and POPF set the engine's IF, which is its
        # own.
        shown = max(self.state.iopl, 1)
        self.cpu.eflags = value & ~_IOPL | shown << _IOPL_SHIFT

    @property
    def interrupt_flag(self) -> bool:
        """IF of the guest's."""
        return self.state.interrupts if self._shows_ring else self.cpu.system_eflags & _IF != 0

    @interrupt_flag.setter
    def interrupt_flag(self, enabled: bool) -> None:
        if self._shows_ring:
            self.state.interrupts = enabled  # and the engine hears nothing of it
        else:
            self.cpu.eflags = self.cpu.eflags | _IF if enabled else self.cpu.eflags & ~_IF

    @property
    def interrupts_enabled(self) -> bool:
        """Its IF is set, and the instruction before was none that holds interrupts off for one more."""
        return self.interrupt_flag and not self.cpu.shadowed

    @property
    def cs(self) -> int:
        """CS as the guest loaded it: its RPL is the ring."""
        return self.cpu.cs & ~_RPL | self.state.cpl

    @property
    def ss(self) -> int:
        """As `cs`."""
        return self.cpu.ss & ~_RPL | self.state.cpl

    # Segments.

    def descriptor(self, selector: int) -> Descriptor:
        """What the guest's GDT or LDT has at `selector`. SegmentFault #GP(selector); PageFault."""
        return segments.unpack(selector, self.raw_descriptor(selector))

    def raw_descriptor(self, selector: int) -> int:
        """As `descriptor`, the 64 bits there."""
        table = self.state.ldt_table if selector & _LDT else self.state.gdt
        offset = selector & ~7
        if table.limit is None or offset + 7 > table.limit or not selector & ~_RPL:
            raise SegmentFault(Vector.GP, selector & 0xFFFC)
        return self.memory.read_number(table.base + offset, 8)

    def load_segment(self, name: str, selector: int) -> None:
        """Load DS, ES, FS, GS or SS as an instruction of the present ring does. SegmentFault, PageFault."""
        selector &= 0xFFFF
        if name == "ss":
            self.hold("ss", self.stack_segment(selector, self.state.cpl))
        elif not selector & ~_RPL:
            self.cpu.hold_segment(name, Descriptor(selector, 0, 0, 0))
        else:
            found = self.descriptor(selector)
            segments.check_data(found, self.state.cpl)
            self.hold(name, found)

    def code_segment(self, selector: int, cpl: int) -> Descriptor:
        """The code segment by which ring `cpl` is entered. SegmentFault, PageFault."""
        found = self.descriptor(selector)
        segments.check_code(found, cpl)
        return found

    def stack_segment(self, selector: int, cpl: int) -> Descriptor:
        """The stack segment of ring `cpl`. SegmentFault, PageFault."""
        found = self.descriptor(selector)
        segments.check_stack(found, cpl)
        return found

    def accessed(self, found: Descriptor) -> Descriptor:
        """A descriptor that was checked and is to be loaded, marked accessed where it came from. PageFault:
        to be done before there is no way back."""
        if not found.flags & _ACCESSED:
            table = self.state.ldt_table if found.selector & _LDT else self.state.gdt
            at = table.base + (found.selector & ~7) + 5
            self.memory.write(at, bytes((self.memory.read(at, 1)[0] | 1,)))
            found = found._replace(flags=found.flags | _ACCESSED)
        return found

    def hold(self, name: str, found: Descriptor) -> None:
        """Load a descriptor that was checked, and mark it accessed. PageFault, unless it is marked
        already."""
        found = self.accessed(found)
        if self._shows_ring and name in ("cs", "ss"):
            found = found._replace(selector=found.selector & ~_RPL | _ENGINE_RING[self.state.cpl])
        self.cpu.hold_segment(name, found)

    def drop_privileged_segments(self) -> None:
        """Make null what the present ring, which was just returned to, may not have."""
        self.cpu.drop_privileged_segments(self.state.cpl)

    # Memory operands and the stack.

    def linear(self, segment: str, offset: int) -> int:
        """The linear address of an offset in a segment."""
        return self.cpu.segment_base(segment) + offset & _ADDRESS

    @property
    def stack_mask(self) -> int:
        """The bits of ESP that the stack segment uses."""
        return _ADDRESS if self.cpu.has_big_stack else 0xFFFF

    def stack_word(self, index: int, size: int) -> int:
        """The word of `size` bytes that `index` pops before leave on top of the stack. PageFault."""
        offset = self.cpu.esp + index * size & self.stack_mask
        return self.memory.read_number(self.linear("ss", offset), size, user=self.user)

    def popped(self, count: int) -> int:
        """ESP with so many bytes fewer on the stack."""
        return self._moved(count)

    def push(self, values: tuple[int, ...], size: int) -> None:
        """Push, the first first: all of them or, with a PageFault, none."""
        data = b"".join((value & (1 << 8 * size) - 1).to_bytes(size, "little") for value in reversed(values))
        esp = self._moved(-len(data))
        self.memory.write(self.linear("ss", esp & self.stack_mask), data, user=self.user)
        self.cpu.esp = esp

    def _moved(self, count: int) -> int:
        mask = self.stack_mask
        return self.cpu.esp & ~mask & _ADDRESS | self.cpu.esp + count & mask
