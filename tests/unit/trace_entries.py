"""Entries of every kind, as guests make them, for the tests of the formats."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from paravane.place import Place
from paravane.trace import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.trace.decoder import Decoder
    from paravane.trace.writer import Writer

HERE = Place(0xC0001000, "main", 0x20, "kernel.S", 12)
THERE = Place(0xC0002000)

BUILT = Entry(0, 0, 1, None, "domain", "built", None, {"domain_name": "hello"})
IN = Entry(5, 5, 1, 0, "schedule", "in")
BIND = Entry(
    1000,
    2000,
    1,
    0,
    "hypercall",
    "event_channel_op.bind_virq",
    HERE,
    {
        "number": 32,
        "words": [1, 0xC0002000, 0, 0, 0, 0],
        "arguments": {"arg": {"virq": "TIMER", "vcpu": 0, "port": 0}},
        "result": 0,
        "written": {"virq": "TIMER", "vcpu": 0, "port": 3},
    },
)
REFUSED = Entry(
    2500,
    2500,
    1,
    0,
    "refusal",
    "mmu_update",
    HERE,
    {"errno": "EINVAL", "sentence": "the frame is not its own"},
)
UPDATE = Entry(
    2200,
    3000,
    1,
    0,
    "hypercall",
    "mmu_update",
    HERE,
    {
        "number": 1,
        "words": [0xC0002000, 9, 0, 0x7FF0, 0, 0],
        "arguments": {
            "updates": {
                "pointer": 0xC0002000,
                "items": [{"ptr": 0x1000, "val": 0x8000000000002067}],
                "count": 9,
            },
            "count": 9,
            "done": 0,
            "domid": "DOMID_SELF",
        },
        "result": -22,
        "errno": "EINVAL",
        "sentence": "the frame is not its own",
    },
)
UNKNOWN = Entry(
    3000,
    3000,
    1,
    0,
    "hypercall",
    "",
    THERE,
    {"number": 99, "words": [0] * 6, "result": -38, "errno": "ENOSYS"},
)
FAULT = Entry(
    4000,
    4500,
    1,
    0,
    "trap",
    "#PF",
    HERE,
    {
        "cpl": 1,
        "vector": 14,
        "error_code": 2,
        "cr2": 0x1234,
        "outcome": "bounced",
        "handler": [0xE019, 0xC0002000],
    },
)
GP = Entry(
    4600, 4600, 1, 0, "trap", "#GP", THERE, {"cpl": 3, "vector": 13, "error_code": 0, "outcome": "bounced"}
)
EMULATED = Entry(
    4700, 4700, 1, 0, "trap", "#GP", HERE, {"cpl": 1, "vector": 13, "error_code": 0, "outcome": "emulated"}
)
DIRECT = Entry(4800, 4800, 1, 0, "trap", "int 0x80", HERE, {"cpl": 3, "vector": 128, "outcome": "direct"})
SEND = Entry(4900, 4900, 1, 0, "event", "send", HERE, {"port": 4, "to_domid": 2, "to_port": 6, "flow": 1})
BLOCKED = Entry(5000, 5000, 1, 0, "schedule", "out", None, {"why": "blocked"})
SECOND = Entry(5000, 5000, 2, None, "domain", "built", None, {"domain_name": "echo"})
IN_2 = Entry(6000, 6000, 2, 0, "schedule", "in")
UPCALL = Entry(6100, 6100, 2, 0, "event", "upcall", THERE, {"ports": [6], "flows": [1]})
GRANT = Entry(6200, 6200, 2, 0, "grant", "map", HERE, {"ref": 8, "by": 0, "mfn": 0x1234, "writable": False})
COPY = Entry(6250, 6250, 2, None, "grant", "copy", None, {"ref": 8, "by": 3, "mfn": 0x1234, "writable": True})
COPIED = replace(COPY, name="release")
RELEASE = replace(GRANT, name="release", time=6260, end=6260)
OUT_2 = Entry(6300, 6300, 2, 0, "schedule", "out", None, {"why": "slice over"})
IN_AGAIN = Entry(6300, 6300, 1, 0, "schedule", "in")
YIELD = Entry(
    6400,
    6500,
    1,
    0,
    "hypercall",
    "sched_op.yield",
    HERE,
    {"number": 29, "words": [0, 0, 0, 0, 0, 0], "arguments": {}, "result": 0},
)
ENDED = Entry(7000, 7000, 1, 0, "domain", "shut down", None, {"domain_name": "hello", "reason": "poweroff"})
GONE = Entry(7500, 7500, 1, None, "domain", "destroyed", None, {"domain_name": "hello"})

ENTRIES = (
    BUILT,
    IN,
    BIND,
    REFUSED,
    UPDATE,
    UNKNOWN,
    FAULT,
    GP,
    EMULATED,
    DIRECT,
    SEND,
    BLOCKED,
    SECOND,
    IN_2,
    UPCALL,
    GRANT,
    COPY,
    COPIED,
    RELEASE,
    OUT_2,
    IN_AGAIN,
    YIELD,
    ENDED,
    GONE,
)


def read(decoder: Decoder, data: bytes, piece: int = 1 << 16) -> list[Entry]:
    """What a decoder makes of a whole trace that comes in pieces of so many bytes."""
    found: list[Entry] = []
    for at in range(0, len(data), piece):
        found += decoder.feed(data[at : at + piece])
    return [*found, *decoder.finish()]


def body(writer: Writer, entries: Iterable[Entry]) -> bytes:
    """A whole trace but for what comes before its first entry and after its last one."""
    return b"".join(map(writer.entry, entries))
