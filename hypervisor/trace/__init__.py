"""What guests asked, and what came of it: typed records, one stream of them, and the forms they are read in.

Records are data: numbers, decoded values, errnos, places. What they look like as text, or in a file, is a
writer's business. An `Entry` is a record without its Python types, as files hold it.
"""

from paravane.trace.entry import Entry, entry_of
from paravane.trace.records import (
    Argument,
    DomainEvent,
    DomainRecord,
    EventRecord,
    ExceptionRecord,
    HypercallRecord,
    Kind,
    Record,
    RefusalRecord,
    Written,
)
from paravane.trace.stream import Trace, Writer

__all__ = [
    "Argument",
    "DomainEvent",
    "DomainRecord",
    "Entry",
    "EventRecord",
    "ExceptionRecord",
    "HypercallRecord",
    "Kind",
    "Record",
    "RefusalRecord",
    "Trace",
    "Writer",
    "Written",
    "entry_of",
]
