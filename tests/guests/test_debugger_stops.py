"""Where a guest under a debugger stops, and how it goes on."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from paravane import ShutdownReason
from paravane.abi.event_channel import Virq
from paravane.debug.registers import NUMBERS
from tests.support.debugged import SPIN, Remote, served
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.debugged import Served

EIP = NUMBERS["eip"]


def test_the_first_stop_is_before_the_first_instruction(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05thread:1;")
    assert remote.register(EIP) == guest.domain.image.entry
    assert guest.machine.platform.traps == 0
    remote.finish()
    guest.end()
    assert guest.console == "done\n"


def test_breakpoints_are_hit_each_time_and_not_in_memory(guest: Served, remote: Remote) -> None:
    at, counter = guest.symbol("step"), guest.symbol("counter")
    before = remote.ask(f"m{at:x},8")
    assert remote.ask(f"Z0,{at:x},1") == "OK"
    for times in range(5):
        assert remote.ask("vCont;c").startswith("T05swbreak:;thread:1;")
        assert remote.word(counter) == 2 * times
        assert remote.ask(f"m{at:x},8") == before
        assert remote.ask("vCont;s:1").startswith("T05thread:1;")
        assert remote.word(counter) == 2 * times + 2
    remote.finish()


def test_hardware_breakpoints_say_so_and_leave_the_debug_registers(guest: Served, remote: Remote) -> None:
    assert remote.ask(f"Z1,{guest.symbol('step'):x},1") == "OK"
    assert remote.ask("c").startswith("T05hwbreak:;")
    assert [remote.register(NUMBERS[f"dr{number}"]) for number in (0, 1, 2, 3, 7)] == [0, 0, 0, 0, 0x400]


@pytest.mark.parametrize(("kind", "name"), [(2, "watch"), (3, "rwatch"), (4, "awatch")])
def test_watched_memory(guest: Served, remote: Remote, kind: int, name: str) -> None:
    counter = guest.symbol("counter")
    assert remote.ask(f"Z{kind},{counter:x},4") == "OK"
    assert remote.ask("vCont;c").startswith(f"T05{name}:{counter:x};thread:1;")
    assert remote.register(EIP) == guest.symbol("stepped")
    assert remote.ask(f"z{kind},{counter:x},4") == "OK"
    remote.finish()


def test_memory_that_a_hypercall_writes() -> None:
    kernel = (
        prelude()
        + """
    .globl main
    .type main, @function
main:
    movl $XENVER_extraversion, %ebx
    movl $buffer, %ecx
    HYPERCALL xen_version
    ret
    .bss
buffer:
    .skip 16
"""
    )
    with served(kernel) as guest:
        remote, buffer = Remote(guest.port), guest.symbol("buffer")
        assert remote.ask(f"Z2,{buffer:x},10") == "OK"
        assert remote.ask("vCont;c").startswith(f"T05watch:{buffer:x};thread:1;")
        assert remote.word(buffer)
        remote.finish()
        remote.close()


def test_going_on_elsewhere(guest: Served, remote: Remote) -> None:
    remote.go_to(guest.symbol("step"))
    after = guest.symbol("stepped")
    assert remote.ask(f"S05;{after:x}").startswith("T05thread:1;")
    assert remote.word(guest.symbol("counter")) == 0
    assert remote.ask("sx") == "E16"
    assert remote.ask("c") == "W00"


def test_a_range_is_stepped_through_at_once(guest: Served, remote: Remote) -> None:
    main, at = guest.symbol("main"), guest.symbol("step")
    remote.go_to(main)
    # main, its loop and what it calls, up to the runtime's routines
    assert remote.ask(f"vCont;r{main:x},{at + 8:x}:1").startswith("T05thread:1;")
    assert remote.word(guest.symbol("counter")) == 10
    assert not main <= remote.register(EIP) < at + 8
    remote.finish()


def test_going_on_after_a_range_was_left_by_a_breakpoint(guest: Served, remote: Remote) -> None:
    main, at = guest.symbol("main"), guest.symbol("step")
    remote.go_to(main)
    assert remote.ask(f"Z0,{at:x},1") == "OK"
    assert remote.ask(f"vCont;r{main:x},{at + 8:x}:1").startswith("T05swbreak:;")
    assert remote.ask(f"z0,{at:x},1") == "OK"
    remote.finish()


INTERRUPTED = (
    prelude("paging", "shared", "events")
    + """
    .globl main
    .type main, @function
