"""What guests asked, and what came of it: typed records, one stream of them, and the forms they are read in.

Records are data: numbers, decoded values, errnos, places. What they look like as text, or in a file, is a
writer's business. An `Entry` is a record without its Python types, as files hold it.
"""

from paravane.trace.entry import Entry, entry_of
from paravane.trace.records import (
    Argument,
    BreakpointRecord,
    ConsoleRecord,
    DomainEvent,
    DomainRecord,
    EventRecord,
    GrantRecord,
    HypercallRecord,
    InstructionRecord,
    Kind,
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
    Written,
)
from paravane.trace.stream import Scene, Selection, Subscriber, Trace, Who
from paravane.trace.writer import Header, Writer

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
