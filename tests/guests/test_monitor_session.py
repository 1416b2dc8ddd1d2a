"""The monitor on a real terminal: beside a guest that runs, one that is paused, and when the process dies."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = """
    .include "runtime.inc"
    XEN_NOTES keys
    .text
main:
    PRINT "ready\\n"
1:  call yield
    movl console_ring, %ecx
    movl XENCONS_INTERFACE_in_prod(%ecx), %eax
    cmpl XENCONS_INTERFACE_in_cons(%ecx), %eax
    je 1b
    movl XENCONS_INTERFACE_in_cons(%ecx), %eax
    andl $XENCONS_IN_SIZE - 1, %eax
    movzbl XENCONS_INTERFACE_in(%ecx,%eax), %esi
    incl XENCONS_INTERFACE_in_cons(%ecx)
    PRINT "key "
    PRINT_DEC %esi
    PRINT "\\n"
    jmp 1b
"""
"""Tells the number of each key that it gets."""


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def spawn(machines: Machines, *arguments: str) -> pexpect.spawn[str]:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "paravane", *arguments],
        timeout=HOST_TIMEOUT,
        encoding="utf-8",
        cwd=machines.folder,
        env=machines.environment,
        dimensions=(50, 120),
    )
    child.expect_exact("Ctrl-] opens a monitor: help lists its commands, quit leaves; Ctrl-] twice sends one")
    return child


@pytest.fixture
def boot(machines: Machines) -> Iterator[pexpect.spawn[str]]:
    child = spawn(machines, "boot", machines.kernel("keys", KEYS), "--name", "keys")
    child.expect_exact("ready\r\n")
    yield child
    # Closed by force it would have a tenth of a second to die in, which a loaded host may not give it.
    if child.isalive():
        child.kill(signal.SIGKILL)
        child.wait()
    child.close()


def ask(child: pexpect.spawn[str], line: str) -> str:
    """What is shown for a line, up to the next prompt."""
    child.send(f"{line}\r")
    child.expect_exact(f"{line}\r\n")
    child.expect_exact("(paravane) ")
    assert isinstance(child.before, str)
    return child.before.replace("\r\n", "\n")


def test_a_guest_is_asked_paused_traced_and_left(boot: pexpect.spawn[str], machines: Machines) -> None:
    boot.send("\x1d")
    boot.expect_exact("(paravane) ")
    assert "keys                                         1" in ask(boot, "list")
    assert "<main+" in ask(boot, "where")
    assert ask(boot, "pause") == "keys is paused\n"
    assert "--p---" in ask(boot, "list")
    assert ask(boot, "trace on keys.txt") == "what guests do is traced into keys.txt\n"
    assert ask(boot, "nonsense") == "there is no command 'nonsense'; help lists them\n"
    boot.send("\rA")  # a key waits for a guest that is paused
    boot.send("\x1d")
    boot.expect_exact("(paravane) ")
    assert ask(boot, "continue").startswith("keys goes on\n")
    boot.expect_exact("key 65\r\n")
    assert ask(boot, "trace off") == "the trace has ended\n"
    assert "hypercall" in (machines.folder / "keys.txt").read_text()
    boot.send("\r\x1d\x1d")
    boot.expect_exact("key 29\r\n")
    boot.send("\x1dquit\r")
    boot.expect_exact("keys did not end: its console was left")
    boot.expect(pexpect.EOF)
    assert boot.wait() == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_whole_when_the_process_dies_at_the_prompt(
    boot: pexpect.spawn[str], number: int
) -> None:
    boot.send("\x1dwhe")
    boot.expect_exact("(paravane) whe")
    assert not termios.tcgetattr(boot.fileno())[3] & termios.ICANON
    os.kill(boot.pid, number)
    boot.expect(pexpect.EOF)
    mode = termios.tcgetattr(boot.fileno())[3]
    assert mode & termios.ICANON
    assert mode & termios.ECHO
    boot.wait()
    assert boot.signalstatus == number


def test_the_keys_go_to_another_domain(machines: Machines) -> None:
    files = [machines.domain(name, machines.kernel("keys", KEYS)) for name in ("one", "two")]
    child = spawn(machines, "run", *files, "--console", "one")
    child.expect_exact("ready\r\n")
    child.send("1")
    child.expect_exact("key 49\r\n")
    child.send("\x1d")
    child.expect_exact("(paravane) ")
    assert ask(child, "pause one") == "one is paused\n"
    child.send("console two\r2")
    child.expect_exact("the keys go to two\r\n")
    child.expect_exact("key 50\r\n")
    child.send("\x1dconsole\r")
    child.expect_exact("the keys go to two\r\n")
    child.send("destroy one\rquit\r")
    child.expect_exact("the console of two was left")
    assert machines.do("ctl", "list")[1].splitlines()[1].split()[:2] == ["two", "2"]
    child.send("\x03")
    child.expect_exact("asked to power off")
    child.send("\x03")
    child.expect(pexpect.EOF)
    assert child.wait() == 130


def test_the_page_shows_what_is_shown(boot: pexpect.spawn[str]) -> None:
    """The transcript of the README, played with another guest: its name and its numbers differ."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    transcript = re.search(r"## Ask while it runs.*?```text\n(.*?)```", text, re.DOTALL)
    assert transcript
    boot.send("\x1d")
    boot.expect_exact("(paravane) ")
    for exchange in transcript[1].split("(paravane) ")[1:]:
        line, _, answer = exchange.partition("\n")
        shown = ask(boot, line)
        for wanted in answer.splitlines():
            words = wanted.replace("unix", "keys").split()
            same = {word for word in words if word != "..." and not re.fullmatch(r"[-rbps]{6}", word)}
            assert same <= set(shown.split()), (wanted, shown)
