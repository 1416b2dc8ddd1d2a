"""What the head of a trace says of the native gateway, and that every format that has a head keeps it."""

from __future__ import annotations

import pytest

from paravane.gateway import native
from paravane.tools.trace_output import header
from paravane.trace import Header, filters
from paravane.trace.forms import FORMS
from paravane.trace.reader import TraceReader


@pytest.mark.parametrize(
    ("wanted", "off"),
    [
        ("hypercall", True),
        ("hypercall:mmu_update,event", True),
        ("trap:14", True),
        ("page", True),
        (filters.DEFAULT, True),
        ("all", True),
        ("event,refusal,schedule", False),
    ],
)
def test_a_trace_tells_that_it_keeps_guests_from_the_gateway(
    monkeypatch: pytest.MonkeyPatch, wanted: str, off: bool
) -> None:
    monkeypatch.setattr(native, "find", object)
    assert header("host", filters.parse(wanted)) == Header(clock="host", gateway_off=off)
    monkeypatch.setattr(native, "find", lambda: None)
    assert header("host", filters.parse(wanted)) == Header(clock="host")


@pytest.mark.parametrize("form", ["json", "perfetto"])
@pytest.mark.parametrize("off", [True, False])
def test_a_reader_has_what_was_written(form: str, off: bool) -> None:
    written, writer, reader = Header("paravane 0.1, mended", "host", off), FORMS[form].writer(), TraceReader()
    data = writer.begin(written) + writer.end()
    assert [*reader.feed(data), *reader.finish()] == []
    assert reader.header == written
