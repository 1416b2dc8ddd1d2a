"""memory_op (public/memory.h): a domain's reservation, its memory map, the machine-to-phys table."""

from typing import TYPE_CHECKING, Annotated

from paravane.abi.hypercall import Hypercall
from paravane.abi.layout import show_number
from paravane.abi.memory import MemoryOp
from paravane.abi.shared_info import SHARED_INFO
from paravane.hypercalls.table import Ptr, Word, hypercall
from paravane.memory.memory_op import memory_op as run_memory_op
from paravane.memory.reservation import CONTINUATION_SHIFT

if TYPE_CHECKING:
    from paravane.vcpu import Vcpu

_MAX_PFN = SHARED_INFO.offsets["arch.max_pfn"]


def _command_text(cmd: int) -> str:
    start = cmd >> CONTINUATION_SHIFT
    name = show_number(cmd & (1 << CONTINUATION_SHIFT) - 1, MemoryOp)
    return f"{name}+{start}" if start else name


@hypercall(Hypercall.memory_op)
def memory_op(vcpu: "Vcpu", cmd: Annotated[int, Word(_command_text)], arg: Ptr) -> int:
    """Ask about memory, give some back, get some, exchange some."""
    at = vcpu.domain.shared_info + _MAX_PFN
    max_pfn = int.from_bytes(vcpu.platform.ram.bytes[at : at + 4], "little")
    return run_memory_op(vcpu, cmd, arg, max_pfn)
