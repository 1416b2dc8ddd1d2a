"""The report of what was found inside the engine."""

from __future__ import annotations

import pytest

from paravane.cpu import engine_report
from paravane.cpu.engine import guard, live


def test_every_finding_has_a_line() -> None:
    lines = engine_report()
    starts = [line.partition(":")[0] for line in lines]
    assert starts == [
        "engine",
        "processor state",
        "offsets in it",
        "segment registers",
        "cached flags",
        "stops between instructions",
        "stops that leave no hook out",
        "instructions of a run",
        "forgets one translation alone",
        "TLB filled by code in C",
        "bounds of hooks",
        "steps unseen by its guest",
        "survives its own deaths",
    ]
    assert lines[0].startswith("engine: Unicorn 2.")
    assert "in place" in lines[1]
    assert all("\n" not in line for line in lines)


@pytest.mark.usefixtures("copies")
def test_what_was_not_found_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paravane.cpu.engine.report.find", live.find)
    monkeypatch.setattr(guard, "why_not", lambda: "Linux on x86-64")
    lines = engine_report()
    assert lines[1] == "processor state: through copies: it was not found in memory"
    assert "stops that leave no hook out: no: a breakpoint may be passed" in lines
    assert "TLB filled by code in C: no: the processor's state is not seen in place" in lines
    assert "forgets one translation alone: no: that takes the processor's state in place" in lines
    assert lines[-1] == "survives its own deaths: no: that takes Linux on x86-64"
