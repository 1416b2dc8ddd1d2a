"""What the vcpus of one domain share of the hardware it does not have."""

from __future__ import annotations

from dataclasses import field

from paravane.abi.errno import Errno
from paravane.classes import dataclass
from paravane.refusal import Refusal
from paravane.traps.emulate.ports import PortSpace

NR_GSIS = 24
NR_PIRQS = NR_GSIS + 256
"""Physical interrupt numbers of an ordinary domain: those of the I/O APIC and 256 for messages."""

FIRST_FREE_GSI = 16


@dataclass(slots=True)
class PhysicalIrqs:
    """Numbers of physical interrupts. A domain without devices can reserve them and never gets one."""

    reserved: set[int] = field(default_factory=set)
    eoi_map: int | None = None

    def check(self, irq: int) -> None:
        """Refusal(EINVAL) for a number the domain does not have."""
        if not 0 <= irq < NR_PIRQS:
            raise Refusal(Errno.EINVAL, f"physical interrupt {irq} does not exist, there are {NR_PIRQS}")

    def reserve(self, *, pin: bool) -> int:
        """The next free number: upwards from 16 for a pin of an I/O APIC, else downwards from the top."""
        wanted = list(range(FIRST_FREE_GSI, NR_GSIS)) if pin else []
        for irq in (*wanted, *reversed(range(NR_GSIS, NR_PIRQS))):
            if irq not in self.reserved:
                self.reserved.add(irq)
                return irq
        raise Refusal(Errno.ENOSPC, f"all {len(self.reserved)} physical interrupts are reserved")

    def set_eoi_map(self, mfn: int) -> None:
        """Frame for the bitmap of interrupts that need an EOI; none ever will. Refusal(EBUSY) for a second
        one."""
        if self.eoi_map is not None:
            raise Refusal(Errno.EBUSY, f"frame {self.eoi_map:#x} is the EOI bitmap already")
        self.eoi_map = mfn


@dataclass(slots=True)
class Peripherals:
    """I/O ports and interrupt numbers of one domain."""

    ports: PortSpace = field(default_factory=PortSpace)
    irqs: PhysicalIrqs = field(default_factory=PhysicalIrqs)
