"""Debuggers that come and go, and guests that end under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import ShutdownReason
from paravane.debug.packets import packet
from paravane.debug.registers import NUMBERS
from tests.support.debugged import KERNEL, SPIN, Remote, served
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.debugged import Served

EIP = NUMBERS["eip"]


def test_a_debugger_that_goes_lets_the_guest_go_on(guest: Served, remote: Remote) -> None:
    assert remote.ask(f"Z0,{guest.symbol('step'):x},1") == "OK"
    assert remote.ask("vCont;c").startswith("T05")
    remote.close()
    guest.end()
    assert (guest.console, guest.domain.reason) == ("done\n", ShutdownReason.poweroff)


def test_detaching_says_so_and_another_debugger_may_come() -> None:
    with served(SPIN) as guest:
        for _ in range(3):
            remote = Remote(guest.port)
            assert remote.ask("?").startswith("T05")
            assert remote.ask("D") == "OK"
            with pytest.raises(EOFError):
                remote.answer()
            remote.close()


def test_the_second_of_two_debuggers_is_sent_away(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05")
    second = Remote(guest.port)
    with pytest.raises((EOFError, OSError)):
        second.ask("?")
    second.close()
    remote.finish()


def test_packets_while_the_guest_runs_are_dropped_but_for_an_interrupt() -> None:
    with served(SPIN) as guest:
        remote = Remote(guest.port)
        remote.send("vCont;c")
        for payload in ("g", "m0,4", "vCont;c", "D", "Mc0100000,1:00"):
            remote.send(payload)
        remote.raw(b"\x03")
        assert remote.answer().startswith("T02")
        assert remote.ask("D") == "OK"
        remote.close()


def test_a_debugger_that_takes_no_answers_is_left() -> None:
    with served(KERNEL) as guest:
        remote = Remote(guest.port)
        remote.socket.settimeout(0.5)
        with pytest.raises(OSError, match="timed out|reset|Broken pipe"):  # noqa: PT012 - as much as it takes
            while True:
                remote.raw(packet(b"g") * 500)
        guest.end()  # the guest goes on by itself
        assert guest.console == "done\n"
        remote.close()


def test_requests_that_are_sent_all_at_once_are_answered_in_order(guest: Served, remote: Remote) -> None:
    remote.raw(packet(b"QStartNoAckMode"))
    assert remote.answer() == "OK"
    remote.raw(b"".join(packet(b"T%x" % (1 + number % 2)) for number in range(200)))
    assert [remote.answer() for _ in range(200)] == ["OK", "E16"] * 100
    remote.raw(packet(b"vCont;c") + packet(b"g") + packet(b"m0,1"))
    assert remote.answer() == "W00"


def test_a_domain_that_is_taken_away_is_told_of(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05")
    guest.machine.post(lambda: guest.machine.destroy(guest.domain))
    assert remote.answer() == "X06"
    with pytest.raises((EOFError, OSError)):
        remote.answer()


def test_acknowledgements(guest: Served, remote: Remote) -> None:
    remote.raw(b"$?#00")
    assert remote.byte() == b"-"
    remote.raw(packet(b"?"))
    assert remote.byte() == b"+"
    first = remote.answer()
    remote.raw(b"-")
    assert remote.answer() == first
    for _ in range(20):
        remote.raw(b"-")
    remote.raw(packet(b"qC"))
    assert [remote.answer() for _ in range(7)] == [first] * 7
    assert remote.answer() == "QC1"
    assert remote.ask("QStartNoAckMode") == "OK"
    remote.raw(b"+" + packet(b"?"))
    assert remote.byte() == b"$"


def test_a_crash_is_looked_at_before_it_happens() -> None:
    with served(
        prelude() + ".globl main\n.type main, @function\nmain:\n    movl %eax, 0xd0000000\n"
    ) as guest:
        remote = Remote(guest.port)
        remote.send("vCont;c")
        said = bytes.fromhex(remote.answer()[1:]).decode()
        assert said.startswith("#PF with error code 0x2")
        assert remote.answer().startswith("T0bthread:1;")
        assert guest.domain.alive
        assert remote.register(EIP) == guest.symbol("main")
        assert remote.register(NUMBERS["cr2"]) == 0xD0000000
        # going on, or stepping, ends it
        assert remote.ask("vCont;s:1") == "X06"
        remote.close()
        guest.end()
        assert guest.domain.reason is ShutdownReason.crash
        assert "#PF with error code 0x2" in guest.crash_report


def test_a_crash_that_nobody_waits_for_happens(guest: Served) -> None:
    with served(
        prelude() + ".globl main\n.type main, @function\nmain:\n    movl %eax, 0xd0000000\n"
    ) as crashing:
        remote = Remote(crashing.port)
        remote.send("vCont;c")
        remote.answer()
        remote.close()
        crashing.end()
        assert crashing.domain.reason is ShutdownReason.crash


def test_a_reboot_is_told() -> None:
    reboot = prelude() + ".globl main\n.type main, @function\nmain:\n    movl $1, %eax\n    jmp shutdown\n"
    with served(reboot) as guest:
        remote = Remote(guest.port)
        remote.send("vCont;c")
        assert bytes.fromhex(remote.answer()[1:]) == b"the guest has ended: reboot\n"
        assert remote.answer() == "W01"
        remote.close()


def test_the_machine_may_end_while_a_debugger_looks(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05")
    guest.machine.interrupt()
    with pytest.raises((EOFError, ConnectionResetError)):
        remote.answer()
    guest.end()
