"""The guest's debug registers: what it may put into them and what it reads back (SDM volume 3B, 18.2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.refusal import Refusal
from paravane.x86 import Cr4, Dr6

if TYPE_CHECKING:
    from paravane.cpu import Cpu

DR6_DEFAULT = 0xFFFF0FF0
DR7_DEFAULT = 0x00000400
DR6_RESERVED_ZERO = 0x00001000
DR6_RESERVED_ONE = 0xFFFF0FF0
DR7_RESERVED_ZERO = 0x0000D800
DR7_RESERVED_ONE = 0x00000400
DR7_GENERAL_DETECT = 1 << 13
DR7_ENABLED = 0xFF
"""Local and global enable bits of the four breakpoints."""

DR6_STEP = 1 << 14
BREAK_IO = 2
"""R/W field of DR7: break on I/O, valid with CR4.DE."""


@dataclass(slots=True)
class DebugRegisters:
    """The guest's view. `emulated` holds the enable bits of I/O breakpoints, which the processor never
    sees."""

    address: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    dr6: int = DR6_DEFAULT
    dr7: int = DR7_DEFAULT
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
            self.dr6 = value & ~DR6_RESERVED_ZERO | DR6_RESERVED_ONE
            cpu.set_dr(6, self.dr6)
            return
        self._write_control(value & ~DR7_RESERVED_ZERO | DR7_RESERVED_ONE, cr4, cpu)

    def copy(self) -> DebugRegisters:
        """The same values, apart from these."""
        return replace(self, address=list(self.address))

    def load(self, cpu: Cpu) -> None:
        """Make the processor watch for what these say."""
        for register, address in enumerate(self.address):
            cpu.set_dr(register, address)
        cpu.set_dr(6, DR6_DEFAULT)
        cpu.set_dr(7, self.dr7)

    def triggered(self, dr6: int) -> None:
        """Merge what the processor reports about a #DB into the guest's DR6."""
        self.dr6 |= dr6 & ~DR6_DEFAULT
        self.dr6 &= (dr6 | ~DR6_DEFAULT) & 0xFFFFFFFF

    def report(self, cpu: Cpu) -> int:
        """A #DB of the guest: take over what the processor says about it, and reset its DR6 as Xen does.

        Gives the processor's DR6.
        """
        cause = cpu.get_dr(6)
        self.triggered(cause)
        cpu.set_dr(6, DR6_DEFAULT)
        return cause

    def is_instruction_breakpoint(self, cause: int) -> bool:
        """Whether a #DB with `cause` in DR6 came before its instruction: a fault, unlike all others."""
        hit = [index for index in range(4) if cause >> index & 1]
        return bool(hit) and not cause & Dr6.BS and not any(self.dr7 >> 16 + 4 * index & 3 for index in hit)

    def stepped(self, bits: int = DR6_STEP) -> None:
        """An emulated instruction ended in a single step or touched a port with a breakpoint on it."""
        self.dr6 |= bits | DR6_RESERVED_ONE

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
        if value & DR7_GENERAL_DETECT:
            raise Refusal(Errno.EPERM, "DR7.GD would trap the hypervisor's own use of the debug registers")
        emulated = 0
        if value & DR7_ENABLED:
            for index in range(4):
                if value >> 16 + 4 * index & 3 != BREAK_IO:
                    continue
                if not cr4 & Cr4.DE:
                    raise Refusal(Errno.EPERM, f"breakpoint {index} is for I/O, which needs CR4.DE")
                emulated |= value & 3 << 2 * index
        self.emulated = emulated
        self.dr7 = value & ~emulated
        cpu.set_dr(7, self.dr7)
