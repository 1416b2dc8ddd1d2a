"""The processor: the only package that knows the engine, and nothing of Xen."""

from paravane.cpu.code import CodeGroup
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.engine.report import engine_report
from paravane.cpu.faults import PageFault, SegmentFault
from paravane.cpu.geometry import PAE, PAGE_MASK, TWO_LEVEL, Geometry
from paravane.cpu.handler import TrapHandler
from paravane.cpu.paging import WalkStep
from paravane.cpu.processor import Cpu, RunEnd
from paravane.cpu.ram import Ram
from paravane.cpu.timer import SliceTimer
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

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
    "engine_report",
]
