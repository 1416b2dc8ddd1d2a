"""The options of `boot` for debuggers: what they refuse, and what they say."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.boot import paravane
from tests.support.debugged import Boot, Remote
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

LOCAL = "127.0.0.1"


def lines(*arguments: str) -> tuple[int, list[str]]:
    """Boot a kernel that ends by itself: the status, and stderr line by line."""
    done = paravane("boot", "hello", *arguments)
    return done.returncode, done.stderr.decode().splitlines()


def test_where_a_debugger_comes_in_is_said_and_the_guest_does_not_wait_for_one() -> None:
    status, said = lines("--gdb", ":0")
    assert status == 0
    (line,) = said
    assert line.startswith(f"paravane: gdb: target remote {LOCAL}:")
    assert int(line.rpartition(":")[2]) > 0


def test_an_address_that_others_reach_is_warned_of() -> None:
    status, said = lines("--gdb", "0.0.0.0:0")
    assert status == 0
    assert len(said) == 2
    assert "whoever reaches 0.0.0.0:" in said[1]
    assert "controls the guest" in said[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--gdb", "nonsense"), "'nonsense' is no HOST:PORT"),
        (("--gdb", "::1:1234"), "an address with colons goes in brackets"),
        (("--gdb", f"{LOCAL}:70000"), "is no HOST:PORT"),
        (("--gdb", "nobody.invalid:0"), "gdb cannot come in at nobody.invalid:0"),
        (("--gdb", f":{'9' * 5000}"), "is no HOST:PORT"),
        (("--gdb", f"{'a' * 64}:0"), f"gdb cannot come in at {'a' * 64}:0: Name or service not known"),
        (("--gdb", "a..b:0"), "gdb cannot come in at a..b:0"),
        (("--gdb-wait",), "--gdb-wait needs --gdb"),
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], sentence: str) -> None:
    status, said = lines(*arguments)
    assert status == 2
    assert len(said) == 1
    assert sentence in said[0]


def test_a_port_that_is_taken() -> None:
    with socket.create_server((LOCAL, 0)) as taken:
        address = f"{LOCAL}:{taken.getsockname()[1]}"
        status, said = lines("--gdb", address)
    assert (status, said) == (2, [f"paravane: gdb cannot come in at {address}: Address already in use"])


def test_ctrl_c_while_a_debugger_looks_at_the_guest() -> None:
    guest = Boot("hello")
    debugger = Remote(guest.port)
    assert debugger.ask("?").startswith("T05")
    guest.interrupt()
    status, console, errors = guest.end()
    debugger.close()
    assert (status, console) == (130, "")
    assert "hello did not end: SIGINT came" in errors


def test_a_guest_that_reboots_waits_for_a_debugger_in_each_life(tmp_path: Path) -> None:
    source = tmp_path / "reboot.S"
    kernel = ".globl main\n.type main, @function\nmain:\n    movl $SHUTDOWN_reboot, %eax\n    jmp shutdown\n"
    source.write_text(prelude() + kernel)
    guest = Boot("--on-reboot", "restart", str(source))
    for _ in range(3):
        debugger = Remote(guest.port)
        assert debugger.ask("?").startswith("T05")
        debugger.send("vCont;c")
        assert bytes.fromhex(debugger.answer()[1:]) == b"the guest has ended: reboot\n"
        assert debugger.answer() == "W01"
        debugger.close()
    debugger = Remote(guest.port)
    assert debugger.ask("vKill;1") == "OK"
    debugger.close()
    status, _, errors = guest.end()
    assert status == 3
    assert "its debugger killed it" in errors


def test_a_guest_that_nothing_can_wake_is_kept_for_a_debugger_and_that_is_said(tmp_path: Path) -> None:
    source = tmp_path / "sleeps.S"
    source.write_text(
        prelude() + ".globl main\nmain:\n movl $SCHEDOP_block, %ebx\n HYPERCALL sched_op\n jmp main\n"
    )
    guest = Boot(str(source), wait=False)
    why = "every vcpu is blocked, and no timer or input can wake one"
    assert guest.complaint() == f"sleeps: {why}; a debugger may come to {LOCAL}:{guest.port}"
    debugger = Remote(guest.port)
    assert debugger.ask("?").startswith("T05")
    debugger.send("vCont;c")
    assert bytes.fromhex(debugger.answer()[1:]).decode() == f"{why}: interrupt the guest to look at it\n"
    debugger.raw(b"\x03")
    assert debugger.answer().startswith("T02")
    assert debugger.ask("vKill;1") == "OK"
    debugger.close()
    assert guest.end()[0] == 3


def test_the_breakpoints_of_the_command_line_and_gdb_are_counted_together() -> None:
    guest = Boot("hello", *(f"--break={0x1000 + at:#x}" for at in range(255)))
    debugger = Remote(guest.port)
    answers = [debugger.ask(f"Z0,{address:x},1") for address in (0x1000, 0x5000, 0x6000, 0x5000)]
    assert answers == ["OK", "OK", "E16", "OK"]
    said = "a processor can have 256 breakpoints at a time, and 254 are not the debugger's"
    assert guest.complaint() == f"its debugger was refused: {said}"
    assert debugger.ask("z0,5000,1") == "OK"
    assert debugger.ask("Z0,6000,1") == "OK"
    debugger.send("vCont;c")
    assert debugger.answer() == "W00"
    debugger.close()
    assert guest.end()[0] == 0
