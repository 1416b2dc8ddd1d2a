"""The trace stream and the text of its records."""

import pytest

from paravane.abi.errno import Errno
from paravane.abi.event_channel import EVTCHN_BIND_VIRQ, EvtchnBindVirq, Virq
from paravane.abi.parameters import In, InOut, Word
from paravane.abi.sched import ShutdownReason
from paravane.abi.vcpu import VCPU_GUEST_CONTEXT
from paravane.place import Place
from paravane.trace import (
    Argument,
    DomainEvent,
    DomainRecord,
    HypercallRecord,
    Kind,
    Record,
    RefusalRecord,
    Trace,
    TrapRecord,
    UpcallRecord,
    Written,
)
from paravane.trace.text import body, line

WORDS = (1, 0xC0002000, 0, 0, 0, 0)
HERE = Place(0xC0001000)


def test_writers_get_the_kinds_they_asked_for() -> None:
    trace, everything, refusals = Trace(), list[Record](), list[Record]()
    assert not trace.wants(Kind.EVENT)
    trace.subscribe(everything.append)
    trace.subscribe(refusals.append, (Kind.REFUSAL,))
    event = UpcallRecord(1, 1, 0, None, (3,))
    refusal = RefusalRecord(2, 1, 0, None, "mmu_update", Errno.EINVAL, "the frame is not the domain's")
    trace.write(event)
    trace.write(refusal)
    assert everything == [event, refusal]
    assert refusals == [refusal]


def test_what_a_subscriber_raises_waits_until_somebody_asks() -> None:
    trace, records = Trace(), list[Record]()

    def fail(record: Record) -> None:
        raise ValueError(record.time)

    trace.subscribe(fail)
    trace.subscribe(records.append)
    for time in (1, 2):
        trace.write(UpcallRecord(time, 1, 0, HERE, (3,)))
    assert len(records) == 2
    with pytest.raises(ValueError, match="1"):
        trace.raise_failure()
    trace.raise_failure()


def test_a_subscription_can_be_ended() -> None:
    trace, records = Trace(), list[Record]()
    unsubscribe = trace.subscribe(records.append, (Kind.HYPERCALL,))
    assert trace.hypercalls
    unsubscribe()
    unsubscribe()
    assert not trace.hypercalls
    assert not trace.wants(Kind.HYPERCALL)


def test_sources_are_told_when_what_is_wanted_may_have_changed() -> None:
    trace, wanted = Trace(), list[bool]()
    unwatch = trace.watch(lambda: wanted.append(trace.wants(Kind.TRAP)))
    unsubscribe = trace.subscribe(lambda record: None, (Kind.TRAP,))
    unsubscribe()
    unwatch()
    trace.subscribe(lambda record: None)
    assert wanted == [False, True, False]


def test_a_call_reads_as_one_line() -> None:
    arguments = (Argument("arg", Word(hex), 0, 0),)
    place = Place(0xC0001000, "main", 0x20, "kernel.S", 12)
    call = HypercallRecord(1_000_000_002, 3, 0, place, 17, "xen_version.version", WORDS, arguments, 262161)
    assert line(call) == (
        "[    1.000000002] d3v0 hypercall xen_version.version(arg=0) = 262161              "
        "@0xc0001000 <main+0x20> kernel.S:12"
    )


def test_structs_errnos_and_numbers_without_a_declaration() -> None:
    kind, asked = InOut(EVTCHN_BIND_VIRQ), EvtchnBindVirq(Virq.TIMER, 0, 0)
    readable = (Argument("arg", kind, 0xC0002000, asked),)
    head = (0, 1, 0, HERE, 32, "event_channel_op.bind_virq", WORDS)
    written = Written(EVTCHN_BIND_VIRQ, asked._replace(port=3))
    assert body(HypercallRecord(*head, readable, 0, written=written)) == (
        "event_channel_op.bind_virq(arg={virq=TIMER vcpu=0 port=0}) = 0 {virq=TIMER vcpu=0 port=3}"
    )
    unreadable = (Argument("arg", kind, 0xC0002000, None),)
    assert body(HypercallRecord(*head, unreadable, -14, Errno.EFAULT, "no such page")) == (
        "event_channel_op.bind_virq(arg=0xc0002000) = -EFAULT"
    )
    unknown = HypercallRecord(0, 1, 0, HERE, 99, "", WORDS, (), -38, Errno.ENOSYS)
    assert body(unknown) == "hypercall_99(0x1, 0xc0002000, 0x0, 0x0, 0x0, 0x0) = -ENOSYS"


def test_a_call_with_the_largest_struct_reads_as_a_line_that_is_not_too_long() -> None:
    hostile = VCPU_GUEST_CONTEXT.unpack(b"\xff" * VCPU_GUEST_CONTEXT.size)
    arguments = (Argument("arg", In(VCPU_GUEST_CONTEXT), 0xC0002000, hostile),)
    text = body(HypercallRecord(0, 1, 0, HERE, 24, "vcpu_op.initialise", WORDS, arguments, 0))
    assert len(text) < 2500
    assert text.isprintable()
    assert "..." in text


def test_traps_events_and_domains_read_as_one_line_each() -> None:
    handler = (0xE019, 0xC0002000)
    fault = TrapRecord(0, 3, 1, HERE, 1, 14, "#PF", 2, 0x1234, "bounced", handler)
    assert line(fault) == (
        "[    0.000000000] d3v1 trap      #PF error=0x2 cr2=0x00001234 ring=1 -> bounced to "
        "0xe019:0xc0002000 @0xc0001000"
    )
    assert body(TrapRecord(0, 3, 1, HERE, 3, 128, "int 0x80", None, None, "direct", None)) == (
        "int 0x80 ring=3 -> direct"
    )
    assert body(UpcallRecord(0, 3, 1, HERE, (3, 5), (7,))) == "upcall 3 5 (flow 7)"
    assert line(DomainRecord(0, 3, None, None, DomainEvent.BUILT, "one")) == (
        "[    0.000000000] d3   domain    built: one"
    )
    ended = DomainRecord(0, 3, None, None, DomainEvent.ENDED, "one", ShutdownReason.reboot)
    assert body(ended) == "shut down: reboot"
    assert str(ended.reason) == "reboot"
