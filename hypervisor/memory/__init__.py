"""Machine frames, validated direct paging, descriptor tables and reservations."""

from paravane.memory.address_space import MAX_VCPUS
from paravane.memory.audit import audit
from paravane.memory.domain_memory import DomainMemory
from paravane.memory.frames import FrameFlag, FrameTable, FrameType
from paravane.memory.initial_tables import check_tables, install_tables, uninstall_tables
from paravane.memory.machine_memory import MachineMemory, check_nr_frames
from paravane.memory.page_faults import fix_page_fault
from paravane.memory.vcpu_paging import DescriptorFault, Fix, VcpuPaging

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
