"""What the traps of one vcpu ask of the vcpu around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from paravane.cpu import Cpu
    from paravane.vcpu_info import VcpuInfo


class TrapHost(Protocol):
    """One vcpu as its traps see it.

    `info` says where its vcpu_info is; the guest may move it (VCPUOP_register_vcpu_info).
    """

    @property
    def cpu(self) -> Cpu: ...

    @property
    def vcpu_id(self) -> int: ...

    @property
    def info(self) -> VcpuInfo: ...

    @property
    def architectural_iopl(self) -> bool:
        """Whether the domain enabled VMASST_TYPE_architectural_iopl."""
        ...

    @property
    def tsc_khz(self) -> int:
        """Ticks of the virtual TSC per millisecond."""
        ...

    @property
    def max_mfn(self) -> int:
        """Highest machine frame number."""
        ...

    def tsc(self) -> int:
        """The virtual TSC now."""
        ...

    def nmi_reason(self) -> int:
        """The word `arch.nmi_reason` of shared_info."""
        ...

    def guest_cr3(self) -> int:
        """CR3 in the guest's format (xen_pfn_to_cr3 of the base table's mfn)."""
        ...

    def load_guest_cr3(self, value: int) -> None:
        """Make the table that `value` names the base table, as MMUEXT_NEW_BASEPTR would. Raises Refusal."""
        ...

    def map_ldt_page(self, offset: int) -> bool:
        """Have the page mapped that holds byte `offset` of the LDT; False if the guest has no good page
        there."""
        ...

    def fill_hypercall_page(self, mfn: int) -> None:
        """Write the hypercall page into the domain's frame `mfn`. Raises Refusal when it may not be
        written."""
        ...

    def guest_note(self, sentence: str) -> None:
        """Tell the hypervisor's log about something odd that the guest did."""
        ...
