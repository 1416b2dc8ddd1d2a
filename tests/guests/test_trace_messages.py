"""What a machine packs for a trace is written as its records are, remembered or made anew."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from paravane import DomainConfig, Machine, asm, guest_kernels, load_image
from paravane.abi.errno import Errno
from paravane.abi.event_channel import EVTCHN_BIND_VIRQ, EvtchnBindVirq, Virq
from paravane.abi.hypercall import Hypercall
from paravane.hypercalls import table
from paravane.place import Place
from paravane.trace import Argument, Entry, HypercallRecord, Kind, Record, TrapRecord, Written, entry_of
from paravane.trace.forms import FORMS
from paravane.trace.jsonl import JsonLines
from paravane.trace.message import LARGEST, SITES
from paravane.trace.packer import Packer
from paravane.trace.perfetto import PerfettoWriter
from paravane.trace.ring import Ring
from paravane.trace.text import TextLines
from paravane.trace.unpacker import Unpacker
from paravane.trace.xentrace import XentraceWriter
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.trace.writer import Again, Writer

SOME = (Kind.HYPERCALL, Kind.TRAP, Kind.REFUSAL, Kind.EVENT)
MEMORY = 8 << 20
WORDS = (0, 0xC0002000, 7, 8, 9, 10)
SENTENCE = '"words":[1,2] is no request'
BIND = int(Hypercall.event_channel_op)
BOUND = Written(EVTCHN_BIND_VIRQ, EvtchnBindVirq(Virq.TIMER, 0, 3))
HERE = Place(0xC0001000, '"words":[main')
VERSION = table.named("xen_version.version")
CALL = HypercallRecord(5, 1, 0, HERE, 17, VERSION.name, WORDS, VERSION.shown(WORDS, ()), 0, end=9, copies=())
TRAP = TrapRecord(5, 1, 0, Place(0xC0001000), 1, 14, "#PF", 2, 0x1234, "bounced", (0xE019, 0xC0002000), 1000)


class Pipeline:
    """A packer, and what its messages become."""

    def __init__(self) -> None:
        self.ring = Ring()
        self.ring.full = self.empty
        self.packer = Packer(self.ring)
        self.taken: list[bytes] = []

    def empty(self) -> bool:
        while messages := self.ring.take():
            self.taken.append(messages)
            self.ring.release(len(messages))
        return True

    def written(self, writer: Writer) -> bytes:
        """What was packed until now, as `writer` writes it."""
        self.empty()
        unpacker = Unpacker(writer, table)
        return b"".join(data for messages in self.taken for data, _ in unpacker.unpack(messages))


def packed(records: Iterable[Record], writer: Writer) -> bytes:
    pipeline = Pipeline()
    for record in records:
        pipeline.packer.record(record)
    return pipeline.written(writer)


def anew(records: Iterable[Record], writer: Writer) -> bytes:
    return b"".join([writer.entry(entry_of(record)) for record in records])


def in_every_form(records: list[Record]) -> None:
    for form in FORMS.values():
        assert packed(records, form.writer()) == anew(records, form.writer()), form.name


def run(kernel: str, kinds: tuple[Kind, ...], pipeline: Pipeline | None = None) -> list[Record]:
    """The records of a run, or of one whose hypercalls and all else a pipeline takes."""
    records: list[Record] = []
    image = load_image(asm.build(guest_kernels.load(kernel).sources))
    with Machine(Machine.size_for(MEMORY), slice_instructions=1_000_000) as machine:
        if pipeline is None:
            machine.trace.subscribe(records.append, kinds)
        else:
            machine.trace.subscribe(pipeline.packer.record, kinds, calls=pipeline.packer)
        machine.create(image, DomainConfig(memory=MEMORY))
        machine.run(timeout=HOST_TIMEOUT)
    return records


@pytest.mark.parametrize(
    ("kernel", "kinds"), [("batch", SOME), ("traps", tuple(Kind)), ("paging", SOME), ("attack", SOME)]
)
def test_a_run_that_is_packed_is_written_as_its_records_are(kernel: str, kinds: tuple[Kind, ...]) -> None:
    pipeline = Pipeline()
    assert run(kernel, kinds, pipeline) == []
    records = run(kernel, kinds)
    for form in FORMS.values():
        assert pipeline.written(form.writer()) == anew(records, form.writer()), form.name


def test_of_a_hypercall_with_numbers_only_no_record_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Record] = []
    pipeline = Pipeline()
    monkeypatch.setattr(pipeline.packer, "record", made.append)
    run("batch", (Kind.HYPERCALL,), pipeline)
    assert pipeline.written(JsonLines()).count(b'"name":"update_va_mapping"') > 1000
    assert {type(record) for record in made} == {HypercallRecord}
    assert "update_va_mapping" not in {record.name for record in made if not _refused(record)}


def _refused(record: Record) -> bool:
    return isinstance(record, HypercallRecord) and record.errno is not None


def test_who_wants_records_gets_them_beside_who_takes_numbers() -> None:
    records: list[Record] = []
    pipeline = Pipeline()
    image = load_image(asm.build(guest_kernels.load("batch").sources))
    with Machine(Machine.size_for(MEMORY)) as machine:
        machine.trace.subscribe(pipeline.packer.record, (Kind.HYPERCALL,), calls=pipeline.packer)
        assert machine.trace.calls is pipeline.packer
        leave = machine.trace.subscribe(records.append, (Kind.HYPERCALL,))
        assert machine.trace.calls is None
        machine.create(image, DomainConfig(memory=MEMORY))
        machine.run(timeout=HOST_TIMEOUT, max_traps=2000)
        seen = len(records)
        leave()
        machine.run(timeout=HOST_TIMEOUT)
    assert seen == len(records) > 100
    lines = pipeline.written(JsonLines()).splitlines(keepends=True)
    assert lines[:seen] == [JsonLines().entry(entry_of(record)) for record in records]
    assert len(lines) > seen


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (
            CALL,
            [
                {"time": 8, "end": 8},
                {"end": 8},
                {"end": None},
                {"domid": 2},
                {"vcpu": 1},
                {"place": Place(0xC0001000, "other")},
                {"words": (0, 0xC0002000, 1, 2, 3, 4)},
                {"words": (0, 0, 7, 8, 9, 10), "arguments": VERSION.shown((0, 0, 7, 8, 9, 10), ())},
                {"result": 7},
                {"result": -1},
                {"result": 0xFFFFFFFF},
                {"result": None},
                {"result": -22, "errno": Errno.EINVAL, "sentence": SENTENCE},
                {"result": -22, "errno": Errno.EINVAL, "sentence": "another"},
                {"preempted": 4, "result": None},
                {"name": "", "number": 99, "arguments": (), "copies": None},
                {"name": "xen_version.99 (99)", "arguments": (), "copies": None},
            ],
        ),
        (TRAP, [{"time": 8}, {"domid": 2}, {"vcpu": 1}, {"cr2": 8}, {"cr2": None}, {"outcome": "direct"}]),
        (TRAP, [{"cpl": 3}, {"error_code": None}, {"handler": None}, {"place": Place(1)}, {"end": None}]),
    ],
)
def test_whatever_differs_is_written(record: Record, changes: list[dict[str, Any]]) -> None:
    in_every_form([record, *[replace(record, **change) for change in changes]] * 3)


def test_structs_that_go_to_the_guest_and_come_back_are_written() -> None:
    bind = table.named("event_channel_op.bind_virq")
    data = EVTCHN_BIND_VIRQ.pack(BOUND.value._replace(port=0))
    words = (1, 0xC0002000, 0, 0, 0, 0)
    records: list[Record] = []
    for copies in ((data,), ()):
        arguments: tuple[Argument, ...] = bind.shown(words, copies)
        call = HypercallRecord(5, 1, 0, HERE, BIND, bind.name, words, arguments, 0, copies=copies)
        other = BOUND._replace(value=BOUND.value._replace(port=4))
        records += [call, replace(call, written=BOUND), replace(call, written=other)]
    in_every_form(records * 3)


@pytest.mark.parametrize("form", [JsonLines, TextLines, PerfettoWriter, XentraceWriter])
def test_text_of_what_comes_again_is_made_once(form: type[Any]) -> None:
    made: list[Entry] = []

    class Counting(form):  # type: ignore[misc]
        def again(self, entry: Entry) -> Again | None:
            made.append(entry)
            found: Again | None = super().again(entry)
            return found

    records: list[Record] = []
    for time in range(100):
        records.append(replace(CALL, time=time, end=time + 1, words=(*WORDS[:2], time, *WORDS[3:])))
        records.append(replace(TRAP, time=time))
    assert packed(records, Counting()) == anew(records, form())
    assert len(made) == 2


def test_a_long_record_is_not_kept() -> None:
    long = replace(CALL, result=-22, errno=Errno.EINVAL, sentence="x" * 5000)
    pipeline, unpacker = Pipeline(), Unpacker(JsonLines(), table)
    for _ in range(3):
        pipeline.packer.record(long)
    found = list(unpacker.unpack(pipeline.ring.take()))
    assert b"".join(data for data, _ in found) == JsonLines().entry(entry_of(long)) * 3
    assert not unpacker._known


def test_a_record_of_any_length_is_taken_apart_and_put_together() -> None:
    """A kernel's symbols may be as long as its file."""
    for size in (LARGEST - 200, LARGEST, 3 * LARGEST, 1 << 24):
        place = Place(0xC0001000, "x" * size)
        records = [CALL, replace(CALL, place=place), replace(TRAP, place=place), CALL]
        assert packed(records, JsonLines()) == anew(records, JsonLines())


