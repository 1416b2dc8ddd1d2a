"""Machine frames, validated direct paging, descriptor tables and reservations."""

from hypervisor.memory.domain_memory import DomainMemory
from hypervisor.memory.frames import FrameFlag, FrameTable, FrameType
from hypervisor.memory.machine_memory import MachineMemory
from hypervisor.memory.vcpu_paging import DescriptorFault, Fix, VcpuPaging

__all__ = [
    "DescriptorFault",
    "DomainMemory",
    "Fix",
    "FrameFlag",
    "FrameTable",
    "FrameType",
    "MachineMemory",
    "VcpuPaging",
]
