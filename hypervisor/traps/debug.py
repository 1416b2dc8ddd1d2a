"""The guest's debug registers: what it may put into them and what it reads back (SDM volume 3B, 18.2)."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.classes import dataclass
from paravane.refusal import Refusal
from paravane.x86 import Cr4, Dr6, Dr7, Dr7Type

if TYPE_CHECKING:
    from paravane.cpu import Cpu


@dataclass(slots=True)
class DebugRegisters:
    """The guest's view. `emulated` holds the enable bits of I/O breakpoints, which the processor never
    sees."""

    address: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    dr6: int = int(Dr6.FIXED)
    dr7: int = int(Dr7.FIXED)
    emulated: int = 0
    reported_at: int | None = None
    """EIP of the last #DB that the processor raised."""

    def read(self, register: int, cr4: int) -> int:
        """DR0 to DR7 as the guest reads them. Refusal(ENODEV) for one that does not exist."""
        if 0 <= register <= 3:
            return self.address[register]
        alias = self._resolve(register, cr4)
        return self.dr6 if alias == 6 else self.dr7 | self.emulated

    def write(self, register: int, value: int, cr4: int, cpu: Cpu) -> None:
        """Load DR0 to DR7. Refusal: ENODEV for one that does not exist, EPERM for what a guest may not
        have."""
        if 0 <= register <= 3:
            self.address[register] = value
            cpu.set_dr(register, value)
            return
        if self._resolve(register, cr4) == 6:
            self.dr6 = value & ~Dr6.ZERO | Dr6.FIXED
            cpu.set_dr(6, self.dr6)
            return
        self._write_control(value & ~Dr7.ZERO | Dr7.FIXED, cr4, cpu)

    def copy(self) -> DebugRegisters:
        """The same values, apart from these."""
        return replace(self, address=list(self.address))

    def load(self, cpu: Cpu) -> None:
        """Make the processor watch for what these say."""
        for register, address in enumerate(self.address):
            cpu.set_dr(register, address)
        cpu.set_dr(6, Dr6.FIXED)
        cpu.set_dr(7, self.dr7)

    def triggered(self, dr6: int) -> None:
        """Merge what the processor reports about a #DB into the guest's DR6."""
        self.dr6 |= dr6 & ~Dr6.FIXED
        self.dr6 &= (dr6 | ~Dr6.FIXED) & 0xFFFFFFFF

    def report(self, cpu: Cpu) -> int:
        """A #DB of the guest: take over what the processor says about it, and reset its DR6 as Xen does.

        Gives the processor's DR6.
        """
        cause = cpu.get_dr(6)
        self.triggered(cause)
        cpu.set_dr(6, Dr6.FIXED)
        return cause

    def is_instruction_breakpoint(self, cause: int) -> bool:
        """Whether a #DB with `cause` in DR6 came before its instruction: a fault, unlike all others."""
        hit = [index for index in range(4) if cause >> index & 1]
        return bool(hit) and not cause & Dr6.BS and not any(self.dr7 >> 16 + 4 * index & 3 for index in hit)

    def stepped(self, bits: int = Dr6.BS) -> None:
        """An emulated instruction ended in a single step or touched a port with a breakpoint on it."""
        self.dr6 |= bits | Dr6.FIXED

    def io_breakpoints(self, port: int, size: int, cr4: int) -> int:
        """DR6 bits of the I/O breakpoints that cover `size` bytes of ports from `port`."""
        if not self.emulated or not cr4 & Cr4.DE:
            return 0
        matched = 0
        for index in range(4):
            if not self.emulated >> 2 * index & 3:
                continue
            width = (1, 2, 8, 4)[self.dr7 >> 18 + 4 * index & 3]
            start = self.address[index] & ~(width - 1)
            if start < port + size and port < start + width:
                matched |= 1 << index
        return matched

    @staticmethod
    def _resolve(register: int, cr4: int) -> int:
        """6 or 7: with CR4.DE clear, 4 and 5 are other names for them."""
        if register in {6, 7}:
            return register
        if register in {4, 5} and not cr4 & Cr4.DE:
            return register + 2
        raise Refusal(Errno.ENODEV, f"there is no debug register {register} with CR4 {cr4:#x}")

    def _write_control(self, value: int, cr4: int, cpu: Cpu) -> None:
        if value & Dr7.GD:
            raise Refusal(Errno.EPERM, "DR7.GD would trap the hypervisor's own use of the debug registers")
        emulated = 0
        if value & Dr7.ENABLED:
            for index in range(4):
                if value >> 16 + 4 * index & 3 != Dr7Type.IO:
                    continue
                if not cr4 & Cr4.DE:
                    raise Refusal(Errno.EPERM, f"breakpoint {index} is for I/O, which needs CR4.DE")
                emulated |= value & 3 << 2 * index
        self.emulated = emulated
        self.dr7 = value & ~emulated
        cpu.set_dr(7, self.dr7)