def test_a_guest_that_asks_from_ever_new_places_is_written_and_fills_no_memory() -> None:
    records = [replace(CALL, place=Place(address)) for address in range(SITES + 10)] * 2
    pipeline, unpacker, written = Pipeline(), Unpacker(JsonLines(), table), b""
    for record in records:
        pipeline.packer.record(record)
        assert len(pipeline.packer._sites) <= SITES
    pipeline.empty()
    for messages in pipeline.taken:
        written += b"".join(data for data, _ in unpacker.unpack(messages))
        assert len(unpacker._sites) <= SITES
    assert written == anew(records, JsonLines())


@pytest.mark.parametrize("forget", [True, False])
def test_a_number_of_a_domain_may_be_another_domains_afterwards(forget: bool) -> None:
    """In another machine, or in the same one: with another kernel at the same address."""

    class Origin(NamedTuple):
        name: str
        domid: int = 1
        vcpu_id: int = 0

        def place(self, address: int) -> Place:
            return Place(address, self.name)

    pipeline, origins = Pipeline(), (Origin("first"), Origin("second"))
    for origin in origins:
        call = pipeline.packer.caller(origin)
        for _ in range(3):
            call(0xC0001000, 5, 9, 17, WORDS, 2, 0)
        if forget:
            pipeline.packer.forget()
    records = [replace(CALL, place=origin.place(0xC0001000)) for origin in origins for _ in range(3)]
    assert pipeline.written(JsonLines()) == anew(records, JsonLines())
