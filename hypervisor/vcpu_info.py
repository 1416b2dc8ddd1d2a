"""Where the vcpu_info of a vcpu is: one truth for its event channels, its traps and its time."""

from __future__ import annotations


class VcpuInfo:
    """The machine address of one vcpu_info (public/xen.h, `struct vcpu_info`).

    `maddr` changes when the guest moves it (VCPUOP_register_vcpu_info). It is 0, an address no domain has
    memory at, as long as a vcpu beyond the legacy ones has registered none.
    """

    __slots__ = ("maddr",)

    def __init__(self, maddr: int = 0) -> None:
        self.maddr = maddr
