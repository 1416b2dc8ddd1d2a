"""`paravane boot` as a process: slow readers, signals, lives, endings, and what it leaves behind."""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane.gateway import native
from paravane.trace import Entry
from tests.support import forked
from tests.support.boot import HOST_TIMEOUT
from tests.support.patience import given_longer, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = '.include "runtime.inc"\nXEN_NOTES guest\n.text\nmain:\n'
PRINTER = HEAD + f'PRINT "{"again and " * 100}again\\n"\njmp main\n'
SPIN = HEAD + "jmp main\n"
BLOCK = HEAD + "movl $SCHEDOP_block, %ebx\nHYPERCALL sched_op\njmp main\n"
SHUTDOWN = (
    HEAD
    + "movl $SCHEDOP_shutdown, %ebx\nmovl $reason, %ecx\nHYPERCALL sched_op\nud2\n"
    + ".data\nreason: .long REASON\n"
)
WATCHDOG = (
    HEAD
    + "movl $SCHEDOP_watchdog, %ebx\nmovl $dog, %ecx\nHYPERCALL sched_op\n1: jmp 1b\n"
    + ".data\ndog: .long 0, 1\n"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "guest.S"


_ON_TERMINALS: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _nothing_survives() -> Iterator[None]:
    yield
    forked.kill_all()
    for process in _ON_TERMINALS:
        process.kill()
        process.wait()
    _ON_TERMINALS.clear()


def start(
    *arguments: str | Path, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
) -> forked.Process:
    return forked.start(("boot", *map(str, arguments)), stdin=stdin, stdout=stdout)


def ended(process: forked.Process) -> tuple[int, str]:
    """Exit status and stderr of a process whose stdout nobody reads."""
    with process:
        assert process.stderr is not None
        errors = process.stderr.read().decode()
        return process.wait(HOST_TIMEOUT), errors


def whole(trace: Path) -> str:
    """The lines of a trace whose machine is gone: its writer goes on until there is no more."""
    found: list[str] = []

    def complete() -> bool:
        found[:] = [trace.read_text()]
        return found[0].endswith("\n")

    until(complete)
    return found[0]


def unread(process: forked.Process) -> int:
    """Bytes in the pipe from the process."""
    assert process.stdout is not None
    count = array.array("i", [0])
    fcntl.ioctl(process.stdout.fileno(), termios.FIONREAD, count)
    return count[0]


def is_stuck(process: forked.Process) -> bool:
    """Whether the pipe from the process is full: a page of it may hold less than a page."""
    before = unread(process)
    time.sleep(0.5)
    return 16_384 < before == unread(process)


def test_a_timeout_holds_though_nobody_reads(source: Path) -> None:
    source.write_text(PRINTER)
    sentence = "guest did not end: the time given was used up\n"
    status, _ = given_longer(
        lambda seconds: ended(start(source, "--timeout", str(seconds))),
        lambda outcome: sentence in outcome[1],
    )
    assert status == 124


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_it_though_nobody_reads(source: Path, number: int, status: int) -> None:
    source.write_text(PRINTER)
    process = start(source)
    until(lambda: is_stuck(process))
    process.send_signal(number)
    got, errors = ended(process)
    assert got == status
    assert f"guest did not end: {signal.Signals(number).name} came\n" in errors


def processor_time(process: forked.Process) -> float:
    """Seconds of processor time that a process has used (proc(5), stat)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_guest_whose_output_waits_makes_no_more_calls_and_costs_no_processor_time(
    source: Path, tmp_path: Path
) -> None:
    source.write_text(PRINTER)
    trace = tmp_path / "trace"
    process = start(source, "--trace", trace)

    def rests() -> bool:
        """Two seconds pass without a call. A process that looks around twenty times a second takes some
        0.02 s of them, on any host; one that spins takes all that it gets."""
        calls, used = trace.stat().st_size, processor_time(process)
        time.sleep(2)
        return processor_time(process) - used < 0.2 and trace.stat().st_size == calls

    # A busy host may only have it rest later.
    until(lambda: is_stuck(process) and rests())
    process.kill()
    ended(process)


def test_a_reader_who_has_seen_enough_is_told_in_a_line(source: Path) -> None:
    source.write_text(PRINTER)
    process = start(source)
    assert process.stdout is not None
    process.stdout.read(100)
    process.stdout.close()
    assert ended(process) == (130, "paravane: guest did not end: nobody reads its console any more\n")


def test_what_waited_is_read_in_the_end(source: Path) -> None:
    source.write_text(
        HEAD + "movl $5000, %ebx\n1: pushl %ebx\n" + 'PRINT "line\\n"\npopl %ebx\ndecl %ebx\njnz 1b\nret\n'
    )
    process = start(source)
    until(lambda: unread(process) >= 20_000)
    output, errors = process.communicate(timeout=HOST_TIMEOUT)
    assert output == b"line\n" * 5000
    assert (process.returncode, errors) == (0, b"")


def test_a_trace_to_a_pipe_that_nobody_reads_holds_nothing_up(source: Path) -> None:
    source.write_text(PRINTER)
    process = start(source, "--trace", "-", "--timeout", "5", stdout=subprocess.DEVNULL)
    assert process.wait(HOST_TIMEOUT) == 124
    ended(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_complete_lines_of_json(source: Path, tmp_path: Path, number: int) -> None:
    source.write_text(PRINTER)
    trace = tmp_path / "trace.jsonl"
    process = start(source, "--trace", trace, "--trace-events", "all", stdout=subprocess.DEVNULL)
    # Most of what comes first is the domain being built; then both ends of its events have their say.
    until(lambda: trace.exists() and all(mark in trace.read_text() for mark in ('"send"', '"domain":0')))
    process.send_signal(number)
    ended(process)
    header, *entries = whole(trace).splitlines()
    gateway = {"gateway": "off"} if native.find() else {}
    assert json.loads(header) == {"trace": 1, "producer": "paravane", "clock": "virtual"} | gateway
    assert {Entry.from_json(json.loads(entry)).domid for entry in entries} == {0, 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_killed_run_leaves_complete_trace_lines(source: Path, tmp_path: Path, number: int) -> None:
    source.write_text(PRINTER)
    trace = tmp_path / "trace"
    process = start(source, "--trace", trace, stdout=subprocess.DEVNULL)
    until(lambda: trace.exists() and trace.stat().st_size > 10_000)
    process.send_signal(number)
    status, _ = ended(process)
    assert status == -number
    lines = whole(trace).splitlines()
    assert all(line.startswith("[") and " d1" in line for line in lines)


def test_a_trace_can_be_followed(source: Path, tmp_path: Path) -> None:
    """What a sleeping guest did last is in the file while it sleeps."""
    source.write_text(BLOCK)
    trace = tmp_path / "trace"
    keep_open, stdin = os.pipe()
    process = start(source, "--trace", trace, stdin=keep_open)
    until(lambda: trace.exists() and "sched_op" in trace.read_text())
    os.close(stdin)
    status, errors = ended(process)
    os.close(keep_open)
    assert status == 9
    assert "guest did not end: every vcpu is blocked" in errors
    assert "vcpu 0 sleeps until an event: ring 1, EIP 0x" in errors


def test_a_guest_that_hangs_is_found(source: Path) -> None:
    source.write_text(SPIN)
    status, errors = given_longer(
        lambda seconds: ended(start(source, "--timeout", str(seconds))), lambda outcome: "<main" in outcome[1]
    )
    assert status == 124
    lines = errors.splitlines()
    assert lines[0] == "paravane: guest did not end: the time given was used up"
    assert lines[1].startswith("domain 1 (guest) at ")
    assert lines[2].startswith("vcpu 0 runs: ring 1, EIP 0xc0")
    assert lines[2].endswith(" <main+0x0> guest.S:5")
    assert "  eax " in errors


@pytest.mark.parametrize(
    ("text", "reason", "status", "sentence"),
    [
        (SHUTDOWN, "SHUTDOWN_poweroff", 0, ""),
        (SHUTDOWN, "SHUTDOWN_reboot", 4, "paravane: guest asked for a reboot\n"),
        (SHUTDOWN, "SHUTDOWN_suspend", 6, "paravane: guest suspended itself\n"),
        (
            SHUTDOWN,
            "SHUTDOWN_crash",
            3,
            "domain 1 (guest) crashed: its kernel asked for shutdown with reason 3\n",
        ),
        (SHUTDOWN, "SHUTDOWN_watchdog", 8, "paravane: guest did not push its watchdog back in time\n"),
        (SHUTDOWN, "SHUTDOWN_soft_reset", 7, "paravane: guest asked for a soft reset\n"),
        (WATCHDOG, "", 8, "paravane: guest did not push its watchdog back in time\n"),
    ],
)
def test_each_way_to_end_has_a_status_and_a_sentence(
    source: Path, text: str, reason: str, status: int, sentence: str
) -> None:
    source.write_text(text.replace("REASON", reason))
    got, errors = ended(start(source, stdout=subprocess.DEVNULL))
    assert got == status
    assert sentence in errors
    assert bool(errors) == bool(sentence)


@pytest.mark.parametrize("limit", [("--timeout", "1"), ("--max-traps", "50")])
def test_one_limit_holds_for_all_lives(source: Path, limit: Sequence[str]) -> None:
    source.write_text(SHUTDOWN.replace("REASON", "SHUTDOWN_reboot"))
    status, errors = ended(start(source, "--on-reboot", "restart", *limit, stdout=subprocess.DEVNULL))
    assert status == 124
    assert "was used up" in errors


def test_restarts_can_be_interrupted(source: Path, tmp_path: Path) -> None:
    source.write_text(SHUTDOWN.replace("REASON", "SHUTDOWN_reboot"))
    trace = tmp_path / "trace"
    process = start(source, "--on-reboot", "restart", "--trace", trace)
    until(lambda: trace.exists() and trace.read_text().count("reboot") > 3)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130


@pytest.mark.parametrize(
    ("shell", "status", "words"),
    [
        ("boot hello >&-", 1, "paravane: console output was lost: Bad file descriptor\n"),
        ("boot hello >/dev/full", 1, "paravane: console output was lost: No space left on device\n"),
        ("boot hello <&-", 0, ""),
        ("boot crash 2>&-", 3, ""),
        ("boot crash 2>/dev/full", 3, ""),
        ("list >&-", 1, "paravane: output could not be written: Bad file descriptor\n"),
        ("list >/dev/full", 1, "paravane: output could not be written: No space left on device\n"),
        ("boot hello --trace /dev/full", 1, "paravane: the trace was lost: No space left on device\n"),
        (
            "boot $'\\xff.S'",
            1,
            "error: cannot read `\\udcff.S`: not a file\nparavane: 1 error(s), nothing was built\n",
        ),
        ("info $'\\xff'", 2, "paravane: \\xff is neither a file nor a guest kernel; "),
        ("boot crash --name $'a\\x1b[2J\\nb'", 3, "domain 1 (a\\x1b[2J\\x0ab) crashed: "),
        ("boot hello --log-level error --name $'\\xff'", 0, ""),
        ("boot $'\\x1b'", 2, "paravane: \\x1b is neither a file nor a guest kernel"),
    ],
)
def test_odd_streams_and_names_are_told_in_a_line(shell: str, status: int, words: str) -> None:
    command = f'exec "{sys.executable}" -m paravane {shell}'
    result = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=HOST_TIMEOUT)
    errors = result.stderr.decode()
    assert result.returncode == status
    assert words in errors
    assert "Traceback" not in errors
    assert "\x1b" not in errors
    if status != 3:
        assert bool(errors) == bool(words)


def test_console_output_never_lands_in_a_file_that_was_opened_for_something_else(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = f'exec "{sys.executable}" -m paravane boot hello --trace "{trace}" >&- 2>&-'
    subprocess.run(["bash", "-c", command], check=False, timeout=HOST_TIMEOUT)
    assert all(line.startswith("[") for line in trace.read_text().splitlines())


def test_too_little_memory_is_told_in_a_line() -> None:
    for limit in (60_000, 40_000):
        command = f'ulimit -v {limit}; exec "{sys.executable}" -m paravane boot hello'
        result = subprocess.run(
            ["bash", "-c", command], capture_output=True, check=False, timeout=HOST_TIMEOUT
        )
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1, result.stderr


EARLY = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from paravane.tools.cli import main
sys.exit(main(["boot", "hello"]))
"""


@pytest.mark.parametrize(
    "module", ["paravane.tools.streams", "paravane.tools.commands", "unicorn", "paravane.memory"]
)
def test_ctrl_c_while_it_is_still_loading_is_quiet(module: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", EARLY.format(module=module)],
        capture_output=True,
        check=False,
        timeout=HOST_TIMEOUT,
    )
    assert (result.returncode, result.stderr) == (130, b"")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    controller, follower = os.openpty()
    yield controller, follower
    for number in (controller, follower):
        os.close(number)


def on_terminal(follower: int, *arguments: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "paravane", "boot", *map(str, arguments)]
    _ON_TERMINALS.append(
        subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    )
    return _ON_TERMINALS[-1]


def seen(controller: int, words: bytes) -> bytes:
    """What the terminal shows, up to `words`."""
    shown = b""
    while words not in shown:
        ready, _, _ = select.select([controller], [], [], HOST_TIMEOUT)
        assert ready, shown
        shown += os.read(controller, 4096)
    return shown


def test_lines_on_a_terminal_start_at_its_left_edge(terminal: tuple[int, int]) -> None:
    controller, follower = terminal
    process = on_terminal(follower, "hello")
    shown = seen(controller, b"command line")
    assert b"paravane: Ctrl-] opens a monitor: help lists its commands, quit leaves" in shown
    assert b"hello from ring 1\r\n" in shown
    assert process.wait(HOST_TIMEOUT) == 0


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGUSR1]
)
def test_a_terminal_is_whole_after_a_signal(terminal: tuple[int, int], source: Path, number: int) -> None:
    controller, follower = terminal
    before = termios.tcgetattr(follower)
    source.write_text(HEAD + 'PRINT "here\\n"\n1: jmp 1b\n')
    process = on_terminal(follower, source)
    seen(controller, b"here")
    assert termios.tcgetattr(follower) != before
    process.send_signal(number)
    assert process.wait(HOST_TIMEOUT) == -number
    assert termios.tcgetattr(follower) == before


