"""A guest that kills the engine ends by itself: with a dump, status 3 and everybody else alive."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

import pytest

from paravane import Guest, StopReason
from paravane.abi.sched import ShutdownReason
from paravane.cpu import string_hooks
from paravane.cpu.engine import guard
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.testing.plugin import Boot, BootTogether

pytestmark = pytest.mark.skipif(bool(guard.why_not()), reason=f"needs {guard.why_not()}")

DEADLY = """
    .include "runtime.inc"
    XEN_NOTES deadly

    .text
    .type main, @function
main:
    PRINT "before\\n"
    xorl %eax, %eax
    movl $0x80000000, %edx
culprit:
    .byte 0x66, 0x0f, 0x3a, 0x61, 0xc1, 0x00    # pcmpestri $0, %xmm1, %xmm0
    PRINT "after\\n"
    ret
"""
UNDEFINED = """
    .include "runtime.inc"
    XEN_NOTES undefined

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    movl $2000, %esi
again:
    .byte 0xf0, 0x0f, 0xa3, 0xc0                # lock btl %eax, %eax
    decl %esi
    jnz again
    movl count, %eax
    call print_hex32
    ret

invalid_opcode:
    addl $4, (%esp)
    incl count
    iret

    .data
    .align 4
count:
    .long 0
trap_table:
    TRAP_GATE 6, 0, invalid_opcode
    TRAP_TABLE_END
"""
MEMORY = 4 << 20
UNGUARDED = """
from paravane.cpu import string_hooks
string_hooks.engine_is_wrong = lambda *_: False
from paravane.tools.cli import main
raise SystemExit(main())
"""
"""The command, without what keeps the engine from executing its deadly instruction."""


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the engine execute its deadly instruction by itself."""
    monkeypatch.setattr(string_hooks, "engine_is_wrong", lambda *_: False)


def boot_deadly(folder: Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    source = folder / "deadly.S"
    source.write_text(DEADLY)
    command = [sys.executable, "-c", UNGUARDED, "boot", str(source), "--memory", "4M"]
    return subprocess.run(command, timeout=HOST_TIMEOUT, check=False, **options)


def test_a_length_that_the_engine_would_die_of_gives_a_result(boot: Boot) -> None:
    outcome = boot(DEADLY, memory=MEMORY)
    assert (outcome.reason, outcome.console) == (ShutdownReason.poweroff, "before\nafter\n")


@pytest.mark.usefixtures("deadly")
def test_the_domain_ends_with_a_dump(boot: Boot) -> None:
    outcome = boot(DEADLY, memory=MEMORY)
    assert (outcome.ending, outcome.reason) == (StopReason.DONE, ShutdownReason.crash)
    assert outcome.console == "before\n"
    report = outcome.crash_report
    assert "its processor cannot go on: the engine died of SIGSEGV in helper_pcmpestri_xmm" in report
    assert "ring 1" in report
    assert "<culprit+0x0>" in report
    assert "66 0f 3a 61 c1 00" in report


@pytest.mark.usefixtures("deadly")
def test_the_other_domains_of_the_machine_go_on(boot_together: BootTogether) -> None:
    hello = UNDEFINED.replace("$2000", "$3")
    results = boot_together(*(Guest(kernel, memory=MEMORY) for kernel in (DEADLY, hello, DEADLY, hello)))
    assert [result.console for result in results] == ["before\n", "0x00000003"] * 2
    assert [result.reason for result in results] == [ShutdownReason.crash, ShutdownReason.poweroff] * 2
    assert [result.audit for result in results] == [()] * 4


def test_two_thousand_undefined_instructions_are_as_many_traps(boot: Boot) -> None:
    outcome = boot(UNDEFINED, memory=MEMORY)
    assert (outcome.reason, outcome.console) == (ShutdownReason.poweroff, f"{2000:#010x}")


def test_the_command_ends_with_status_3_and_a_dump(tmp_path: Path) -> None:
    ended = boot_deadly(tmp_path, capture_output=True)
    assert (ended.returncode, ended.stdout) == (3, b"before\n")
    assert b"the engine died of SIGSEGV in helper_pcmpestri_xmm" in ended.stderr
    assert b"<culprit+0x0>" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_the_terminal_is_left_as_it_was(tmp_path: Path) -> None:
    terminal, side = pty.openpty()
    before = termios.tcgetattr(side)
    ended = boot_deadly(tmp_path, stdin=side, capture_output=True)
    assert ended.returncode == 3
    assert termios.tcgetattr(side) == before
    os.close(side)
    os.close(terminal)
