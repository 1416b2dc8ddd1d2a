"""A machine that has nothing to do leaves the host alone: nothing in its process wakes up."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import forked

SLEEPERS = 4
SOURCE = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    .include "vcpus.inc"
    XEN_NOTES sleepers

    .bss
    .skip 4096
other_stack:

    .text
main:
    call events_init
    movl $1, %eax
    movl $sleep, %edx
    movl $other_stack, %ecx
    call start_vcpu
    MUST start_vcpu
    PRINT "asleep\\n"
sleep:
    call block
    jmp sleep
"""
"""Two processors that sleep for ever."""

LEISURE = 2
"""Times that a process may wake up in a second in which it has nothing to do."""


def wake_ups(pid: int) -> int:
    """How often threads of a process have gone to sleep again, so far."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):  # it may end meanwhile
            _, _, after = status.read_text().partition("\nvoluntary_ctxt_switches:")
            found += int(after.split()[0])
    return found


def comes_to_rest(process: forked.Process | subprocess.Popen[bytes]) -> bool:
    """Whether a second comes in which the process hardly wakes up; a busy host only has it come later."""
    limit = time.monotonic() + HOST_TIMEOUT
    while time.monotonic() < limit:
        assert process.poll() is None
        before = wake_ups(process.pid)
        time.sleep(1)
        if 0 <= wake_ups(process.pid) - before <= LEISURE:
            return True
    return False


def test_a_machine_of_sleeping_domains_comes_to_rest(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    kernel = machines.kernel("sleepers", SOURCE)
    files = [machines.domain(f"d{number}", kernel, vcpus=2) for number in range(SLEEPERS)]
    lines = [f"d{number} | asleep" for number in range(SLEEPERS)]
    with machines.running(*files, "--clock", "host", lines=lines) as machine:
        assert comes_to_rest(machine.process)
        # And yet somebody is there.
        status, printed, errors = machines.do("ctl", "list")
        assert (status, errors) == (0, "")
        assert printed.count("-b----") == SLEEPERS


@contextmanager
def on_a_terminal(*command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process, and the other end of its terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "paravane", *command], stdin=theirs, stdout=theirs)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_domain_at_a_terminal_comes_to_rest(tmp_path: Path) -> None:
    source = tmp_path / "sleepers.S"
    source.write_text(SOURCE)
    with on_a_terminal("boot", str(source), "--vcpus", "2", "--clock", "host") as (process, terminal):
        printed = b""
        while b"asleep" not in printed:
            printed += os.read(terminal, 1024)
        assert comes_to_rest(process)
