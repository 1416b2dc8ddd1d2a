"""Machine frames, validated direct paging, descriptor tables and reservations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.late import late
from paravane.memory.audit import audit
from paravane.memory.frames import FrameFlag, FrameTable, FrameType

if TYPE_CHECKING:
    from paravane.memory.address_space import MAX_VCPUS
    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.initial_tables import check_tables, install_tables, uninstall_tables
    from paravane.memory.machine_memory import MachineMemory, check_nr_frames
    from paravane.memory.page_faults import fix_page_fault
    from paravane.memory.vcpu_paging import DescriptorFault, Fix, VcpuPaging
else:
    # What needs a processor. Traces are read, and told apart by types of frames, without one.
    __getattr__ = late(
        __name__,
        address_space="MAX_VCPUS",
        domain_memory="DomainMemory",
        initial_tables="check_tables install_tables uninstall_tables",
        machine_memory="MachineMemory check_nr_frames",
        page_faults="fix_page_fault",
        vcpu_paging="DescriptorFault Fix VcpuPaging",
    )

__all__ = [
    "MAX_VCPUS",
    "DescriptorFault",
    "DomainMemory",
    "Fix",
    "FrameFlag",
    "FrameTable",
    "FrameType",
    "MachineMemory",
    "VcpuPaging",
    "audit",
    "check_nr_frames",
    "check_tables",
    "fix_page_fault",
    "install_tables",
    "uninstall_tables",
]
