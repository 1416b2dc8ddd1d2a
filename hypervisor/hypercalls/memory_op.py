"""memory_op (public/memory.h): a domain's reservation, its memory map, the machine-to-phys table."""

from typing import TYPE_CHECKING, Annotated

from paravane.abi.hypercall import Hypercall
from paravane.abi.layout import show_number
from paravane.abi.memory import MemoryOp
from paravane.hypercalls.table import Ptr, Word, hypercall
from paravane.memory.memory_queries import memory_op as run_memory_op
from paravane.memory.reservation import CONTINUATION_SHIFT

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller


def _command_text(cmd: int) -> str:
    start = cmd >> CONTINUATION_SHIFT
    name = show_number(cmd & (1 << CONTINUATION_SHIFT) - 1, MemoryOp)
    return f"{name}+{start}" if start else name


@hypercall(Hypercall.memory_op)
def memory_op(caller: "Caller", cmd: Annotated[int, Word(_command_text)], arg: Ptr) -> int:
    """Ask about memory, give some back, get some, exchange some."""
    return run_memory_op(caller, cmd, arg, caller.domain.max_pfn)
