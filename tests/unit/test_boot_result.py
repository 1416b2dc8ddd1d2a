"""What came of a boot can be asked for: traps, hypercalls, refusals, events, and how it ended."""

from __future__ import annotations

import pytest

from paravane import Kind, RecordsLost, SendRecord, ShutdownReason, StopReason, boot, quick
from paravane.abi.errno import Errno
from tests.support.boot import HOST_TIMEOUT

pytestmark = pytest.mark.slow

HEAD = '.include "runtime.inc"\nXEN_NOTES\n.text\nmain:\n'
ASKS = HEAD + (
    'PRINT "asks\\n"\n'
    "movl $0x1234, %ebx\nmovl $1, %ecx\nxorl %edx, %edx\nmovl $DOMID_SELF, %esi\nHYPERCALL mmu_update\nret\n"
)
SENDS = HEAD + (
    "movl $EVTCHNOP_bind_ipi, %ebx\nmovl $ipi, %ecx\nHYPERCALL event_channel_op\n"
    "movl $EVTCHNOP_send, %ebx\nmovl $ipi + 4, %ecx\nHYPERCALL event_channel_op\nret\n"
    ".bss\nipi: .skip 8\n"
)
FAULTS = HEAD + "movl %eax, 0x10\nret\n"


def test_hypercalls_are_found_by_name() -> None:
    result = boot(ASKS, timeout=HOST_TIMEOUT)
    (call,) = result.hypercalls("mmu_update")
    assert (call.name, call.errno, call.result) == ("mmu_update", Errno.EFAULT, -Errno.EFAULT)
    assert call.args["count"] == 1
    assert call.sentence
    assert call.place.symbol == "main"
    assert repr(call).startswith("<mmu_update(")
    assert [refusal.errno for refusal in result.refusals] == [Errno.EFAULT]
    assert [call.name for call in result.hypercalls("sched_op")] == ["sched_op.shutdown"]
    assert len(result.hypercalls("sched_op.shutdown")) == 1
    assert result.hypercalls("nothing") == ()
    assert len(result.hypercalls()) > 2


def test_events_and_trace_lines_are_there() -> None:
    result = boot(SENDS, timeout=HOST_TIMEOUT)
    sent = [event for event in result.events if isinstance(event, SendRecord)]
    assert [(send.place.symbol, send.port) for send in sent if send.place] == [
        ("main", 3),
        ("console_notify", 2),
    ]
    lines = result.trace_lines()
    assert any("built: guest" in line for line in lines)
    assert result.trace_lines(2) == lines[-2:]
    assert result.trace_lines(10**6) == lines
    assert result.trace_lines(0) == []


def test_traps_are_found_by_vector_and_name() -> None:
    result = boot(FAULTS, timeout=HOST_TIMEOUT)
    (trap,) = result.traps[14]
    assert (trap.error_code, trap.cr2) == (2, 0x10)
    assert result.traps["#PF"] == (trap,)
    assert result.traps[13] == ()
    assert (len(result.traps), list(result.traps)) == (1, [trap])
    assert repr(result.traps) == "<traps: 1 #PF>"
    assert repr(boot(ASKS, timeout=HOST_TIMEOUT).traps) == "<traps: none>"


def test_how_it_ended_is_asked_by_name() -> None:
    crashed = boot(FAULTS, timeout=HOST_TIMEOUT)
    assert crashed.ended("crash")
    assert crashed.ended(ShutdownReason.crash)
    assert not crashed.ended()
    assert boot(ASKS, timeout=HOST_TIMEOUT).ended("poweroff")
    with pytest.raises(ValueError, match="'power-off' is no way to end: there are poweroff, "):
        crashed.ended("power-off")


def test_a_guest_that_hangs_says_where() -> None:
    hung = boot(HEAD + "here: jmp here\n", timeout=0)
    assert hung.ended("timeout")
    assert hung.ended(StopReason.TIMEOUT)
    assert not hung.ended("poweroff")
    counted = boot(HEAD + "1: call yield\njmp 1b\n", max_traps=50)
    assert counted.ended("traps")
    assert "vcpu 0 " in counted.where
    assert "ring 1" in counted.where
    assert boot(ASKS, timeout=HOST_TIMEOUT).where == ""


def test_a_result_shows_itself_in_a_line() -> None:
    assert repr(boot(ASKS, timeout=HOST_TIMEOUT)) == "<guest: poweroff, console 'asks\\n'>"
    crashed = repr(boot(FAULTS, timeout=HOST_TIMEOUT))
    assert crashed.startswith("<guest: crash (domain 1 (guest) crashed: ")
    assert "\n" not in crashed


def test_only_what_is_asked_for_is_recorded() -> None:
    result = boot(ASKS, timeout=HOST_TIMEOUT, trace=(Kind.REFUSAL,))
    assert len(result.records) == len(result.refusals) == 1
    assert boot(ASKS, timeout=HOST_TIMEOUT, trace=()).records == ()


def test_records_that_were_lost_are_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "KEPT", 5)
    result = boot(ASKS, timeout=HOST_TIMEOUT)
    assert len(result.records) == 5
    assert result.lost > 0
    assert len(result.trace_lines()) == 5
    for ask in (result.hypercalls, lambda: result.traps, lambda: result.refusals, lambda: result.events):
        with pytest.raises(RecordsLost, match=f"the first {result.lost} records were not kept"):
            ask()


def test_a_run_counted_in_instructions_repeats_itself() -> None:
    first, second = (boot("rings", deterministic=True, timeout=HOST_TIMEOUT) for _ in range(2))
    assert first.console == second.console
    assert first.trace_lines() == second.trace_lines()
