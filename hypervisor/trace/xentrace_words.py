"""What the words of a record of xentrace's say, as far as hypervisor and PV guests write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paravane.abi.callback import CallbackOp
from paravane.abi.console import ConsoleIo
from paravane.abi.control import HvmOp
from paravane.abi.event_channel import EvtchnOp
from paravane.abi.grant_table import GnttabOp
from paravane.abi.hypercall import Hypercall
from paravane.abi.memory import MemoryOp
from paravane.abi.nmi import NmiOp
from paravane.abi.physdev import PhysdevOp
from paravane.abi.sched import SchedOp, ShutdownReason
from paravane.abi.trace import TRC_64_FLAG, TRC_PV_HYPERCALL_V2_ARG_MASK, TraceEvent
from paravane.abi.vcpu import VcpuOp
from paravane.abi.version import XenVersion
from paravane.classes import NamedTuple
from paravane.place import Place
from paravane.trace.xentrace import ARGUMENT_SHIFT
from paravane.x86 import Vector

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import IntEnum

Words = tuple[int, ...]


class Found(NamedTuple):
    """An entry without its time; `whose` is the domain and vcpu, None for those that run."""

    kind: str
    name: str
    data: dict[str, Any]
    place: Place | None = None
    whose: tuple[int, int | None] | None = None


COMMANDS: Final[dict[int, type[IntEnum]]] = {
    Hypercall.sched_op: SchedOp,
    Hypercall.sched_op_compat: SchedOp,
    Hypercall.memory_op: MemoryOp,
    Hypercall.xen_version: XenVersion,
    Hypercall.console_io: ConsoleIo,
    Hypercall.grant_table_op: GnttabOp,
    Hypercall.vcpu_op: VcpuOp,
    Hypercall.callback_op: CallbackOp,
    Hypercall.event_channel_op: EvtchnOp,
    Hypercall.physdev_op: PhysdevOp,
    Hypercall.nmi_op: NmiOp,
    Hypercall.hvm_op: HvmOp,
}
"""Hypercalls whose first argument is a command, which their names here end in."""

_PV_CLASS: Final = 0x200000
_EMULATED: Final = {
    TraceEvent.PV_EMULATE_PRIVOP: (Vector.GP, "emulated"),
    TraceEvent.PV_FORCED_INVALID_OP: (Vector.UD, "emulated cpuid"),
    TraceEvent.PV_EMULATE_4GB: (Vector.GP, "emulated segment wrap"),
}
_ADDRESSES: Final[dict[int, tuple[int, int]]] = {
    TraceEvent.PV_PAGE_FAULT: (0, 2),
    TraceEvent.PV_PAGING_FIXUP: (0, 2),
    TraceEvent.PV_GDT_LDT_MAPPING_FAULT: (0, 2),
    TraceEvent.PV_PTWR_EMULATION: (2, 2),
}
"""Records with other addresses than one that comes first: where they begin, and how many there are."""

_GRANTS: Final = {
    TraceEvent.MEM_PAGE_GRANT_MAP: "map",
    TraceEvent.MEM_PAGE_GRANT_UNMAP: "release",
    TraceEvent.MEM_PAGE_GRANT_TRANSFER: "transfer",
}


def read_words(event: int, words: Words) -> Found:
    """What a record says. One that is unknown, or that has too few words, is an entry of kind `xentrace`."""
    wide = bool(event & _PV_CLASS and event & TRC_64_FLAG)
    number = event & ~TRC_64_FLAG if wide else event
    try:
        found = _READERS[number](number, _narrow(number, words) if wide else words)
    except (IndexError, KeyError):
        return Found("xentrace", f"{event:#x}", {"words": list(words)})
    return found


def _narrow(event: int, words: Words) -> Words:
    """The words of a 64-bit guest's record as a 32-bit guest's has them: each address one word."""
    first, count = _ADDRESSES.get(event, (0, 1))
    end = first + 2 * count
    wide = [words[at] | words[at + 1] << 32 for at in range(first, end, 2)]
    return (*words[:first], *wide, *words[end:])


def _hypercall(event: int, words: Words) -> Found:
    number = words[0] & ~TRC_PV_HYPERCALL_V2_ARG_MASK
    arguments: dict[str, int] = {}
    rest = list(words[1:])
    for at in range(6):
        for shift in range(words[0] >> ARGUMENT_SHIFT + 2 * at & 3):
            name = f"arg{at}"
            arguments[name] = arguments.get(name, 0) | rest.pop(0) << 32 * shift
    data: dict[str, Any] = {"number": number, "arguments": arguments}
    if event == TraceEvent.PV_HYPERCALL_SUBCALL:
        data["in"] = "multicall"
    return Found("hypercall", _call_name(number, arguments.get("arg0")), data)


def _old_hypercall(event: int, words: Words) -> Found:
    data = {"number": words[1], "arguments": {}}
    return Found("hypercall", _call_name(words[1], None), data, Place(words[0]))


def _call_name(number: int, command: int | None) -> str:
    try:
        name = Hypercall(number).name.rstrip("_")
    except ValueError:
        return ""
    commands = COMMANDS.get(number)
    if commands is None or command not in set(commands):
        return name
    return f"{name}.{commands(command).name.rstrip('_')}"


def _trap(event: int, words: Words) -> Found:
    vector = words[1] & 0x7FFF
    data: dict[str, Any] = {"vector": vector, "outcome": "bounced"}
    if words[1] & 0x8000:
        data["error_code"] = words[1] >> 16 & 0xFFFF
    return Found("trap", _trap_name(vector), data, Place(words[0]))


def _page_fault(event: int, words: Words) -> Found:
    data = {"vector": int(Vector.PF), "error_code": words[2], "cr2": words[1], "outcome": "bounced"}
    return Found("trap", _trap_name(Vector.PF), data, Place(words[0]))


def _emulated(event: int, words: Words) -> Found:
    vector, outcome = _EMULATED[TraceEvent(event)]
    return Found("trap", _trap_name(vector), {"vector": int(vector), "outcome": outcome}, Place(words[0]))


def _fpu(event: int, words: Words) -> Found:
    return Found("trap", _trap_name(Vector.NM), {"vector": int(Vector.NM), "outcome": "emulated"})


def _table_store(event: int, words: Words) -> Found:
    pte = words[0] | words[1] << 32
    data = {"vector": int(Vector.PF), "cr2": words[2], "pte": pte, "outcome": "emulated"}
    return Found("trap", _trap_name(Vector.PF), data, Place(words[3]))


def _mapped(event: int, words: Words) -> Found:
    """Xen mapped what was missing: of a shadow page table, or of the LDT, which has an offset only."""
    data: dict[str, Any] = {"vector": int(Vector.PF), "outcome": "mapped"}
    data["cr2" if event == TraceEvent.PV_PAGING_FIXUP else "ldt_offset"] = words[1]
    return Found("trap", _trap_name(Vector.PF), data, Place(words[0]))


def _trap_name(vector: int) -> str:
    return f"#{Vector(vector).name}" if vector in set(Vector) else f"int {vector:#04x}"


def _grant(event: int, words: Words) -> Found:
    return Found("grant", _GRANTS[TraceEvent(event)], {}, whose=(words[0], None))


def _domain(event: int, words: Words) -> Found:
    name = "built" if event == TraceEvent.DOM0_DOM_ADD else "destroyed"
    return Found("domain", name, {}, whose=(words[0], None))


def _shutdown(event: int, words: Words) -> Found:
    domid, vcpu, reason = words[0], words[1], words[2]
    named = ShutdownReason(reason).name if reason in set(ShutdownReason) else reason
    name = "shut down" if event == TraceEvent.SCHED_SHUTDOWN else "shutdown code"
    return Found("domain", name, {"reason": named}, whose=(domid, vcpu))


def _sleep(event: int, words: Words) -> Found:
    return Found("schedule", "sleep", {}, whose=(words[0], words[1]))


def _lost(event: int, words: Words) -> Found:
    return Found("lost", "records", {"count": words[0]}, whose=(words[1] & 0xFFFF, words[1] >> 16))


_READERS: Final[dict[int, Callable[[int, Words], Found]]] = {
    TraceEvent.LOST_RECORDS: _lost,
    TraceEvent.SCHED_SLEEP: _sleep,
    TraceEvent.SCHED_SHUTDOWN: _shutdown,
    TraceEvent.SCHED_SHUTDOWN_CODE: _shutdown,
    TraceEvent.DOM0_DOM_ADD: _domain,
    TraceEvent.DOM0_DOM_REM: _domain,
    **dict.fromkeys(_GRANTS, _grant),
    TraceEvent.PV_HYPERCALL: _old_hypercall,
    TraceEvent.PV_HYPERCALL_V2: _hypercall,
    TraceEvent.PV_HYPERCALL_SUBCALL: _hypercall,
    TraceEvent.PV_TRAP: _trap,
    TraceEvent.PV_PAGE_FAULT: _page_fault,
    **dict.fromkeys(_EMULATED, _emulated),
    TraceEvent.PV_MATH_STATE_RESTORE: _fpu,
    TraceEvent.PV_PTWR_EMULATION: _table_store,
    TraceEvent.PV_PTWR_EMULATION_PAE: _table_store,
    TraceEvent.PV_PAGING_FIXUP: _mapped,
    TraceEvent.PV_GDT_LDT_MAPPING_FAULT: _mapped,
}
