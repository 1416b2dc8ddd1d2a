"""Records of Xen's trace buffers, as `xentrace` saves them and `xenalyze` reads them (public/trace.h).

A record is a header word, the time-stamp counter as two words if the header says so, and up to seven words of
data. The header: bits 0-27 the event, bits 28-30 the number of data words, bit 31 whether there is a time
stamp. An event's bits 16-27 are its class, 12-15 its subclass, 0-11 its number.
"""

from enum import IntEnum
from typing import Final

from paravane.abi.names import c_names

TRACE_EXTRA_MAX: Final = 7
TRACE_EXTRA_SHIFT: Final = 28
TRC_HD_CYCLE_FLAG: Final = 1 << 31

TRC_64_FLAG: Final = 0x100
"""Set in events of PV guests whose addresses are two words each."""

TRC_PV_HYPERCALL_V2_ARG_MASK: Final = 0xFFF00000
"""In the first data word of TRC_PV_HYPERCALL_V2: two bits for each argument, 1 for one word, 2 for two words
of the data that follows. The rest is the number of the hypercall."""


@c_names("TRC_")
class TraceEvent(IntEnum):
    """What the hypervisor and PV guests have in traces: classes general, scheduler, domain, memory and PV.

    A change of run state has the old state in bits 8-11 and the new one in bits 4-7 of its event.
    """

    LOST_RECORDS = 0x1F001
    TRACE_WRAP_BUFFER = 0x1F002
    TRACE_CPU_CHANGE = 0x1F003

    SCHED_RUNSTATE_CHANGE = 0x21001
    SCHED_CONTINUE_RUNNING = 0x21002
    SCHED_DOM_ADD = 0x28001
    SCHED_DOM_REM = 0x28002
    SCHED_SLEEP = 0x28003
    SCHED_WAKE = 0x28004
    SCHED_YIELD = 0x28005
    SCHED_BLOCK = 0x28006
    SCHED_SHUTDOWN = 0x28007
    SCHED_CTL = 0x28008
    SCHED_ADJDOM = 0x28009
    SCHED_SWITCH = 0x2800A
    SCHED_S_TIMER_FN = 0x2800B
    SCHED_T_TIMER_FN = 0x2800C
    SCHED_DOM_TIMER_FN = 0x2800D
    SCHED_SWITCH_INFPREV = 0x2800E
    SCHED_SWITCH_INFNEXT = 0x2800F
    SCHED_SHUTDOWN_CODE = 0x28010
    SCHED_SWITCH_INFCONT = 0x28011

    DOM0_DOM_ADD = 0x41001
    DOM0_DOM_REM = 0x41002

    MEM_PAGE_GRANT_MAP = 0x10F001
    MEM_PAGE_GRANT_UNMAP = 0x10F002
    MEM_PAGE_GRANT_TRANSFER = 0x10F003
    MEM_SET_P2M_ENTRY = 0x10F004
    MEM_DECREASE_RESERVATION = 0x10F005
    MEM_POD_POPULATE = 0x10F010
    MEM_POD_ZERO_RECLAIM = 0x10F011
    MEM_POD_SUPERPAGE_SPLINTER = 0x10F012

    PV_HYPERCALL = 0x201001
    PV_TRAP = 0x201003
    PV_PAGE_FAULT = 0x201004
    PV_FORCED_INVALID_OP = 0x201005
    PV_EMULATE_PRIVOP = 0x201006
    PV_EMULATE_4GB = 0x201007
    PV_MATH_STATE_RESTORE = 0x201008
    PV_PAGING_FIXUP = 0x201009
    PV_GDT_LDT_MAPPING_FAULT = 0x20100A
    PV_PTWR_EMULATION = 0x20100B
    PV_PTWR_EMULATION_PAE = 0x20100C
    PV_HYPERCALL_V2 = 0x20100D
    PV_HYPERCALL_SUBCALL = 0x20200E
