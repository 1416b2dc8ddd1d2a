"""The vcpu of a bare PC: where its traps enter the monitor, and the return to the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import Cpu, EngineError, PageFault, RunEnd, SegmentFault
from paravane.cpu.instructions import STRING_IO
from paravane.full import exits
from paravane.full.cpuid import cpuid
from paravane.full.delivery import deliver, raise_exception
from paravane.full.emulate import STI, Emulator
from paravane.full.processor import GuestFailure, VirtualProcessor
from paravane.full.sleep import Sleep
from paravane.full.table_stores import TableStores
from paravane.gateway import native
from paravane.gateway.vcpu_tlb import VcpuTlb
from paravane.place import Place
from paravane.platform import TRAPS
from paravane.run_loop import INSTRUCTION_TIME
from paravane.sched import Entity, Share
from paravane.time.clock import TRAP_COST
from paravane.x86 import INT_LENGTH, Dr6, Eflags, PageFaultCode, Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu.instructions import Instruction
    from paravane.full.interrupt_controllers import InterruptControllers
    from paravane.full.ports import Ports
    from paravane.full.rewriter import Rewriter
    from paravane.platform import Platform

_WRITE, _BY_USER = int(PageFaultCode.write_access), int(PageFaultCode.user_mode)
_TF: Final = int(Eflags.TF)
_BP, _GP, _PF = int(Vector.BP), int(Vector.GP), int(Vector.PF)
_SHORT_INTS: Final = {(Vector.BP, 0xCC), (Vector.OF, 0xCE)}


class FullVcpu:
    """A processor of a bare PC as the machine's turns see it (`paravane.personality.GuestVcpu`), and as its
    own traps do (`paravane.cpu.TrapHandler`), which `exits` counts."""

    vcpu_id = 0
    hears_ticks = True

    def __init__(self, platform: Platform, domid: int, failed: Callable[[str], None]) -> None:
        """`failed` is told why the guest cannot go on, a sentence."""
        self.domid = domid
        self.entity = Entity(Share())
        self.computes = True
        self.exits = exits.Exits()
        self._platform = platform
        self._failed = failed
        library = native.find()
        # Where C fills the TLB, stores to pages without code take the engine's fast path.
        fill = None if library is None else VcpuTlb(library)
        self.cpu = Cpu(platform.ram, self, sigint=platform.sigint, tlb_fill=fill)
        self.run_state = Sleep(self.stop)
        self._processor: VirtualProcessor
        self._emulator: Emulator
        self._table_stores: TableStores
        self._rewriter: Rewriter
        self._interrupts: InterruptControllers

    def equip(
        self,
        processor: VirtualProcessor,
        ports: Ports,
        interrupts: InterruptControllers,
        rewriter: Rewriter,
    ) -> None:
        """Before it runs: its privileged state, the devices around it, and who finds instructions that do
        not trap in time."""
        self._rewriter = rewriter
        self._processor, self._interrupts = processor, interrupts
        self._table_stores = TableStores(processor)
        self._emulator = Emulator(
            processor, ports, self._halt, self._platform.clock.now, self._to_be_left, self._repeated
        )

    # What the machine does with it.

    def run(self, instructions: int = 0, /) -> RunEnd:
        """Run the guest until something stops it, or for `instructions` (0: without a limit)."""
        self.run_state.begin_slice()
        return self._execute(lambda: self._begin(instructions))

    def go_on(self) -> RunEnd:
        """What is left of a run that is PAUSED."""
        return self._execute(self.cpu.go_on)

    def stop(self) -> None:
        """Leave the guest soon."""
        self.cpu.stop()

    def place(self) -> Place:
        """Where its guest is."""
        return Place(self._processor.linear("cs", self.cpu.eip))

    def interrupted(self) -> None:
        """A device asks for an interrupt, or may."""
        if self._interrupts.pending and self._processor.interrupts_enabled:
            self.run_state.wake()

    def close(self) -> None:
        """Free the processor."""
        self.cpu.close()

    def _begin(self, instructions: int) -> RunEnd:
        self._take_interrupt()
        return self.cpu.run(instructions=instructions)

    def _execute(self, run: Callable[[], RunEnd]) -> RunEnd:
        self._platform.trace.scene = self
        try:
            return run()
        except GuestFailure as failure:
            self._failed(str(failure))
        except EngineError as error:
            self._failed(f"its processor cannot go on: {error}")
        finally:
            self._platform.trace.scene = None
        return RunEnd.STOPPED

    # Where the processor comes in.

    def exception(self, vector: int, error_code: int) -> None:
        """A fault or trap: an instruction to be emulated, a page to be filled in, or the guest's own."""
        self._rewriter.restore()
        if vector in (_PF, _GP) and self._takes_interrupts:
            # Nothing of the instruction has been done, and the shadow that held the interrupt off is over.
            self._return_to_guest(exits.INTERRUPT)
            return
        before, stepping = self.cpu.eip, self._stepping
        passed, self.cpu.passed_breakpoint = self.cpu.passed_breakpoint, None
        try:
            if vector == _PF:
                reason = self._page_fault(self.cpu.cr2, error_code)
                if reason == exits.FILLED and passed == self._processor.linear("cs", before):
                    self.cpu.eflags |= Eflags.RF  # it begins again, and past its breakpoint
                if reason == exits.NO_MEMORY:
                    self._debug_trap(before, stepping)
            elif vector == _GP and self._emulator.emulate():
                reason = self.exits.emulated(self._emulator.last)
                self._debug_trap(before, stepping, self._emulator.last)
            else:
                reason = self._raise(vector, error_code)
        except (SegmentFault, PageFault) as fault:
            reason = self._raise_fault(fault)
        self._return_to_guest(reason)

    def interrupt(self, vector: int) -> None:
        """`int n`, `int3` or `into`."""
        after = self.cpu.eip
        if vector == _BP and self._is_sensitive(after - 1 & 0xFFFFFFFF):
            return
        reason = exits.INT
        if self._takes_interrupts:
            self.cpu.eip = self._before_int(vector, after)
            reason = exits.INTERRUPT
        else:
            try:
                deliver(self._processor, vector, software=True)
            except (SegmentFault, PageFault) as fault:
                self.cpu.eip = self._before_int(vector, after)
                self._raise_fault(fault)
        self._return_to_guest(reason)

    def _before_int(self, vector: int, after: int) -> int:
        """EIP of the `int n`, `int3` or `into` that `after` comes after."""
        processor = self._processor
        code = processor.memory.fetch(processor.linear("cs", after - 1), 1)
        short = bool(code) and (vector, code[0]) in _SHORT_INTS
        return after - (1 if short else INT_LENGTH)

    @property
    def _stepping(self) -> bool:
        return self.cpu.system_eflags & _TF != 0

    def _debug_trap(self, before: int, stepping: bool, done: Instruction | None = None) -> None:
        """The instruction at `before` was emulated: `done`, or a store. If it hit a breakpoint on data or
        ports, or began with TF (`stepping`), #DB comes after it, as after one that the engine executes; a
        single step does not come before the instruction that is to load ESP. STI holds off interrupts alone
        (SDM volume 3, 6.8.3)."""
        hit, sti = self._processor.debug.take(), done is not None and done.opcode == STI
        stepped = stepping and (sti or not self.cpu.shadowed)
        if not (hit or stepped):
            return
        if stepped:
            self.cpu.set_dr(6, self.cpu.get_dr(6) | Dr6.BS)
        if done is not None and done.opcode in STRING_IO and self.cpu.eip == before:
            self.cpu.eflags |= Eflags.RF  # it is repeated, and not done with
        self.run_state.wake()  # out of a HLT
        self._raise(Vector.DB, 0)

    def _is_sensitive(self, eip: int) -> bool:
        """An INT3 at `eip` stood for a sensitive instruction, which is done; else False."""
        rewriter = self._rewriter
        rewriter.restore()
        at = self._processor.linear("cs", eip)
        if not rewriter.planted_at(at):
            return False
        self.cpu.eip = eip
        if self._takes_interrupts:
            self._return_to_guest(exits.INTERRUPT)
            return True
        stepping = self._stepping
        try:
            if self._emulator.emulate_sensitive():
                reason = self.exits.emulated(self._emulator.last)
                self._debug_trap(eip, stepping, self._emulator.last)
            else:
                rewriter.drop(at)
                reason = exits.CHANGED
        except (SegmentFault, PageFault) as fault:
            reason = self._raise_fault(fault)
        self._return_to_guest(reason)
        return True

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        self.exits.instructions += 1
        self.exits.count(exits.CPUID)
        return cpuid(leaf)

    def _page_fault(self, va: int, error_code: int) -> str:
        """What it was. PageFault for the guest's own, GuestFailure for a store to where there is no memory
        that is not carried out here."""
        processor = self._processor
        write = error_code & _WRITE != 0
        found = processor.memory.translate(va, write=write, user=error_code & _BY_USER != 0)
        if write and found.address >= processor.memory.physical.size:
            if not self._table_stores.lose():
                raise GuestFailure(
                    f"it writes to physical address {found.address:#x}, where it has no memory"
                )
            self.exits.instructions += 1
            return exits.NO_MEMORY
        protected = write and processor.shadow.is_protected(found.address)
        if protected and self._table_stores.emulate(va, found.address):
            self.exits.instructions += 1
            return exits.TABLE_STORE
        processor.shadow.fill(va, found, write=write)
        return exits.FILLED

    def _raise(self, vector: int, error_code: int) -> str:
        raise_exception(self._processor, vector, error_code)
        return exits.of_exception(vector)

    def _raise_fault(self, fault: SegmentFault | PageFault) -> str:
        if isinstance(fault, SegmentFault):
            return self._raise(fault.vector, fault.error_code)
        self._processor.state.cr2 = fault.va
        self._processor.shadow.forget_page(fault.va)
        return self._raise(Vector.PF, fault.error_code)

    def _halt(self) -> None:
        """HLT: sleep until an interrupt can be taken."""
        if not self._takes_interrupts:
            self.run_state.sleep()

    def _to_be_left(self) -> bool:
        """Between two elements of a repeated instruction: an interrupt comes, or it has ended its machine."""
        return self._takes_interrupts or not self.run_state.runnable

    def _repeated(self, elements: int, asked: bool) -> None:
        """Each takes as long as an instruction, and where a device is asked for it as one that traps."""
        self._platform.clock.ran(max(0, elements - 1) * (TRAP_COST if asked else INSTRUCTION_TIME))

    # The return to the guest.

    def _return_to_guest(self, reason: str) -> None:
        self.exits.count(reason)
        platform = self._platform
        counts = platform.counts
        counts[TRAPS] = traps = counts[TRAPS] + 1
        now = platform.clock.trapped()
        if platform.timers.deadline <= now:
            platform.timers.expire(now)
        if self.run_state.runnable:
            self._take_interrupt()
        if traps == platform.trap_limit:
            self.stop()

    @property
    def _takes_interrupts(self) -> bool:
        return self._interrupts.pending and self._processor.interrupts_enabled

    def _take_interrupt(self) -> None:
        """Go to the handler of an interrupt, if one is asked for and the guest takes interrupts now."""
        if not self._takes_interrupts:
            return
        self._rewriter.restore()
        vector = self._interrupts.acknowledge()
        try:
            deliver(self._processor, vector)
        except (SegmentFault, PageFault) as fault:
            self._raise_fault(fault)
