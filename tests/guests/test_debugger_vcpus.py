"""A debugger and a guest with two vcpus: each is a thread; they stop together, and go on as they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.debug.registers import NUMBERS
from tests.support.debugged import TWO_VCPUS, Remote, Served, served
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from collections.abc import Iterator

EIP, ES = NUMBERS["eip"], NUMBERS["es"]
FIRST, SECOND = 1, 2


@pytest.fixture
def guest() -> Iterator[Served]:
    # They take turns when they yield: slices do not end by the host's time.
    with served(TWO_VCPUS, vcpus=2, slice_instructions=1_000_000) as running:
        yield running


def visits(guest: Served, remote: Remote, thread: int) -> int:
    """How often a vcpu has been there, as the first one sees it: the other one may have no page tables."""
    remote.select(FIRST)
    return remote.word(guest.symbol("visits") + 4 * (thread - 1))


def eip(remote: Remote, thread: int) -> int:
    remote.select(thread)
    return remote.register(EIP)


def break_at(guest: Served, remote: Remote, name: str) -> None:
    assert remote.ask(f"Z0,{guest.symbol(name):x},1") == "OK"


def go_on_from(remote: Remote, thread: int) -> str:
    """As gdb does it at a breakpoint: past it with this thread alone, then on with all. Where all stop."""
    assert remote.ask(f"vCont;s:{thread}").startswith(f"T05thread:{thread};")
    return remote.ask("vCont;c")


def test_every_vcpu_is_a_thread_from_the_start(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05thread:1;")
    assert (remote.ask("qfThreadInfo"), remote.ask("qsThreadInfo")) == ("m1,2", "l")
    assert [remote.ask(f"T{thread}") for thread in (1, 2, 3)] == ["OK", "OK", "E16"]
    assert [remote.ask(f"Hg{thread}") for thread in (2, 3)] == ["OK", "E16"]
    infos = [bytes.fromhex(remote.ask(f"qThreadExtraInfo,{thread}")).decode() for thread in (1, 2)]
    assert infos == ["domain 1 vcpu 0, runnable", "domain 1 vcpu 1, offline"]
    xml = remote.ask("qXfer:threads:read::0,1000")
    assert [f'<thread id="{thread}"' in xml for thread in (1, 2, 3)] == [True, True, False]
    remote.finish()


def test_a_vcpu_that_was_not_started_is_looked_at_and_has_nothing_to_show(
    guest: Served, remote: Remote
) -> None:
    remote.select(SECOND)
    assert len(remote.ask("g")) > 0
    assert remote.register(EIP) == 0
    assert remote.ask(f"m{guest.symbol('main'):x},4") == "E0e"
    assert remote.ask(f"P{ES:x}=11000000") == "E16"  # there is no table to load it from
    assert "vcpu 1" in remote.monitor("where")
    tables = f"pagetable {guest.symbol('main'):#x}"
    assert " is in mfn " not in remote.monitor(tables)
    remote.select(FIRST)
    assert " is in mfn " in remote.monitor(tables)
    remote.finish()
    guest.end()
    assert (guest.console, guest.audit) == ("done\n", [])


def test_a_breakpoint_is_hit_by_whichever_vcpu_comes(guest: Served, remote: Remote) -> None:
    break_at(guest, remote, "worker")
    assert remote.ask("vCont;c").startswith("T05swbreak:;thread:2;")
    assert remote.ask("qC") == "QC2"
    assert remote.register(EIP) == guest.symbol("worker")
    assert remote.ask(f"z0,{guest.symbol('worker'):x},1") == "OK"
    before = visits(guest, remote, FIRST)
    break_at(guest, remote, "visit")
    stops = [remote.ask("vCont;c")]
    for _ in range(9):
        stops.append(go_on_from(remote, SECOND if "thread:2;" in stops[-1] else FIRST))
    assert all(stop.startswith("T05swbreak:;") for stop in stops)
    assert {stop.partition("thread:")[2][0] for stop in stops} == {"1", "2"}
    # each stop but the last let one more visit happen
    assert visits(guest, remote, FIRST) + visits(guest, remote, SECOND) == before + len(stops) - 1


def test_one_vcpu_steps_while_the_other_one_stands_still(guest: Served, remote: Remote) -> None:
    break_at(guest, remote, "working")
    assert remote.ask("vCont;c").startswith("T05swbreak:;thread:2;")
    before, elsewhere = visits(guest, remote, FIRST), eip(remote, FIRST)
    places = []
    for _ in range(4):
        assert remote.ask("vCont;s:2").startswith("T05thread:2;")
        places.append(remote.register(EIP))
    assert places[1:3] == [guest.symbol("visit"), guest.symbol("visited")]
    assert (visits(guest, remote, FIRST), eip(remote, FIRST)) == (before, elsewhere)


def test_one_vcpu_steps_while_the_other_one_runs(guest: Served, remote: Remote) -> None:
    break_at(guest, remote, "visited")
    assert remote.ask("vCont;c").startswith("T05swbreak:;thread:1;")
    assert remote.ask(f"z0,{guest.symbol('visited'):x},1") == "OK"
    for _ in range(3):
        assert remote.ask("vCont;s:1;c").startswith("T05thread:1;")


def test_a_vcpu_that_is_not_to_go_on_does_not(guest: Served, remote: Remote) -> None:
    break_at(guest, remote, "worker")
    assert remote.ask("vCont;c").startswith("T05swbreak:;thread:2;")
    before = visits(guest, remote, FIRST)
    remote.send("vCont;c:1")  # it waits for the other one, for ever
    assert remote.interrupt().startswith("T02")
    assert visits(guest, remote, FIRST) >= before
    assert (visits(guest, remote, SECOND), eip(remote, SECOND)) == (0, guest.symbol("worker"))
    assert remote.ask(f"z0,{guest.symbol('worker'):x},1") == "OK"
    remote.finish()


def test_that_a_sleeper_cannot_come_to_the_end_of_its_step_is_said(guest: Served, remote: Remote) -> None:
    """Vcpu 1 was not started, and vcpu 0, which would do it, is not to go on."""
    remote.send("vCont;s:2")
    said = bytes.fromhex(remote.answer()[1:]).decode()
    assert said == (
        "every vcpu that is to go on sleeps, and the others are held: interrupt the guest to look at it\n"
    )
    assert remote.interrupt().startswith("T02")
    remote.finish()


def test_what_one_vcpu_stores_is_told_once_and_of_that_vcpu(guest: Served, remote: Remote) -> None:
    at = guest.symbol("visits") + 4
    remote.go_to(guest.symbol("started"))
    assert remote.ask(f"Z2,{at:x},4") == "OK"
    for times in range(1, 6):
        assert remote.ask("vCont;c").startswith(f"T05watch:{at:x};thread:2;")
        assert remote.word(at) == times
    assert remote.ask(f"z2,{at:x},4") == "OK"
    remote.finish()


def test_a_crash_is_told_of_the_vcpu_that_did_it() -> None:
    kernel = (
        prelude("paging", "vcpus")
        + """
    .globl main
main:
    movl $1, %eax
    movl $worker, %edx
    movl $worker_stack, %ecx
    call start_vcpu
1:  movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    jmp 1b
    .type worker, @function
worker:
    movl %eax, 0xd0000000
    .bss
    .skip 4096
worker_stack:
"""
    )
    with served(kernel, vcpus=2) as guest:
        remote = Remote(guest.port)
        remote.send("vCont;c")
        assert bytes.fromhex(remote.answer()[1:]).decode().startswith("#PF with error code 0x2")
        assert remote.answer().startswith("T0bthread:2;")
        assert remote.register(EIP) == guest.symbol("worker")
        assert remote.ask("vCont;c") == "X06"
        remote.close()
        guest.end()
        assert "vcpu 1" in guest.crash_report
