"""The processor: the only room that knows the engine, and nothing of Xen."""

from hypervisor.cpu.code import CodeGroup
from hypervisor.cpu.faults import EngineError, PageFault, SegmentFault
from hypervisor.cpu.geometry import PAE, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, TWO_LEVEL, Geometry
from hypervisor.cpu.paging import WalkStep
from hypervisor.cpu.processor import Cpu, RunEnd, TrapHandler
from hypervisor.cpu.ram import Ram
from hypervisor.cpu.timer import SliceTimer

__all__ = [
    "PAE",
    "PAGE_MASK",
    "PAGE_SHIFT",
    "PAGE_SIZE",
    "TWO_LEVEL",
    "CodeGroup",
    "Cpu",
    "EngineError",
    "Geometry",
    "PageFault",
    "Ram",
    "RunEnd",
    "SegmentFault",
    "SliceTimer",
    "TrapHandler",
    "WalkStep",
]
