"""Where the history of a run begins, for whoever comes and whenever that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from paravane.history import timeline
from tests.support.debugged import KERNEL, Remote
from tests.support.patience import until
from tests.support.reversing import BEGIN, reversible, visit

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.personality import GuestVcpu
    from tests.support.debugged import Served


def test_history_begins_where_the_debugger_came() -> None:
    with reversible(KERNEL) as (running, remote):
        first = remote.ask("g")
        remote.ask("vCont;s:1")
        remote.ask("vCont;s:1")
        assert remote.ask("bs").startswith("T05thread:1;")
        assert remote.ask("bs").startswith("T05thread:1;")
        assert remote.ask("g") == first
        for packet in ("bs", "bc", "bc"):
            assert remote.ask(packet).startswith(BEGIN)
            assert remote.ask("g") == first
        remote.finish()
    assert running.console == "done\n"


def _call_at_the_first_rest_without_debugger(running: Served, call: Callable[[], None]) -> None:
    """In the machine's thread, where a slice has paused and what comes is looked at next."""
    line, history = running.history.timeline, running.history
    rested, waits = line.rested, [call]

    def rest(vcpu: GuestVcpu) -> None:
        rested(vcpu)
        if waits and not line.attended and history.timeline.in_slice_of is not None:
            waits.pop()()

    line.rested = rest


def test_who_comes_in_the_middle_of_a_slice_has_no_history_before_its_end() -> None:
    with reversible(KERNEL, slice_instructions=100_000) as (running, remote):
        came: list[Remote] = []
        visit(running, remote, 3)
        before = remote.ask("g")
        assert remote.ask("bc").startswith(BEGIN)
        _call_at_the_first_rest_without_debugger(running, lambda: came.append(Remote(running.port)))
        assert remote.ask("D") == "OK"
        remote.close()
        until(lambda: came)
        for packet in ("bs", "bc"):
            assert came[0].ask(packet).startswith(BEGIN)
            assert came[0].ask("g") == before
        came[0].finish()
        came[0].close()
    assert running.console == "done\n"


def test_whoever_comes_after_one_who_left_on_the_way_back_sees_the_domain_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with reversible(KERNEL, slice_instructions=100_000) as (running, remote):
        came: list[Remote] = []
        counter, stepped = running.symbol("counter"), running.symbol("stepped")
        visit(running, remote, 3)
        assert remote.ask(f"Z0,{stepped:x},1") == "OK"
        rewind = running.machine.rewind

        def leave(*way: Any) -> None:
            rewind(*way)
            if running.history.timeline.in_slice_of is not None and not running.history.looks:
                remote.close()

        monkeypatch.setattr(running.machine, "rewind", leave)
        _call_at_the_first_rest_without_debugger(running, lambda: came.append(Remote(running.port)))
        remote.send("bc")
        until(lambda: came)
        assert came[0].word(counter) == 6
        came[0].finish()
        came[0].close()
    assert running.console == "done\n"


@pytest.mark.parametrize("most", ["MOST_CHANGES", "MOST_CHARGED"])
def test_a_history_with_too_much_to_remember_begins_anew(most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, most, 3 if most == "MOST_CHANGES" else -1)
    with reversible(KERNEL, slice_instructions=11) as (running, remote):
        counter = running.symbol("counter")
        visit(running, remote, 2)
        for value in range(4):
            assert remote.ask(f"M{counter:x},4:{value:02x}000000") == "OK"
        changed = remote.ask("g")
        assert remote.ask("bc").startswith(BEGIN)
        assert (remote.word(counter), remote.ask("g")) == (3, changed)
        remote.finish()
    assert running.console == "done\n"
