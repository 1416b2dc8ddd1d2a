"""The real gdb on a guest with two vcpus, which it takes for threads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.debugged import TWO_VCPUS, Boot, gdb

if TYPE_CHECKING:
    from collections.abc import Callable


def test_threads_are_vcpus(debugged: Callable[..., Boot], source: Callable[[str], str]) -> None:
    guest = debugged("--vcpus", "2", source(TWO_VCPUS))
    text = gdb(
        guest.port,
        "info threads",
        "break worker",
        "continue",
        "info threads",
        "thread 1",
        "thread 2",
        "print ((int *)&visits)[1]",
        "tbreak visited",
        "continue",
        "print ((int *)&visits)[1]",
        "delete",
        "continue",
    )
    before, after = re.findall(r"^. 1 .*\n. 2 .*$", text, re.MULTILINE)
    assert re.search(r'^\* 1 +Thread 1 "vcpu0" \(domain 1 vcpu 0, runnable\)', before)
    assert re.search(r'^  2 +Thread 2 "vcpu1" \(domain 1 vcpu 1, offline\)', before, re.MULTILINE)
    assert 'Thread 2 "vcpu1" hit Breakpoint 1, worker () at' in text
    assert re.search(
        r'^\* 2 +Thread 2 "vcpu1" \(domain 1 vcpu 1, runnable\) +worker \(\)', after, re.MULTILINE
    )
    assert re.search(r"^\[Switching to thread 1 .*\n#0 .* in hypercall_page \(\)", text, re.MULTILINE)
    assert "hit Temporary breakpoint 2, visited () at" in text
    assert "exited normally" in text
    assert guest.end()[:2] == (0, "done\n")


def test_one_vcpu_is_stepped_and_the_other_one_stands_still(
    debugged: Callable[..., Boot], source: Callable[[str], str]
) -> None:
    guest = debugged("--vcpus", "2", source(TWO_VCPUS))
    text = gdb(
        guest.port,
        "break working",
        "continue",
        "delete",
        "set scheduler-locking on",
        "print ((int *)&visits)[0]",
        "stepi",
        "stepi",
        "x/i $pc",
        "next",
        "next",
        "print ((int *)&visits)[0]",
        "print ((int *)&visits)[1]",
        "thread 1",
        "set scheduler-locking off",
        "watch ((int *)&visits)[1]",
        "continue",
        "info threads",
        "delete",
        "continue",
    )
    first, still, second = re.findall(r"^\$\d = (\d+)$", text, re.MULTILINE)
    assert (first, second) == (still, "1")
    assert re.search(r"=> 0x\w+ <visit>:\tincl ", text)
    assert 'Thread 2 "vcpu1" hit ' in text
    assert "Old value = 1\nNew value = 2" in text
    assert re.search(r"^\* 2 ", text, re.MULTILINE)
    assert guest.end()[:2] == (0, "done\n")


def test_a_crash_is_in_the_thread_that_did_it(
    debugged: Callable[..., Boot], source: Callable[[str], str]
) -> None:
    # vcpu 1 goes where there is no memory
    guest = debugged("--vcpus", "2", source(TWO_VCPUS.replace("working:", "working: incl 0xd0000000")))
    text = gdb(guest.port, "continue", "info threads", "continue")
    assert 'Thread 2 "vcpu1" received signal SIGSEGV' in text
    assert re.search(r"^\* 2 .* working \(\) at", text, re.MULTILINE)
    assert guest.end()[0] == 3
