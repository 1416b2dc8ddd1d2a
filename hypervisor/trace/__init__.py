"""What guests asked, and what came of it: typed records, one stream of them, and the forms they are read in.

Records are data: numbers, decoded values, errnos, places. What they look like as text, or in a file, is a
writer's business. An `Entry` is a record without its Python types, as files hold it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.late import late
from paravane.trace.kinds import DomainEvent, Kind
from paravane.trace.stream import Scene, Selection, Subscriber, Trace, Who

if TYPE_CHECKING:
    from paravane.trace.call import Argument, Written
    from paravane.trace.entry import Entry, entry_of
    from paravane.trace.records import (
        BreakpointRecord,
        ConsoleRecord,
        DomainRecord,
        EventRecord,
        GrantRecord,
        HypercallRecord,
        InstructionRecord,
        PageRecord,
        Record,
        RefusalRecord,
        RingRecord,
        ScheduleRecord,
        SendRecord,
        StoreRecord,
        TimerRecord,
        TrapRecord,
        UpcallRecord,
        VirqRecord,
    )
    from paravane.trace.writer import Header, Writer
else:
    __getattr__ = late(
        __name__,
        call="Argument Written",
        entry="Entry entry_of",
        records="BreakpointRecord ConsoleRecord DomainRecord EventRecord GrantRecord HypercallRecord "
        "InstructionRecord PageRecord Record RefusalRecord RingRecord ScheduleRecord SendRecord StoreRecord "
        "TimerRecord TrapRecord UpcallRecord VirqRecord",
        writer="Header Writer",
    )

__all__ = [
    "Argument",
    "BreakpointRecord",
    "ConsoleRecord",
    "DomainEvent",
    "DomainRecord",
    "Entry",
    "EventRecord",
    "GrantRecord",
    "Header",
    "HypercallRecord",
    "InstructionRecord",
    "Kind",
    "PageRecord",
    "Record",
    "RefusalRecord",
    "RingRecord",
    "ScheduleRecord",
    "Scene",
    "Selection",
    "SendRecord",
    "StoreRecord",
    "Subscriber",
    "TimerRecord",
    "Trace",
    "TrapRecord",
    "UpcallRecord",
    "VirqRecord",
    "Who",
    "Writer",
    "Written",
    "entry_of",
]
