"""`paravane run` as a process: many domains, their consoles and ends, and mistakes in their files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane.tools.cli import main
from paravane.tools.status import Status
from tests.support.machines import Machines
from tests.support.small_machines import BLOCK, PRINTER, SPIN

if TYPE_CHECKING:
    from collections.abc import Callable

    Mistaken = Callable[..., tuple[int, str]]


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


@pytest.fixture
def mistaken(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Mistaken:
    """`run` in this process, in the folder of `machines`: its status, and the one line that it says."""
    monkeypatch.chdir(machines.folder)
    monkeypatch.setenv("XDG_RUNTIME_DIR", machines.environment["XDG_RUNTIME_DIR"])

    def run(*arguments: str) -> tuple[int, str]:
        status = main(("run", *arguments))
        printed, errors = capfd.readouterr()
        assert printed == ""
        assert errors.endswith("\n")
        assert errors.count("\n") == 1
        return status, errors

    return run


def test_two_domains_print_lines_after_their_names(machines: Machines) -> None:
    files = [machines.domain(name, "hello", extra=name) for name in ("web", "database")]
    status, printed, errors = machines.do("run", *files, "--audit")
    assert status == Status.OK
    for name in ("web", "database"):
        assert [line for line in printed.splitlines() if line.startswith(name)] == [
            f"{name:8} | hello from ring 1",
            f"{name:8} | magic: xen-3.0-x86_32p",
            f"{name:8} | memory: 2048 pages",
            f"{name:8} | command line: {name}",
        ]
    assert "audit: no difference" in errors
    assert "paravane: web (domain 1) has ended: poweroff" in errors


def test_a_kernel_that_comes_with_files_runs_by_its_name(machines: Machines) -> None:
    status, printed, _ = machines.do("run", "pingpong")
    assert status == Status.OK
    assert "ping | 1000 balls came back" in printed
    assert "pong | 1000 balls sent back" in printed


def test_a_page_is_lent_and_outlives_who_lent_it(machines: Machines) -> None:
    status, printed, errors = machines.do("run", "grants", "--audit")
    assert status == Status.OK, errors
    lines = printed.splitlines()
    assert [line for line in lines if line.startswith("taker")] == [
        "taker | the letter says: dear taker",
        "taker | the notice, to write it: refused, status -1",
        "taker | the notice, to read it: for all to read",
        "taker | the notice, copied: for all to read",
        "taker | the notice, once more: refused, status -1",
        "taker | the giver has gone, its letter says: dear giver",
        "taker | now it says: and so it ends",
        "taker | the letter is returned",
        "taker | the letter, once more: refused, status -2",
    ]
    assert [line for line in lines if line.startswith("giver")] == [
        "giver | the answer: dear giver",
        "giver | take the letter back: it is in use",
        "giver | take the notice back: done",
        "giver | the giver leaves, and its letter stays",
    ]
    assert "audit: no difference" in errors


def test_sixteen_domains_of_a_folder_run_side_by_side(machines: Machines) -> None:
    names = [f"d{number:02}" for number in range(16)]
    for name in names:
        machines.domain(name, "hello", extra=name)
    status, printed, _ = machines.do("run", ".", "--deterministic", "--audit")
    assert status == Status.OK
    assert sorted(line for line in printed.splitlines() if "command line" in line) == [
        f"{name} | command line: {name}" for name in names
    ]


def test_a_control_domain_comes_first_and_the_machine_goes_down_with_it(machines: Machines) -> None:
    files = [
        machines.domain("web", machines.kernel("web", BLOCK)),
        machines.domain("control", "domain0", privileged=1),
    ]
    status, printed, errors = machines.do("run", *files, "--audit")
    assert status == Status.OK, errors
    lines = [line for line in printed.splitlines() if line.startswith("control")]
    assert lines[:2] == ["control | domain 2 is built, of 2048 pages", "control | [2] hello from ring 1"]
    assert "paravane: control (domain 0) has ended: poweroff" in errors
    assert "audit: no difference" in errors


def test_a_machine_has_one_control_domain(machines: Machines) -> None:
    files = [machines.domain(name, "domain0", privileged=1) for name in ("one", "two")]
    status, _, errors = machines.do("run", *files)
    assert (status, errors) == (
        Status.USAGE,
        "paravane: a machine has one control domain, and one.cfg and two.cfg both want to be it\n",
    )


def test_two_deterministic_runs_give_the_same_trace(machines: Machines) -> None:
    files = [
        machines.domain(name, kernel) for name, kernel in (("a", "hello"), ("b", "traps"), ("c", "batch"))
    ]
    traces = []
    for name in ("one.jsonl", "two.jsonl"):
        status, _, errors = machines.do("run", *files, "--deterministic", "--trace", name)
        assert status == Status.OK, errors
        traces.append((machines.folder / name).read_bytes())
    assert traces[0] == traces[1]
    assert b'"domain":3' in traces[0].replace(b" ", b"")


def test_a_crash_leaves_the_others_running_and_is_the_status(machines: Machines) -> None:
    files = [machines.domain("bad", "crash"), machines.domain("good", "hello")]
    status, printed, errors = machines.do("run", *files)
    assert status == Status.CRASHED
    assert "good | command line: greet=world" in printed
    assert "domain 1 (bad) crashed: #PF" in errors


def test_a_reboot_loop_is_given_up_and_leaves_the_others_running(machines: Machines) -> None:
    files = [machines.domain("loop", cmdline="r"), machines.domain("good", "hello")]
    status, printed, errors = machines.do("run", *files)
    assert status == Status.REBOOT
    assert "good | command line: greet=world" in printed
    assert errors.count("has ended: reboot") == 5
    assert "loop is not restarted: it has ended 5 times in a row" in errors


def test_what_a_domain_does_when_it_has_ended_is_as_its_file_says(machines: Machines) -> None:
    files = [
        machines.domain("one", cmdline="c", on_crash="rename-restart"),
        machines.domain("two", cmdline="r", on_reboot="preserve"),
    ]
    _, _, errors = machines.do("run", *files)
    assert errors.count("(one) crashed: #UD") == 1
    assert "one is not restarted: a domain of 8 MiB does not fit into this machine" in errors
    assert errors.count("two (domain 2) has ended: reboot") == 1


def test_the_first_interrupt_asks_all_to_power_off(machines: Machines) -> None:
    files = [
        machines.domain("web"),
        machines.domain("db"),
        machines.domain("deaf", machines.kernel("b", BLOCK)),
    ]
    with machines.running(*files, lines=("web  | ready", "db   | ready")) as machine:
        machine.process.send_signal(signal.SIGINT)
        status, printed, errors = machine.end()
    assert status == Status.INTERRUPTED
    assert "web  | powers off as it is asked to" in printed
    assert "db   | powers off as it is asked to" in printed
    assert "3 domains are asked to power off; Ctrl-C again destroys them" in errors
    assert "deaf is destroyed: it sleeps and does not listen" in errors


def test_who_slept_for_good_before_he_was_asked_is_destroyed_too(machines: Machines) -> None:
    with machines.running(machines.domain("deaf", machines.kernel("b", BLOCK)), lines=()) as machine:
        machine.wait_until_told("every vcpu is blocked, and no timer or input can wake one")
        machine.process.send_signal(signal.SIGINT)
        status, _, errors = machine.end()
    assert status == Status.INTERRUPTED
    assert "1 domain is asked to power off; Ctrl-C again destroys it" in errors
    assert "deaf is destroyed: it sleeps and does not listen" in errors
    assert errors.count("every vcpu is blocked") == 1


def test_the_second_interrupt_destroys(machines: Machines) -> None:
    files = [machines.domain("web"), machines.domain("spin", machines.kernel("s", SPIN))]
    with machines.running(*files, lines=("web  | ready",)) as machine:
        machine.process.send_signal(signal.SIGINT)
        machine.wait_for("web  | powers off as it is asked to")
        machine.process.send_signal(signal.SIGINT)
        status, _, errors = machine.end()
    assert status == Status.INTERRUPTED
    assert "the machine was stopped: SIGINT came" in errors
    assert "domain 2 (spin) at" in errors


def test_a_termination_ends_all_in_order_and_then_the_process_by_it(machines: Machines) -> None:
    with machines.running(machines.domain("web"), lines=("web | ready",)) as machine:
        machine.process.send_signal(signal.SIGTERM)
        status, printed, _ = machine.end()
    assert status == -signal.SIGTERM
    assert "web | powers off as it is asked to" in printed


def test_a_paused_domain_is_destroyed_when_all_is_to_end(machines: Machines) -> None:
    with machines.running(machines.domain("web"), "--paused") as machine:
        while machines.do("ctl", "list")[0] != Status.OK:
            assert machine.process.poll() is None
        machine.process.send_signal(signal.SIGINT)
        status, printed, errors = machine.end()
    assert (status, printed) == (Status.INTERRUPTED, "")
    assert "web is destroyed: it is paused" in errors


def test_the_traps_given_are_for_all(machines: Machines) -> None:
    files = [machines.domain("good", "hello"), machines.domain("printer", machines.kernel("p", PRINTER))]
    status, printed, errors = machines.do("run", *files, "--max-traps", "5000")
    assert status == Status.TIMEOUT
    assert "good    | command line: greet=world" in printed
    assert "the machine was stopped: the number of traps given was used up" in errors
    assert "domain 2 (printer) at" in errors


def test_it_ends_when_nobody_reads_its_consoles(machines: Machines) -> None:
    process = machines.start("run", machines.domain("printer", machines.kernel("p", PRINTER)))
    assert process.stdout is not None
    assert process.stdout.readline() == b"printer | again\n"
    process.stdout.close()
    assert process.wait() == Status.ERRORS
    assert process.stderr is not None
    assert b"nobody reads its consoles any more" in process.stderr.read()
    process.stderr.close()


def test_a_console_is_joined_with_its_input_and_the_others_are_hidden(machines: Machines) -> None:
    files = [machines.domain("web"), machines.domain("other", "hello")]
    process = machines.start("run", *files, "--console", "web", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdin.write(b"some text\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"some text^\n"
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate()
    assert rest == b"powers off as it is asked to\n"
    assert b"other (domain 2) has ended: poweroff" in errors


def test_a_console_is_left_by_its_keys_and_the_machine_goes_on(machines: Machines) -> None:
    controller, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "paravane", "run", machines.domain("web"), "--console", "web"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=machines.folder,
        env=machines.environment,
        start_new_session=True,
    )
    os.close(follower)
    shown = b""

    def seen(words: bytes) -> None:
        nonlocal shown
        while words not in shown:
            shown += os.read(controller, 4096)
        shown = shown.partition(words)[2]

    seen(b"Ctrl-] opens a monitor")
    seen(b"ready\r\n")
    os.write(controller, b"abc\r")
    seen(b"abc^\r\n")
    os.write(controller, b"\x1dwhere\r")
    seen(b"domain 1 (web) at ")
    os.write(controller, b"quit\r")
    seen(b"the console of web was left")
    process.send_signal(signal.SIGINT)
    seen(b"web |\x1b[0m powers off as it is asked to\r\n")
    assert process.wait() == Status.INTERRUPTED
    os.close(controller)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = 'x'\nkernel = 'hello'\nmemory = 'much'\n", "bad.cfg:3: memory is no number: 'much'"),
        ("name = 'x'\nkernel = 'nothing'\n", "bad.cfg: nothing is neither a file nor a guest kernel"),
        ("name = 'x'\nkernel = 'bad.cfg'\n", "bad.cfg: bad.cfg:"),
        ("name = 'x'\nkernel = 'hello'\ncap = 20\n", "bad.cfg: the scheduling policy bvt keeps no caps"),
        ("name = 'x'\nkernel = 'hello'\nramdisk = 'none.gz'\n", "none.gz: No such file or directory"),
        ("name = 'x'\nkernel = 'hello'\nramdisk = '/proc/self/mem'\n", "/proc/self/mem: Input/output error"),
        ("name = 'x'\nkernel = 'hello'\nmemory = 4095\n", "do not fit into a machine of 4 GiB"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(mistaken: Mistaken, text: str, sentence: str) -> None:
    Path("bad.cfg").write_text(text)
    status, error = mistaken("bad.cfg")
    assert status in (Status.USAGE, Status.IMAGE)
    assert sentence in error


def test_mistakes_on_the_command_line_are_one_line(machines: Machines, mistaken: Mistaken) -> None:
    machines.domain("web", "hello", seed=1)
    Path("same.cfg").write_text("name = 'web'\nkernel = 'hello'\n")
    Path("other.cfg").write_text("name = 'other'\nkernel = 'hello'\nseed = 2\n")
    Path("empty").mkdir()
    for arguments, sentence in (
        (["nothing.cfg"], "nothing.cfg is neither a file nor a guest kernel"),
        (["hello"], "there is no .cfg file in it"),
        (["empty"], "empty: there is no .cfg file in it"),
        (["web.cfg", "web.cfg"], "web.cfg and web.cfg both call their domain 'web'"),
        (["web.cfg", "same.cfg"], "same.cfg and web.cfg both call their domain 'web'"),
        (
            ["web.cfg", "other.cfg"],
            "one seed, and web.cfg (1) and other.cfg (2) want different ones",
        ),
        (["web.cfg", "--console", "x"], "--console: there is no domain 'x' but web"),
        (["web.cfg", "--trace", "web.cfg"], "--trace web.cfg would overwrite web.cfg, which is read"),
    ):
        status, error = mistaken(*arguments)
        assert status == Status.USAGE, error
        assert sentence in error
