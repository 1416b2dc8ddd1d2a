"""Everything the traps of one vcpu remember between two entries into the hypervisor."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any

from paravane.abi.arch import KERNEL_RING, FlatSelector
from paravane.abi.shared_info import VCPU_INFO
from paravane.classes import NamedTuple, dataclass
from paravane.cpu.attention import Attention
from paravane.traps.callbacks import Callbacks
from paravane.traps.debug import DebugRegisters
from paravane.traps.emulate.decode import Decoded
from paravane.traps.entries import Entries
from paravane.traps.table import TrapTable
from paravane.x86 import Vector

if TYPE_CHECKING:
    from paravane.abi.trap import CpuUserRegs
    from paravane.traps.emulate.cpuid import CpuidPolicy
    from paravane.traps.host import TrapHost
    from paravane.traps.peripherals import Peripherals

UPCALL_PENDING = VCPU_INFO.offsets["evtchn_upcall_pending"]
UPCALL_MASK = VCPU_INFO.offsets["evtchn_upcall_mask"]
CR2 = VCPU_INFO.offsets["arch.cr2"]
DIRECT, BOUNCED, UPCALLS, EMULATED = range(4)
"""What each number of `Counters.cell` counts."""

KERNEL_SS, KERNEL_SP, VIRTUAL_CR2, VIRTUAL_CR4, TASK_SWITCHED, VIRTUAL_IOPL, VIRTUAL_TSC_AUX = range(7)
"""What each number of `TrapState.cell` is."""

_WORD = struct.Struct("<I")
_EXCEPTIONS = frozenset(Vector)


def trap_name(vector: int) -> str:
    """`#PF` for exceptions, `int 0x80` for vectors without a name of their own."""
    return f"#{Vector(vector).name}" if vector in _EXCEPTIONS else f"int {vector:#04x}"


class TrapNote(NamedTuple):
    """What one trap was and how it was answered, for the trace. `eip` is the address the trap reports."""

    vector: int
    error_code: int | None
    cr2: int | None
    cpl: int
    eip: int
    outcome: str
    handler: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """`#PF` for exceptions, `int 0x80` for software interrupts and vectors without a name."""
        return trap_name(self.vector)


Observer = Callable[[TrapNote], None]


@dataclass(slots=True)
class Counters:
    """How often each way in was taken. `direct` counts int 0x80 without the bounce path.

    A guest cannot tell the ways apart, and a note of each trap costs more than the direct one itself: these
    tell whoever measures or explains a vcpu, traced or not.
    """

    cell: array[int] = field(default_factory=lambda: array("q", (0, 0, 0, 0)))
    """All but `nmis`, for hot paths and native code."""
    nmis: int = 0

    @property
    def direct(self) -> int:
        """System calls without the bounce path."""
        return self.cell[DIRECT]

    @property
    def bounced(self) -> int:
        """Traps that went through the guest's trap table."""
        return self.cell[BOUNCED]

    @property
    def upcalls(self) -> int:
        """Events that entered the guest."""
        return self.cell[UPCALLS]

    @property
    def emulated(self) -> int:
        """Instructions that were carried out for the guest."""
        return self.cell[EMULATED]


def _number(index: int) -> Any:
    """A property over one number of `TrapState.cell`."""

    def read(self: TrapState) -> int:
        return self.cell[index]

    def write(self: TrapState, value: int) -> None:
        self.cell[index] = value

    return property(read, write)