def test_the_escape_key_says_where_the_guest_was(terminal: tuple[int, int], source: Path) -> None:
    controller, follower = terminal
    source.write_text(HEAD + 'PRINT "here\\n"\nhang: jmp hang\n')
    process = on_terminal(follower, source)
    seen(controller, b"here")
    os.write(controller, b"\x1dq\r")
    shown = seen(controller, b"timers:")
    assert b"guest did not end: its console was left\r\n" in shown
    assert b"<hang+0x0>" in shown
    assert process.wait(HOST_TIMEOUT) == 130


JOB = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.setsid()
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
job = subprocess.Popen([sys.executable, "-m", "paravane", "boot", sys.argv[1]], process_group=0,
                       preexec_fn=lambda: signal.signal(signal.SIGTTOU, signal.SIG_DFL))
_, status = os.waitpid(job.pid, os.WUNTRACED)
print("stopped", os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTTOU, flush=True)
os.tcsetpgrp(0, job.pid)
os.killpg(job.pid, signal.SIGCONT)
_, status = os.waitpid(job.pid, 0)
os.tcsetpgrp(0, os.getpgrp())
print("status", os.waitstatus_to_exitcode(status), flush=True)
"""


def test_a_job_in_the_background_waits_for_its_terminal(terminal: tuple[int, int], source: Path) -> None:
    controller, follower = terminal
    source.write_text(HEAD + 'PRINT "here\\n"\nret\n')
    shell = subprocess.Popen(
        [sys.executable, "-c", JOB, str(source)], stdin=follower, stdout=follower, stderr=follower
    )
    shown = seen(controller, b"status 0\r\n")
    assert b"stopped True" in shown
    assert b"here\r\n" in shown
    assert b"Traceback" not in shown
    assert shell.wait(HOST_TIMEOUT) == 0


def test_a_disassembler_is_loaded_by_those_who_look_at_code(tmp_path: Path) -> None:
    """It takes a tenth of the time that a boot does, and most guests end without a dump."""
    program = """
import sys
from paravane.tools.cli import main
status = main(["boot", *sys.argv[1:]])
print("capstone" in sys.modules, file=sys.stderr)
sys.exit(status)
"""
    crash = tmp_path / "crash.S"
    crash.write_text(HEAD + "ud2\n")
    for kernel, status, loaded in (("hello", 0, "False"), (str(crash), 3, "True")):
        done = subprocess.run(
            [sys.executable, "-c", program, kernel],
            capture_output=True,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            timeout=HOST_TIMEOUT,
            check=False,
            text=True,
        )
        assert done.returncode == status
        assert done.stderr.splitlines()[-1] == loaded
