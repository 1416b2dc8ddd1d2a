"""What a filter takes, and what it says of words that make none."""

from __future__ import annotations

import pytest

from paravane.abi.errno import Errno
from paravane.abi.event_channel import Virq
from paravane.hypercalls import names
from paravane.place import Place
from paravane.trace import (
    ConsoleRecord,
    DomainEvent,
    DomainRecord,
    Entry,
    GrantRecord,
    HypercallRecord,
    Kind,
    PageRecord,
    Record,
    RefusalRecord,
    RingRecord,
    ScheduleRecord,
    SendRecord,
    StoreRecord,
    TimerRecord,
    Trace,
    TrapRecord,
    UpcallRecord,
    VirqRecord,
    entry_of,
)
from paravane.trace.filters import DEFAULT, FilterError, parse

HERE = Place(0xC0001000)
NOWHERE = (0, 1, None, None)
WORDS = (0,) * 6

BLOCK = HypercallRecord(0, 1, 0, HERE, 29, "sched_op.block", WORDS, (), 0)
UPDATE = HypercallRecord(0, 2, 1, HERE, 1, "mmu_update", WORDS, (), 0)
REFUSAL = RefusalRecord(0, 1, 0, HERE, "event_channel_op", Errno.EINVAL, "port 9 is free")
FAULT = TrapRecord(0, 1, 0, HERE, 3, 14, "#PF", 4, 0, "bounced", None)
CALL = TrapRecord(0, 2, 0, HERE, 3, 0x80, "int 0x80", None, None, "direct", None)
SEND = SendRecord(0, 2, 0, HERE, 4, 1, 3, 1)
UPCALL = UpcallRecord(0, 1, 0, HERE, (3, 7), (1,))
VIRQ = VirqRecord(0, 1, 0, None, Virq.TIMER, 5, None)
TIMER = TimerRecord(0, 1, 0, HERE, "armed", "single-shot", 5)
GONE = ScheduleRecord(0, 1, 0, HERE, "out", "blocked")
PAGE = PageRecord(0, 1, 0, HERE, "type", 0x2A, 1, "writable_page", "l1_page_table", 0)
GRANT = GrantRecord(*NOWHERE, "map", 8, 0, 0x2A, writable=True)
RING = RingRecord(*NOWHERE, "request", "store", "READ", 20)
READ = StoreRecord(*NOWHERE, "READ", "/local/domain/1/name")
OUT = ConsoleRecord(*NOWHERE, "out", b"hello")
BUILT = DomainRecord(*NOWHERE, DomainEvent.BUILT, "one")
ALL: tuple[Record, ...] = (
    *(BLOCK, UPDATE, REFUSAL, FAULT, CALL, SEND, UPCALL, VIRQ),
    *(TIMER, GONE, PAGE, GRANT, RING, READ, OUT, BUILT),
)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("all", ALL),
        ("domain", (BUILT,)),
        ("domain:2", (UPDATE, CALL, SEND)),
        ("domain:2,hypercall", (UPDATE,)),
        ("domain:1,domain:2,trap", (FAULT, CALL)),
        ("vcpu:1", (UPDATE,)),
        ("domain:1,vcpu:0,event", (UPCALL, VIRQ)),
        ("hypercall", (BLOCK, UPDATE)),
        ("hypercall:mmu_update,refusal", (UPDATE, REFUSAL)),
        ("hypercall:sched_op", (BLOCK,)),
        ("hypercall:sched_op.block", (BLOCK,)),
        ("hypercall:sched_op.poll", ()),
        ("hypercall:29, hypercall:0x1", (BLOCK, UPDATE)),
        ("hypercall:mmu_update,hypercall", (BLOCK, UPDATE)),
        ("hypercall,hypercall:mmu_update", (BLOCK, UPDATE)),
        ("trap:14", (FAULT,)),
        ("trap:0x80", (CALL,)),
        ("trap:PF", (FAULT,)),
        ("exception:#pf", (FAULT,)),
        ("refusal:EINVAL", (REFUSAL,)),
        ("refusal:-EPERM", ()),
        ("refusal:event_channel_op", (REFUSAL,)),
        ("event:3", (SEND, UPCALL)),
        ("event:4,event:virq", (SEND, VIRQ)),
        ("timer:single-shot", (TIMER,)),
        ("timer:expired", ()),
        ("schedule:blocked", (GONE,)),
        ("page:0x2a", (PAGE,)),
        ("page:l1_page_table", (PAGE,)),
        ("grant:8", (GRANT,)),
        ("grant:release", ()),
        ("ring:store", (RING,)),
        ("store:/local/domain/1", (READ,)),
        ("store:/local/domain/2", ()),
        ("store:read", (READ,)),
        ("console:in", ()),
        (DEFAULT, (BLOCK, UPDATE, REFUSAL, FAULT, CALL, SEND, UPCALL, VIRQ, BUILT)),
    ],
)
def test_a_filter_takes_records_and_their_entries_alike(text: str, taken: tuple[Record, ...]) -> None:
    chosen = parse(text, names())
    assert tuple(record for record in ALL if chosen.takes(record)) == taken
    assert tuple(record for record in ALL if chosen.takes(entry_of(record))) == taken
    assert {record.kind for record in taken} <= chosen.kinds