class TrapState:
    """The state, and the few bytes of vcpu_info it shares with the guest.

    `cr0_ts`, `cr2` and `cr4` are the guest's view of those registers; `iopl` is its virtual I/O privilege
    level, 0 to 3: the processor itself always runs the guest with IOPL 0 and interrupts enabled. `tsc_aux`
    is the 32-bit register that RDTSCP reads beside the time; `msrs` has the other ones that were written.

    `cell` has those that hot paths and native code read and write where they are.
    """

    if TYPE_CHECKING:
        kernel_ss: int
        kernel_sp: int
        cr2: int
        cr4: int
        iopl: int
        tsc_aux: int
    else:
        kernel_ss, kernel_sp = _number(KERNEL_SS), _number(KERNEL_SP)
        cr2, cr4, iopl = _number(VIRTUAL_CR2), _number(VIRTUAL_CR4), _number(VIRTUAL_IOPL)
        tsc_aux = _number(VIRTUAL_TSC_AUX)

    def __init__(self, host: TrapHost, policy: CpuidPolicy, peripherals: Peripherals) -> None:
        self.host = host
        self.info = host.info
        self.cpu = host.cpu
        self.bytes = host.cpu.ram.bytes
        self.policy = policy
        self.cell = array("q", (int(FlatSelector.KERNEL_SS), 0, 0, policy.fix_cr4(0), 0, 0, 0))
        self.entries = Entries(host.cpu)
        self.decoded = Decoded()
        self.table = TrapTable()
        self.callbacks = Callbacks()
        self.counters = Counters()
        self.observer: Observer | None = None
        self.io_bitmap = 0
        self.io_bitmap_ports = 0
        self.peripherals = peripherals
        self.ports = peripherals.ports
        self.debug = DebugRegisters()
        self.breakpoint_hit = False
        self.msrs: dict[int, int] = {}
        self._nmi_pending = self._nmi_active = False
        self.entry: CpuUserRegs | None = None
        """The registers of a vcpu that was given a context and has not run yet."""

    @property
    def cr0_ts(self) -> bool:
        return self.cell[TASK_SWITCHED] != 0

    @cr0_ts.setter
    def cr0_ts(self, on: bool) -> None:
        self.cell[TASK_SWITCHED] = on

    @property
    def nmi_pending(self) -> bool:
        """An NMI was raised and not delivered yet."""
        return self._nmi_pending

    @nmi_pending.setter
    def nmi_pending(self, pending: bool) -> None:
        self._nmi_pending = pending
        self._note_nmi()

    @property
    def nmi_active(self) -> bool:
        """An NMI was delivered, and its handler has not returned: the next one waits for that."""
        return self._nmi_active

    @nmi_active.setter
    def nmi_active(self, active: bool) -> None:
        if active is not self._nmi_active:
            self._nmi_active = active
            self._note_nmi()

    def _note_nmi(self) -> None:
        self.cpu.want_attention(Attention.NMI, wanted=self._nmi_pending and not self._nmi_active)
        self.cpu.want_attention(Attention.IN_NMI, wanted=self._nmi_active)

    @property
    def upcall_mask(self) -> int:
        """evtchn_upcall_mask: 0 when upcalls may be delivered; a guest may write any byte there."""
        return self.bytes[self.info.maddr + UPCALL_MASK]

    @upcall_mask.setter
    def upcall_mask(self, value: int) -> None:
        self.bytes[self.info.maddr + UPCALL_MASK] = value

    @property
    def upcall_due(self) -> bool:
        """Something is pending and upcalls are not masked."""
        info = self.info.maddr
        return self.bytes[info + UPCALL_PENDING] != 0 and self.bytes[info + UPCALL_MASK] == 0

    def show_cr2(self, address: int) -> None:
        """Put a faulting linear address where the guest looks for it: CR2 and vcpu_info.arch.cr2."""
        self.cell[VIRTUAL_CR2] = address
        _WORD.pack_into(self.bytes, self.info.maddr + CR2, address)

    def in_kernel(self) -> bool:
        """Whether the guest's kernel is running: ring 1, and only ring 1."""
        return self.cpu.cpl == KERNEL_RING

    def noted(
        self, vector: int, error_code: int | None, outcome: str, handler: tuple[int, int] | None = None
    ) -> TrapNote | None:
        """A note of a trap from where the guest is now, if anybody wants notes."""
        if self.observer is None:
            return None
        cpu = self.cpu
        cr2 = self.cr2 if vector == Vector.PF else None
        return TrapNote(vector, error_code, cr2, cpu.cpl, cpu.eip, outcome, handler)

    def report(self, note: TrapNote | None) -> None:
        """Hand a note that `noted` made to the observer."""
        if note is not None and self.observer is not None:
            self.observer(note)

    def note(
        self, vector: int, error_code: int | None, outcome: str, handler: tuple[int, int] | None = None
    ) -> None:
        """Report a trap to the observer. Callers on hot paths look at `observer` first."""
        self.report(self.noted(vector, error_code, outcome, handler))
