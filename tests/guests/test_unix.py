"""The unix guest kernel runs Debian's busybox, unmodified, as Linux would."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.abi.sched import ShutdownReason
from tests.support.boot import HOST_TIMEOUT, boot, finished, paravane
from tests.support.needs import BUSYBOX, require
from tests.support.unix_archive import SMALL, archive, kernel, program, run_unix

if TYPE_CHECKING:
    from pathlib import Path


FILES: dict[str, bytes | str] = {
    "etc/motd": b"one\ntwo\nthree\n",
    "etc/noise": bytes(index * 7 % 251 for index in range(70_000)),
    "etc/link": "motd",
}

# What a shell does, with a result that is the same on any machine. Each runs on the host's Linux too.
SCRIPTS = {
    "applets": "echo hello; cat etc/motd; md5sum etc/noise; ls etc | cat; wc etc/*; readlink etc/link",
    "loop and pipe": "echo hello | md5sum; for i in 1 2 3; do echo $i; done",
    "exit statuses": "(exit 3); echo $?; false; echo $?; nosuch 2>&-; echo $?; sh -c 'kill $$'; echo $?",
    "substitution": "echo $(echo $(echo $(echo deep))); x=`seq 1 200 | sort -rn | head -3`; echo $x",
    "text tools": "seq 1 500 | awk '{s+=$1} END {print s, s/3}'; sed 's/t/T/g' etc/motd | sort | tr a-z A-Z",
    "compression": "gzip < etc/noise | gunzip | cmp - etc/noise && echo same",
    "long pipeline": "cat etc/noise etc/noise | cat | cat | tail -c 90000 | head -c 80000 | md5sum",
    "early reader end": "yes | head -n 3; echo $?",
    "traps": "trap 'echo usr' USR1; kill -USR1 $$; trap 'echo bye' EXIT; "
    "sleep 5 & kill $!; wait $! 2>/dev/null; echo $?",
    "background jobs": "for i in 1 2 3 4; do (sleep 0.$i; echo $i) & done; wait; echo all",
    "descriptors": "exec 5<etc/motd; read a <&5; read b <&5; echo $b $a; { echo err >&2; } 2>&1 | tr e E",
    "directories": "cd etc; basename `pwd`; cd ..; test -d etc && test -f etc/motd && test ! -e x; echo $?",
    "here document": "cat <<END\n$((6 * 7))\nEND",
    "many short processes": "for i in `seq 1 60`; do true | cat; done; for i in 1 2 3; do true & done; wait",
}


@pytest.fixture(scope="module")
def host_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's files in a folder of the host."""
    root = tmp_path_factory.mktemp("root")
    (root / "etc").mkdir()
    for name, data in FILES.items():
        if isinstance(data, str):
            (root / name).symlink_to(data)
        else:
            (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("name", SCRIPTS)
def test_busybox_prints_what_it_prints_on_linux(name: str, host_root: Path) -> None:
    outcome = run_unix("sh", "-c", SCRIPTS[name], files=FILES)
    host = subprocess.run(
        [require(BUSYBOX), "sh", "-c", SCRIPTS[name]],
        cwd=host_root,
        env={"PATH": "/bin", "HOME": "/"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=HOST_TIMEOUT,
        check=True,
    )
    finished(outcome)
    assert outcome.console == host.stdout.decode()


def test_uname_names_linux_as_the_abi_and_this_kernel() -> None:
    outcome = finished(run_unix("uname", "-a"))
    assert outcome.console == "Linux unix 5.4.0-paravane #1 guest kernel unix i686 GNU/Linux\n"


def test_status_of_the_first_program_is_printed_unless_it_is_zero() -> None:
    outcome = finished(run_unix("sh", "-c", "exit 3"))
    assert outcome.console == "exit status 3\n"


def test_program_that_is_not_there_is_named() -> None:
    outcome = finished(run_unix("/bin/absent"))
    assert outcome.console == "unix: cannot run /bin/absent: error 2\nexit status 127\n"


def test_script_is_run_by_the_program_it_names() -> None:
    files: dict[str, bytes | str] = {
        "bin/sh": "busybox",
        "etc/inner": b'#! /bin/sh -e\necho "$0" "$1" $#; false; echo unreachable\n',
        "etc/outer": b"#!/etc/inner a b  \n",
        "etc/loop": b"#!/etc/loop\n",
    }
    script = "/etc/outer 'x y'; echo $?; env /etc/loop; env /etc/inner"
    outcome = finished(run_unix("sh", "-c", script, files=files))
    assert outcome.console.splitlines() == [
        "/etc/inner a b 3",
        "1",
        "env: can't execute '/etc/loop': Too many levels of symbolic links",
        "/etc/inner  0",
        "exit status 1",
    ]


@pytest.mark.parametrize("text", [b"#!", b"#! \t", b"#!\n/bin/sh", b"#!" + b" " * 300 + b"/bin/sh\n"])
def test_script_that_names_no_program_is_refused(text: bytes) -> None:
    outcome = finished(run_unix("/bin/script", files={"bin/script": text}, with_busybox=False, memory=SMALL))
    assert outcome.console == "unix: cannot run /bin/script: error 8\nexit status 127\n"


def test_archive_cannot_be_changed() -> None:
    script = (
        "touch /x; rm -f /etc/motd; mkdir /y; echo > /etc/motd; echo > /z/x; cat /etc/motd; echo > /dev/null"
    )
    outcome = finished(run_unix("sh", "-c", script, files=FILES))
    lines = outcome.console.splitlines()
    assert [line.rpartition(": ")[2] for line in lines[:5]] == 4 * ["Read-only file system"] + [
        "nonexistent directory"
    ]
    assert lines[5:] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo a  b\tc", ["a", "b", "c"]),
        ("echo 'a  b' \"c 'd'\"", ["a  b", "c 'd'"]),
        ("echo 'it'\"'\"'s' a\\ b", ["it's", "a b"]),
        ('echo "a\\"b\\\\c\\d" \'\' x', ['a"b\\c\\d', "", "x"]),
        ("echo 'open", ["open"]),
    ],
)
def test_command_line_is_split_as_a_shell_would(line: str, words: list[str]) -> None:
    outcome = finished(boot(kernel(), cmdline=line, ramdisk=archive({})))
    assert outcome.console == " ".join(words) + "\n"


