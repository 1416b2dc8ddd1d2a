"""The real gdb goes back in a run."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from tests.support.debugged import SPINNING, Boot, gdb
from tests.support.prelude import prelude
from tests.support.recordings import Runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STRAY = (
    prelude()
    + """
    .globl main
    .type main, @function
main:
    PRINT "filling\\n"
    call fill
    PRINT "filled\\n"
    movl list, %eax
    movl (%eax), %eax
    ret
    .size main, . - main

    .type fill, @function
fill:
    movl $5, %ecx                       # one more than there is room for
again:
    movl %ecx, table - 4(,%ecx,4)       # the stray store
    loop again
    ret
    .size fill, . - fill

    .data
    .balign 4
table:
    .skip 16
    .globl list
    .type list, @object
list:
    .long table
    .size list, 4
"""
)
"""Overwrites a pointer behind a table, and crashes later as it follows it."""


def test_from_a_crash_back_to_the_store_that_caused_it(
    debugged: Callable[..., Boot], source: Callable[[str], str]
) -> None:
    guest = debugged(source(STRAY), "--deterministic")
    text = gdb(
        guest.port,
        "continue",
        "x/i $pc",
        "print/x $eax",
        "watch *(int *)&list",
        "reverse-continue",
        "list *$pc,+0",
        "info symbol $pc",
        "print $ecx",
        "reverse-stepi",
        "x/i $pc",
        "delete",
        "reverse-continue",
        "continue",
        "continue",
    )
    assert "Program received signal SIGSEGV" in text
    assert "$1 = 0x5" in text
    assert re.search(r"Old value = 5\nNew value = -?\d+\n", text)
    assert "the stray store" in text
    assert "fill + 5 in section .text" in text
    assert "sleeps" not in text
    assert "$2 = 5" in text
    assert "<fill>:\tmov    $0x5,%ecx" in text
    assert "No more reverse-execution history." in text
    assert text.count("Program received signal SIGSEGV") == 2
    status, console, errors = guest.end()
    assert status == 3
    assert console == "filling\nfilled\n"
    assert errors.count("crashed: #PF") == 1


def test_steps_nexts_and_finishes_lead_back(
    debugged: Callable[..., Boot], source: Callable[[str], str]
) -> None:
    guest = debugged(source(STRAY), "--deterministic")
    text = gdb(
        guest.port,
        "break fill",
        "continue",
        "reverse-finish",
        "x/i $pc",
        "delete",
        "next",
        "print $ecx",
        "reverse-next",
        "x/i $pc",
        "step",
        "step",
        "step",
        "reverse-step",
        "x/i $pc",
        "print $ecx",
        "detach",
    )
    places = re.findall(r"^=> 0x\w+ (<.*?>):", text, re.MULTILINE)
    assert places == ["<main+10>", "<main+10>", "<fill+5>"]
    assert re.findall(r"^\$\d = (\d+)$", text, re.MULTILINE) == ["0", "5"]
    assert guest.end()[:2] == (3, "filling\nfilled\n")


def test_a_recorded_run_is_gone_back_in_and_ends_as_it_did(
    debugged: Callable[..., Boot], tmp_path: Path
) -> None:
    typed = [("Ctrl-D ends\n", "ab"), ("ab", "\x04")]
    recorded = Runs(tmp_path).record("echo", "--console", "stdio", typed=typed)
    guest = debugged(str(tmp_path / "rec"), verb="replay")
    number = "*(int *)((char *)&consoles + 12)"
    text = gdb(
        guest.port,
        f"watch {number}",
        "continue",
        "continue",
        f"print {number}",
        "reverse-continue",
        "reverse-continue",
        f"print {number}",
        "continue",
        f"print {number}",
        "delete",
        "continue",
    )
    first, before, again = re.findall(r"^\$\d = (\d+)$", text, re.MULTILINE)
    assert int(before) == 0
    assert int(again) > 0
    assert int(first) >= int(again)
    assert "exited normally" in text
    assert guest.end() == recorded


def test_where_the_recorded_run_was_cut_short_the_repeated_one_stops(
    debugged: Callable[..., Boot], tmp_path: Path
) -> None:
    kernel = tmp_path / "spinning.S"
    kernel.write_text(SPINNING)
    recorded = Runs(tmp_path).record(str(kernel), typed=[("round and round\n", "")], end=signal.SIGINT)
    guest = debugged(str(tmp_path / "rec"), verb="replay")
    ring = "print $cs & 3"
    text = gdb(guest.port, "continue", "stepi", "reverse-stepi", ring, "detach")
    assert text.count("No more reverse-execution history.") == 2
    assert "$1 = 1" in text
    assert guest.end() == recorded