main:
    call events_init
    movl $VIRQ_DEBUG, %eax
    xorl %edx, %edx
    call bind_virq
    movl %eax, port
    movl $came, %edx
    call set_handler
    movl port, %eax
    call unmask_port
    movb $0, UPCALL_MASK
    movl $3, %ebx
again:
    decl %ebx
counted:
    jnz again
    ret

    .type came, @function
came:
    incl times
    ret

    .bss
    .balign 4
times:
    .skip 4
port:
    .skip 4
"""
)
"""Counts down, and how often its debugging key was pressed."""


def test_an_event_does_not_lead_back_to_a_breakpoint_that_is_stepped_over() -> None:
    with served(INTERRUPTED) as guest, closing(Remote(guest.port)) as remote:
        again, counted = guest.symbol("again"), guest.symbol("counted")
        remote.go_to(again)
        assert remote.ask(f"Z0,{again:x},1") == "OK"
        guest.domain.events.raise_virq(Virq.DEBUG)
        assert remote.ask("vCont;s:1").startswith("T05thread:1;")
        assert (remote.register(EIP), remote.word(guest.symbol("times"))) == (counted, 0)
        # Who goes on stepping comes to the handler.
        assert remote.ask("vCont;s:1").startswith("T05thread:1;")
        assert remote.register(EIP) not in range(again, guest.symbol("came"))
        assert remote.ask("vCont;c").startswith("T05swbreak:;")
        assert (remote.register(NUMBERS["ebx"]), remote.word(guest.symbol("times"))) == (2, 1)
        assert remote.ask(f"z0,{again:x},1") == "OK"
        remote.finish()


def test_limits_of_what_is_watched_and_broken_at(remote: Remote) -> None:
    assert [remote.ask(f"Z0,{0x1000 + at:x},1") for at in range(257)] == ["OK"] * 256 + ["E16"]
    assert [remote.ask(f"Z2,{0x1000 + at:x},4") for at in range(33)] == ["OK"] * 32 + ["E16"]
    assert remote.ask("Z2,1000,100000") == "E16"
    assert remote.ask("Z2,1000,0") == "E16"
    assert remote.ask("Z2,ffffffff,2") == "E16"
    assert remote.ask("Z5,1000,1") == "E16"
    remote.finish()


def test_an_interrupt_stops_a_guest_that_spins() -> None:
    with served(SPIN, wait=False) as guest:
        remote = Remote(guest.port)
        assert remote.ask("?").startswith("T05")
        counter = guest.symbol("counter")
        for _ in range(3):
            before = remote.word(counter)
            remote.send("vCont;c")
            remote.raw(b"\x03")
            assert remote.answer().startswith("T02thread:1;")
            assert remote.word(counter) >= before
        remote.send("k")
        with pytest.raises(EOFError):
            remote.answer()
        remote.close()
        guest.end()
        assert guest.domain.reason is ShutdownReason.crash
        assert "its debugger killed it" in guest.crash_report


def test_a_vcpu_that_no_action_names_stays_where_it_is(guest: Served, remote: Remote) -> None:
    before = remote.ask("g")
    remote.send("vCont;c:2")
    assert remote.interrupt().startswith("T02thread:1;")
    assert remote.ask("g") == before
    assert not guest.domain.vcpus[0].run_state.runnable
    remote.finish()


def test_virtual_time_stands_still_while_the_guest_is_stopped(guest: Served, remote: Remote) -> None:
    remote.go_to(guest.symbol("main"))
    clock = guest.machine.platform.clock
    before = clock.now()
    for _ in range(50):
        remote.ask("g")
    assert clock.now() == before
    remote.ask("vCont;s:1")
    assert clock.now() == before