def test_without_an_archive_it_says_what_it_wants() -> None:
    outcome = finished(boot(kernel(), cmdline="echo"))
    assert "--ramdisk" in outcome.console


def test_command_boots_it_with_a_ramdisk(tmp_path: Path) -> None:
    ramdisk = tmp_path / "archive.cpio"
    ramdisk.write_bytes(archive({}))
    script = 'echo "it\'s $1"'
    result = paravane("boot", "--ramdisk", str(ramdisk), "unix", "--", "sh", "-c", script, "sh", "a  b")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"it's a  b\n", b"")


def test_process_that_wants_too_much_memory_is_killed_alone() -> None:
    hog = program("1: pushl %eax\n jmp 1b")
    script = "/bin/hog; echo $?; /bin/hog & /bin/hog & wait; echo alive"
    outcome = finished(run_unix("sh", "-c", script, files={"bin/hog": hog}, memory=12 << 20))
    lines = outcome.console.splitlines()
    assert lines[0] == "out of memory: killed hog"
    assert "137" in lines
    assert lines[-1] == "alive"


def test_too_many_processes_are_refused_and_the_rest_goes_on() -> None:
    script = "i=0; while [ $i -lt 70 ]; do sleep 1000 & i=$((i+1)); done; echo unreachable"
    outcome = finished(run_unix("sh", "-c", f"(sh -c '{script}'); echo after; sleep 2000; echo again | cat"))
    assert "can't fork: Resource temporarily unavailable" in outcome.console
    assert outcome.console.endswith("after\nagain\n")


def test_large_transfer_through_pipes_arrives_whole() -> None:
    script = "dd if=/dev/zero bs=5000 count=800 2>/dev/null | cat | cat | md5sum"
    outcome = finished(run_unix("sh", "-c", script))
    assert outcome.console.split()[0] == hashlib.md5(bytes(4_000_000)).hexdigest()


def test_terminal_gives_lines_with_echo_and_ends_at_control_d() -> None:
    outcome = finished(run_unix("sh", "-c", "read line; echo got $line; cat", stdin=b"onx\x7fe\rtwo\n\x04"))
    assert outcome.console == "onx\b \be\ntwo\ngot one\ntwo\n"


@pytest.mark.parametrize("work", ["while :; do :; done", "cat"])
def test_control_c_reaches_what_runs_in_the_foreground(work: str) -> None:
    script = f"trap 'echo caught; exit 0' INT; echo ready; {work}"
    config = DomainConfig(cmdline=shlex.join(["sh", "-c", script]), ramdisk=archive({}))
    with Machine(Machine.size_for(config.memory)) as machine:
        domain = machine.create(load_image(kernel()), config)
        for _ in range(1000):
            reason = machine.run(timeout=0.1).reason
            # A shell that has said so may not have started `cat` yet: that has all asleep.
            if b"ready" in domain.console_output() and (work != "cat" or reason is StopReason.STALLED):
                break
        domain.console.feed(b"\x03")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.reason is ShutdownReason.poweroff
        assert domain.console_output().decode().splitlines() == ["ready", "^C", "caught"]


def test_process_that_only_computes_does_not_keep_the_others_waiting() -> None:
    script = (
        "(while :; do :; done) & spin=$!; sleep 0.2; echo slept; kill $spin; wait $spin 2>/dev/null; echo $?"
    )
    outcome = finished(run_unix("sh", "-c", script))
    assert outcome.console == "slept\n143\n"


def test_interactive_shell_takes_commands_from_the_terminal() -> None:
    outcome = finished(run_unix("sh", stdin=b"echo $((40 + 2))\nexit\n"))
    assert "\n42\n" in outcome.console.replace("\r\n", "\n")


@pytest.mark.parametrize("seed", [1, 7, 99])
def test_result_does_not_depend_on_which_frames_the_domain_gets(seed: int) -> None:
    outcome = finished(run_unix("sh", "-c", "echo $(cat /etc/noise | md5sum)", files=FILES, seed=seed))
    noise = FILES["etc/noise"]
    assert isinstance(noise, bytes)
    assert outcome.console == f"{hashlib.md5(noise).hexdigest()} -\n"


@pytest.mark.parametrize("memory", [8, 70, 200])
def test_domains_of_any_size_have_all_their_memory(memory: int) -> None:
    outcome = finished(run_unix("sh", "-c", "free 2>/dev/null; echo ok", memory=memory << 20))
    assert outcome.console.endswith("ok\n")