def test_kinds_alone_need_no_look_at_records() -> None:
    assert parse("trap,event").whole
    assert parse("trap,event").kinds == {Kind.TRAP, Kind.EVENT}
    assert not any(parse(text).whole for text in ("trap:14,event", "trap,domain:1", "trap,vcpu:0"))


def test_entries_of_a_kind_that_is_none_of_ours_are_taken_by_nothing() -> None:
    foreign = Entry(0, 0, 1, 0, "weather", "rain")
    assert not parse("all").takes(foreign)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is no kind of event: there are hypercall, refusal, trap,"),
        ("trap,,event", "'' is no kind of event"),
        ("trapp", "did you mean trap?"),
        ("all:3", "all is every kind, and nothing is said after it"),
        ("domain:", "domain: does not name a domain by its number, as domain:1 does"),
        ("domain:one", "domain:one does not name"),
        ("vcpu:-1", "vcpu:-1 does not name a vcpu"),
        ("hypercall:mmu_updat", "there is no hypercall 'mmu_updat': did you mean mmu_update?"),
        ("hypercall:", "hypercall: says nothing after the colon; hypercall alone is all of it"),
        ("timer,page:", "page: says nothing after the colon; page alone is all of it"),
        ("trap:256", "a vector up to 255, or one of DE,"),
        ("trap:PFF", "there is no trap 'PFF'"),
        ("refusal:EINVALID", "there is no errno 'EINVALID'"),
        ("event:sent", "event:sent names none of send, upcall, virq, nor a port"),
        ("grant:x", "grant:x names none of map, copy, release, transfer, nor a grant reference"),
        ("timer:singleshot", "timer:singleshot names none of armed,"),
        ("timer:singleshot", "(did you mean single-shot?)"),
        ("schedule:bloked", "(did you mean blocked?)"),
        ("page:l1_page_tabel", "(did you mean l1_page_table?)"),
        ("page:nothing", ", writable_page, nor a machine frame"),
        ("grant:relaese", "(did you mean release?)"),
        ("ring:stoer", "(did you mean store?)"),
        ("store:RAED", "nor a path, which begins with / or @ (did you mean READ?)"),
        ("store:local", "nor a path, which begins with /"),
        ("console:inn", "console:inn names none of out, in (did you mean in?)"),
        ("breakpoint:raed", "(did you mean read?)"),
        ("refusal:mmu_updat", "there is no request 'mmu_updat': did you mean mmu_update?"),
    ],
)
def test_what_makes_no_filter_is_answered_with_what_could_stand_there(text: str, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text, names())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_table_hypercalls_are_known_by_family() -> None:
    assert parse("hypercall:sched_op.anything").takes(BLOCK) is False
    with pytest.raises(FilterError, match="there is no hypercall 'sched_opp'"):
        parse("hypercall:sched_opp")


def test_a_stream_asks_the_filter_only_where_kinds_do_not_decide() -> None:
    trace, faults = Trace(), list[Record]()
    unsubscribe = trace.subscribe(faults.append, parse("trap:14"))
    assert trace.wants(Kind.TRAP)
    assert not trace.wants(Kind.EVENT)
    for record in ALL:
        trace.write(record)
    assert faults == [FAULT]
    unsubscribe()
    assert not trace.wants(Kind.TRAP)
