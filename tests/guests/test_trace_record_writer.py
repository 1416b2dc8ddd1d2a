"""A trace file is the same whether its records are remembered or written anew."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from paravane import DomainConfig, Machine, asm, guest_kernels, load_image
from paravane.abi.errno import Errno
from paravane.abi.event_channel import EVTCHN_BIND_VIRQ, EvtchnBindVirq, Virq
from paravane.place import Place
from paravane.trace import Entry, HypercallRecord, Kind, Record, TrapRecord, Written, entry_of
from paravane.trace.forms import FORMS
from paravane.trace.jsonl import JsonLines
from paravane.trace.record_writer import RecordWriter
from paravane.trace.text import TextLines
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.trace.writer import Again

KINDS = (Kind.HYPERCALL, Kind.TRAP, Kind.REFUSAL, Kind.EVENT)
MEMORY = 8 << 20
WORDS = (0, 0xC0002000, 7, 8, 9, 10)
SENTENCE = '"words":[1,2] is no request'
BOUND = Written(EVTCHN_BIND_VIRQ, EvtchnBindVirq(Virq.TIMER, 0, 3))
CALL = HypercallRecord(
    5,
    1,
    0,
    Place(0xC0001000, '"words":[main'),
    17,
    "xen_version.version",
    WORDS,
    (),
    0,
    copies=WORDS[1:2],
    end=9,
)
TRAP = TrapRecord(5, 1, 0, Place(0xC0001000), 1, 14, "#PF", 2, 0x1234, "bounced", (0xE019, 0xC0002000), 1000)


def in_every_form(records: list[Record]) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """The records through a `RecordWriter`, and through their entries."""
    for form in FORMS.values():
        kept, anew = RecordWriter(form.writer()), form.writer()
        yield (
            [kept.record(record) for record in records],
            [anew.entry(entry_of(record)) for record in records],
        )


@pytest.mark.parametrize("kernel", ["batch", "traps", "paging"])
def test_a_guest_that_repeats_itself_is_written_as_one_that_does_not(kernel: str) -> None:
    records: list[Record] = []
    image = load_image(asm.build(guest_kernels.load(kernel).sources))
    with Machine(Machine.size_for(MEMORY)) as machine:
        machine.trace.subscribe(records.append, KINDS)
        machine.create(image, DomainConfig(memory=MEMORY))
        machine.run(timeout=HOST_TIMEOUT)
    for kept, anew in in_every_form(records):
        assert kept == anew


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
                {"number": 18},
                {"name": "xen_version.changeset"},
                {"words": (0, 0xC0002000, 1, 2, 3, 4)},
                {"result": None},
                {"result": -22, "errno": Errno.EINVAL, "sentence": SENTENCE},
                {"result": -22, "errno": Errno.EINVAL, "sentence": "another"},
                {"preempted": 4},
                {"written": BOUND},
                {"written": BOUND._replace(value=BOUND.value._replace(port=4))},
            ],
        ),
        (TRAP, [{"time": 8}, {"domid": 2}, {"vcpu": 1}, {"cr2": 8}, {"cr2": None}, {"outcome": "direct"}]),
        (TRAP, [{"cpl": 3}, {"error_code": None}, {"handler": None}, {"place": Place(1)}, {"end": None}]),
    ],
)
def test_whatever_differs_is_written(record: Record, changes: list[dict[str, Any]]) -> None:
    records = [record, *[replace(record, **change) for change in changes]] * 3
    for kept, anew in in_every_form(records):
        assert kept == anew


@pytest.mark.parametrize("form", [JsonLines, TextLines])
def test_text_of_what_comes_again_is_made_once(form: type[JsonLines] | type[TextLines]) -> None:
    made: list[Entry] = []

    class Counting(form):  # type: ignore[misc, valid-type]
        def again(self, entry: Entry) -> Again:
            made.append(entry)
            found: Again = super().again(entry)
            return found

    writer = RecordWriter(Counting())
    for time in range(100):
        writer.record(replace(CALL, time=time, end=time + 1, words=(time, *WORDS[1:])))
        writer.record(replace(TRAP, time=time))
    assert len(made) == 2


def test_a_long_record_is_not_kept() -> None:
    writer = RecordWriter(JsonLines())
    long = replace(CALL, result=-22, errno=Errno.EINVAL, sentence="x" * 5000)
    assert {writer.record(long) for _ in range(3)} == {JsonLines().entry(entry_of(long))}
    assert not writer._known
