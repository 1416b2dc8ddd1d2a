"""Where the vcpu_info of a vcpu is: one truth for its event channels, its traps and its time."""

from __future__ import annotations

from array import array


class VcpuInfo:
    """The machine address of one vcpu_info (public/xen.h, `struct vcpu_info`).

    `maddr` changes, by `move`, when the guest moves it (VCPUOP_register_vcpu_info). It is 0, an address no
    domain has memory at, as long as a vcpu beyond the legacy ones has registered none. `cell` has it for
    native code.
    """

    __slots__ = ("cell", "maddr")

    def __init__(self, maddr: int = 0) -> None:
        self.maddr = maddr
        self.cell = array("q", (maddr,))

    def move(self, maddr: int) -> None:
        """It is at `maddr` from now on."""
        self.maddr = self.cell[0] = maddr
