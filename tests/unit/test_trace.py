"""The trace stream and the text of its records."""

from paravane.trace import EventRecord, ExceptionRecord, HypercallRecord, Kind, Record, RefusalRecord, Trace


def test_writers_get_the_kinds_they_asked_for() -> None:
    trace, everything, refusals = Trace(), list[Record](), list[Record]()
    assert not trace.wants(Kind.EVENT)
    trace.subscribe(everything.append)
    trace.subscribe(refusals.append, (Kind.REFUSAL,))
    event = EventRecord(1, 1, 0, "upcall")
    refusal = RefusalRecord(2, 1, 0, "mmu_update", "EINVAL", "the frame is not the domain's")
    trace.write(event)
    trace.write(refusal)
    assert everything == [event, refusal]
    assert refusals == [refusal]


def test_records_read_as_one_line_each() -> None:
    call = HypercallRecord(1_000_000_002, 3, 0, 0xC0001000, "xen_version.version(arg=0x0)", "262161")
    fault = ExceptionRecord(0, 3, 1, 0xC0001000, 1, "#PF", 2, 0x1234, "bounced to 0xe019:0xc0002000")
    assert call.line() == "[    1.000000002] d3v0 hypercall xen_version.version(arg=0x0) = 262161 @0xc0001000"
    assert fault.line() == (
        "[    0.000000000] d3v1 exception #PF error=0x2 cr2=0x00001234 ring=1 @0xc0001000 -> "
        "bounced to 0xe019:0xc0002000"
    )
