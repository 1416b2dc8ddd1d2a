"""Trace records as plain data: what JSON holds of them, and that it comes back the same."""

import json
from typing import Any, get_args

import pytest

from paravane.abi.errno import Errno
from paravane.abi.event_channel import EVTCHN_BIND_VIRQ, EvtchnBindVirq, Virq
from paravane.abi.mmu import MMU_UPDATE, MmuUpdate
from paravane.abi.parameters import Domid, InOut, Items, UInt
from paravane.abi.sched import ShutdownReason
from paravane.place import Place
from paravane.trace import (
    Argument,
    ConsoleRecord,
    DomainEvent,
    DomainRecord,
    Entry,
    GrantRecord,
    HypercallRecord,
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
    entry_of,
)
from paravane.trace.jsonl import JsonLines

WORDS = (1, 0xC0002000, 0, 0, 0, 0)
HERE = Place(0xC0001000, "main", 0x20, "kernel.S", 12)
BIND = EvtchnBindVirq(Virq.TIMER, 0, 0)
UPDATE = MmuUpdate(0x1000, 0x2067)
COUNT, DOMID = get_args(UInt)[1], get_args(Domid)[1]

CALL = HypercallRecord(
    7,
    1,
    0,
    HERE,
    32,
    "event_channel_op.bind_virq",
    WORDS,
    (Argument("arg", InOut(EVTCHN_BIND_VIRQ), 0xC0002000, BIND),),
    0,
    written=Written(EVTCHN_BIND_VIRQ, BIND._replace(port=3)),
)
LIST = HypercallRecord(
    7,
    1,
    0,
    Place(0xC0001000),
    1,
    "mmu_update",
    WORDS,
    (
        Argument("updates", Items(MMU_UPDATE), 0xC0002000, (UPDATE,)),
        Argument("count", COUNT, 9, 9),
        Argument("domid", DOMID, 0x7FF0, 0x7FF0),
    ),
    -22,
    Errno.EINVAL,
    "not a frame of its own",
)


@pytest.mark.parametrize(
    "record",
    [
        CALL,
        LIST,
        HypercallRecord(0, 1, 0, HERE, 99, "", WORDS, (), -38, Errno.ENOSYS, "there is no hypercall 99"),
        TrapRecord(0, 3, 1, HERE, 1, 14, "#PF", 2, 0x1234, "bounced", (0xE019, 0xC0002000), 1000),
        UpcallRecord(1, 1, 0, HERE, (3, 5), (1,)),
        SendRecord(1, 1, 0, HERE, 3, 2, 5, 1),
        VirqRecord(1, 1, 0, None, Virq.TIMER, 3, None),
        TimerRecord(1, 1, 0, None, "armed", "single-shot", 1 << 40),
        ScheduleRecord(1, 1, 0, None, "out", "slice over"),
        PageRecord(1, 1, 0, HERE, "type", 0x2A, 1, "writable_page", "l1_page_table", 0),
        GrantRecord(1, 1, None, None, "map", 8, 0, 0x2A, writable=True),
        RingRecord(1, 1, None, None, "response", "store", "READ", 20, 7, "OK"),
        StoreRecord(1, 1, None, None, "READ", "/local/domain/1/name", b"", 0, result=b"one\xff"),
        ConsoleRecord(1, 1, None, None, "out", b"hello\r\n"),
        ConsoleRecord(1, 1, None, None, "in", b"key", 2),
        RefusalRecord(2, 1, 0, HERE, "mmu_update", Errno.EINVAL, "the frame is not the domain's"),
        DomainRecord(0, 3, None, None, DomainEvent.ENDED, "one", ShutdownReason.reboot),
    ],
)
def test_what_is_read_back_is_what_was_written(record: Record) -> None:
    entry = entry_of(record)
    assert (entry.time, entry.domid, entry.vcpu) == (record.time, record.domid, record.vcpu)
    assert (entry.kind, entry.name) == (record.kind.value, record.name)
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry
    line = json.dumps(entry.to_json(), separators=(",", ":"))
    assert JsonLines().entry(entry) == f"{line}\n".encode()


def test_arguments_are_numbers_and_names_and_not_text() -> None:
    assert entry_of(CALL).data == {
        "number": 32,
        "words": list(WORDS),
        "arguments": {"arg": {"virq": "TIMER", "vcpu": 0, "port": 0}},
        "result": 0,
        "written": {"virq": "TIMER", "vcpu": 0, "port": 3},
    }
    assert entry_of(LIST).data["arguments"] == {
        "updates": {"pointer": 0xC0002000, "items": [{"ptr": 0x1000, "val": 0x2067}], "count": 9},
        "count": 9,
        "domid": "DOMID_SELF",
    }


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {},
        {"time": 1, "domain": 1, "kind": "event"},
        {"time": "1", "domain": 1, "kind": "event", "name": "upcall"},
        {"time": 1, "domain": 1, "kind": "event", "name": "upcall", "place": {"where": 1}},
        {"time": 1, "domain": 1, "kind": "event", "name": "upcall", "place": {"address": "main"}},
        {"time": 1, "domain": 1, "kind": "event", "name": "upcall", "data": []},
        {"time": True, "domain": 1, "kind": "event", "name": "upcall"},
    ],
)
def test_what_no_entry_was_written_as_is_refused(found: Any) -> None:
    with pytest.raises(ValueError, match="no trace record"):
        Entry.from_json(found)
