"""`VcpuTraps`: every trap of one vcpu, from the processor's report to the guest's handler (Xen's traps.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu.attention import RETURN_WORK, Attention
from paravane.traps import bounce, context, gates, iret, saved, sysenter
from paravane.traps.callbacks import nmi_gate
from paravane.traps.crash import GuestCrash
from paravane.traps.direct import SYSCALL_VECTOR, DirectGate
from paravane.traps.emulate import control, decode, dispatch
from paravane.traps.emulate.cpuid import CpuidPolicy
from paravane.traps.emulate.fault import Fault
from paravane.traps.emulate.lookback import interrupt_prefixes
from paravane.traps.fpu import reset_fpu, set_task_switched
from paravane.traps.state import BOUNCED, UPCALL_MASK, UPCALL_PENDING, UPCALLS, TrapState
from paravane.traps.table import fix_selector
from paravane.x86 import INT_LENGTH, VECTORS_WITH_ERROR_CODE, Dr6, Eflags, Vector

if TYPE_CHECKING:
    from paravane.abi.trap import TrapInfo
    from paravane.abi.vcpu import VcpuGuestContext
    from paravane.traps.entries import NativeWays
    from paravane.traps.host import TrapHost
    from paravane.traps.peripherals import Peripherals
    from paravane.traps.saved import TrapsSaved
    from paravane.traps.state import Counters, Observer, TrapNote

IDT_ERROR: Final = 2
"""Error-code bit: the index is a vector."""

# Plain numbers: a look at a member of an enumeration costs as much as the comparison, and there are six.
_PF, _GP, _UD, _NM = int(Vector.PF), int(Vector.GP), int(Vector.UD), int(Vector.NM)
_DB, _NP = int(Vector.DB), int(Vector.NP)

_RETURN_WORK: Final = int(RETURN_WORK)
_DIRECT_GATES: Final = (Vector.BP, Vector.OF)
"""Vectors that every ring may raise by instruction; the DPL the guest gave them does not matter."""


class VcpuTraps:
    """The traps of one vcpu. `exception` and `interrupt` are called from the processor's handler.

    Both raise GuestCrash for what ends the domain. The vcpus of a domain share their `peripherals`.
    """

    def __init__(self, host: TrapHost, peripherals: Peripherals) -> None:
        policy = CpuidPolicy(tsc_khz=host.tsc_khz, max_mfn=host.max_mfn)
        self.state = TrapState(host, policy, peripherals)
        self._direct = DirectGate(self.state)
        self._shared, self._info, self._attention = self.state.bytes, host.info, host.cpu.attention
        reset_fpu(self.state)

    # What the processor reports.

    def exception(self, vector: int, error_code: int) -> None:
        """A fault or trap that nobody mended: emulate the instruction, or give the guest its exception."""
        state = self.state
        if vector == _PF:
            if dispatch.is_port_string(state):
                # The engine touches the memory first. On hardware the privilege is looked at before, and Xen
                # does the transfer.
                self._general_protection(0)
            else:
                bounce.deliver_page_fault(state, error_code, state.cpu.cr2)
        elif vector == _GP:
            self._general_protection(error_code)
        elif vector == _UD:
            self._invalid_opcode()
        elif vector == _NM:
            self._device_not_available()
        elif vector == _DB:
            self._debug_exception()
        elif vector == _NP and dispatch.returns_to_absent_stack(state, error_code):
            bounce.deliver(state, Vector.SS, error_code)
        else:
            bounce.deliver(state, vector, error_code if vector in VECTORS_WITH_ERROR_CODE else None)

    def interrupt(self, vector: int) -> bool:
        """`int n`, `int3` or `into` that is no hypercall. EIP is after the instruction.

        True when it went through the direct gate, without the hypervisor as it were.
        """
        state = self.state
        if vector == SYSCALL_VECTOR and self._system_call():
            return True
        if vector in _DIRECT_GATES:
            bounce.deliver(state, vector)
        elif vector == SYSCALL_VECTOR and self._direct.open:
            gate = state.table[vector]
            state.counters.cell[BOUNCED] += 1
            if state.observer is not None:
                state.note(vector, None, "bounced", (gate.cs, gate.eip))
            bounce.bounce(state, gate.cs, gate.eip, masks_events=gate.masks_events)
        else:
            self._software_interrupt(vector)
        return False

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """What CPUID answers, natively executed or not."""
        return self.state.policy.leaf(leaf, subleaf)

    # What is due on the return to the guest.

    def pending(self) -> bool:
        """Whether `deliver_pending` has anything to do. This path is hot: `upcall_due` is spelled out, and a
        property would cost twice as much."""
        shared, info = self._shared, self._info.maddr
        if shared[info + UPCALL_PENDING] and not shared[info + UPCALL_MASK]:
            return True
        return self._attention[0] & _RETURN_WORK != 0

    def deliver_pending(self) -> bool:
        """Deliver an NMI, then an event upcall, if they are due and not masked; whether one was.

        Last come CS and SS of wherever the guest goes on, if a descriptor table has changed: the return from
        the hypervisor loads them, and what is no good any more is an exception there. Raises GuestCrash.
        """
        state = self.state
        entered = False
        if state.nmi_pending and not state.nmi_active:
            entered = self._deliver_nmi()
        if state.upcall_due:
            self.deliver_upcall()
            entered = True
        if state.cpu.segments_due:
            state.cpu.segments_due = False
            iret.reload(state)
        return entered

    def deliver_upcall(self) -> None:
        """Enter the event callback, further upcalls masked. Raises GuestCrash when there is none."""
        state = self.state
        callback = state.callbacks.event
        if not callback.usable:
            raise GuestCrash("an event is due and not masked, but the guest has no callback for events")
        state.counters.cell[UPCALLS] += 1
        bounce.bounce(state, callback.cs, callback.eip, masks_events=True)

    def raise_nmi(self) -> None:
        """Make an NMI pending (VCPUOP_send_nmi). It is lost if no handler is registered when it is due."""
        self.state.nmi_pending = True

    # Where a vcpu starts.

    def load(self, initial: VcpuGuestContext) -> None:
        """Take over a whole context (VCPUOP_initialise). What its registers name, segments and stack, is
        looked at when the vcpu begins to run, and may change until then."""
        context.load_context(self.state, initial)
        self._direct.refresh()
        self.state.entry = initial.user_regs

    def begin(self) -> None:
        """Go where the registers say that `load` was given, unless the vcpu has begun already. Raises
        GuestCrash. The descriptor tables and the base table must be loaded."""
        entry, self.state.entry = self.state.entry, None
        if entry is not None:
            context.load_registers(self.state, entry)

    def save(self) -> TrapsSaved:
        """What the guest registered and its virtual registers, to `restore` in this or another vcpu."""
        return saved.save(self.state)

    def restore(self, kept: TrapsSaved) -> None:
        """Become what was saved; the peripherals of the domain are kept apart (`saved.py`)."""
        saved.restore(self.state, kept)
        self._direct.refresh()

    # What hypercalls change.

    def install_trap(self, info: TrapInfo) -> None:
        """One entry of set_trap_table."""
        self.state.table.install(info)
        self._direct.refresh()

    def clear_traps(self) -> None:
        """set_trap_table without a table."""
        self.state.table.clear()
        self._direct.refresh()

    def switch_stack(self, ss: int, esp: int) -> None:
        """stack_switch: the stack for entries from ring 2 and 3. Only the selector's RPL is looked at."""
        self.state.kernel_ss = fix_selector(ss)
        self.state.kernel_sp = esp & 0xFFFFFFFF

    def register_nmi(self, eip: int) -> None:
        """Register the NMI callback. On vcpu 0 a reason that is still set raises an NMI, as its edge is
        lost."""
        state = self.state
        state.table.set(Vector.NMI, nmi_gate(eip))
        if state.host.vcpu_id == 0 and state.host.nmi_reason():
            state.nmi_pending = True

    def unregister_nmi(self) -> None:
        self.state.table.reset(Vector.NMI)

    def set_iopl(self, level: int) -> None:
        """PHYSDEVOP_set_iopl: the virtual I/O privilege level, 0 to 3."""
        self.state.iopl = level

    def set_io_bitmap(self, va: int, nr_ports: int) -> None:
        """PHYSDEVOP_set_iobitmap: a bit for each of `nr_ports` ports at linear address `va`."""
        self.state.io_bitmap, self.state.io_bitmap_ports = va, nr_ports

    def unmask_upcalls(self) -> None:
        """SCHEDOP_block: upcalls may be delivered from now on."""
        self.state.upcall_mask = 0

    def set_task_switched(self, on: bool) -> None:
        """fpu_taskswitch."""
        set_task_switched(self.state, on)

    def iret(self) -> None:
        """HYPERVISOR_iret; raises GuestCrash for a frame that leads nowhere. EAX is the frame's
        afterwards."""
        iret.iret(self.state)

    # For reports.

    def control_register(self, number: int) -> int:
        """CR0, CR2, CR3 or CR4 as the guest's kernel reads it."""
        return control.read_control_register(self.state, number)

    def debug_register(self, number: int) -> int:
        """DR0 to DR3, DR6 or DR7 as the guest reads it."""
        return self.state.debug.read(number, self.state.cr4)

    @property
    def counters(self) -> Counters:
        return self.state.counters

    def observe(self, observer: Observer | None) -> None:
        """Have every trap reported to `observer` (None: to nobody)."""
        self.state.observer = observer
        self.state.cpu.want_attention(Attention.OBSERVED, wanted=observer is not None)

    def open_natively(self, native: NativeWays) -> None:
        """Have `native` enter the guest by the ways that have been worked out."""
        self.state.entries.tell(native)

    # The cases of `exception`.

    def _system_call(self) -> bool:
        """Take the direct gate; whether it could be taken."""
        note = self.state.noted(SYSCALL_VECTOR, None, "direct")
        if not self._direct.enter():
            return False
        self.state.report(note)
        return True

    def _general_protection(self, error_code: int) -> None:
        state = self.state
        try:
            if error_code == 0:
                instruction = dispatch.fetch(state)
                if instruction is not None and instruction.opcode == decode.SYSENTER:
                    sysenter.enter(state)
                    return
                note = state.noted(Vector.GP, 0, "emulated")
                handled = dispatch.emulate(state, instruction)
            else:
                note = state.noted(Vector.GP, error_code, "call gate")
                iret.go(state, gates.emulate_gate(state, error_code))
                dispatch.retire(state, 0)
                handled = True
        except Fault as fault:
            self._raise(fault)
            return
        if handled:
            self._retired(note)
        else:
            bounce.deliver(state, Vector.GP, error_code)

    def _invalid_opcode(self) -> None:
        state = self.state
        if length := dispatch.icebp_length(state):
            state.cpu.eip += length
            bounce.deliver(state, Vector.DB)
            return
        note = state.noted(Vector.UD, None, "emulated cpuid")
        try:
            handled = dispatch.emulate_forced_cpuid(state)
        except Fault as fault:
            self._raise(fault)
            return
        if handled:
            self._retired(note)
        else:
            bounce.deliver(state, Vector.UD)

    def _debug_exception(self) -> None:
        """#DB. RF in its frame says that a repeated instruction is half done (SDM volume 3B, 17.3.1.1).

        At an instruction breakpoint it is clear: a handler that resumes there has to set it. After a single
        step it is set if the last #DB was reported at the same repeated instruction, so not after the first
        of its steps when nothing was reported before it.
        """
        state = self.state
        debug, cpu = state.debug, state.cpu
        cause = debug.report(cpu)
        if debug.is_instruction_breakpoint(cause):
            cpu.eflags &= ~Eflags.RF
        elif cause & Dr6.BS and cpu.eip == debug.reported_at and dispatch.is_repeating(state):
            cpu.eflags |= Eflags.RF
        debug.reported_at = cpu.eip
        bounce.deliver(state, Vector.DB)

    def _device_not_available(self) -> None:
        """#NM is the guest's only if it set TS itself; Xen clears TS as it delivers it."""
        state = self.state
        if state.cr0_ts:
            bounce.deliver(state, Vector.NM)
        set_task_switched(state, False)

    def _software_interrupt(self, vector: int) -> None:
        """`int n` through a gate that Xen closed: the DPL in the guest's table decides.

        A refused one is #GP with the vector in its error code, at the instruction; int 0x82 from an
        application comes here too, for the hypercall gate is for ring 1 only.
        """
        state = self.state
        cpu = state.cpu
        prefixes = interrupt_prefixes(state, vector)
        if state.table[vector].dpl >= (1 if state.in_kernel() else 3):
            # Xen steps over two bytes from where the processor refused it, however long the instruction is.
            cpu.eip = cpu.eip - prefixes & 0xFFFFFFFF
            bounce.deliver(state, vector, software=True)
            return
        cpu.eip = cpu.eip - INT_LENGTH - prefixes & 0xFFFFFFFF
        why = f"refused in ring {cpu.cpl}, and "
        bounce.deliver(state, Vector.GP, vector << 3 | IDT_ERROR, why=why)

    def _raise(self, fault: Fault) -> None:
        bounce.raise_exception(self.state, fault.vector, fault.error_code, fault.cr2)

    def _retired(self, note: TrapNote | None) -> None:
        """An emulated instruction is complete: its single step or I/O breakpoint is due now."""
        state = self.state
        if note is not None:
            state.report(note)
        if state.breakpoint_hit:
            state.breakpoint_hit = False
            bounce.deliver(state, Vector.DB)

    def _deliver_nmi(self) -> bool:
        state = self.state
        state.nmi_pending = False
        gate = state.table[Vector.NMI]
        if not gate.usable:
            return False
        state.nmi_active = True
        state.counters.nmis += 1
        bounce.bounce(state, gate.cs, gate.eip, masks_events=gate.masks_events)
        return True
