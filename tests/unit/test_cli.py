"""The command line: every wrong use is one line that says what to do."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import paravane
import paravane.tools.cli
from paravane import guest_kernels
from paravane.tools import files
from paravane.tools.arguments import definition, memory_size, number
from paravane.tools.cli import main
from paravane.tools.deadline import expiring
from paravane.tools.status import Status
from paravane.tools.verbs import VERBS

ROOT = Path(__file__).parents[2]


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "COMMAND is missing: build, info, boot"),
        (("fly",), 2, "no command 'fly': there are build, info"),
        (("biuld", "x.S"), 2, "did you mean `build`?"),
        (("--fast",), 2, "no option --fast; see `paravane --help`"),
        (("boot", "hello", "--fast"), 2, "no option --fast; see `paravane boot --help`"),
        (("build", "x.S"), 2, "-o; see `paravane build --help`"),
        (("info",), 2, "KERNEL; see `paravane info --help`"),
        (("boot",), 2, "KERNEL"),
        (("boot", str(ROOT / "tests")), 2, "kernel.toml"),
        (("new", "3d"), 2, "a letter first"),
        (("new", "hello"), 2, "already"),
        (("boot", "no-such-kernel"), 2, "paravane list"),
        (("boot", "hello", "--memory", "lots"), 2, "32M"),
        (("boot", "hello", "--memory", "0"), 2, "positive"),
        (("boot", "hello", "--memory", "64G"), 2, "4 GiB"),
        (("boot", "hello", "--memory", "9" * 5000), 2, "is not a size: write 32M, 65536K or 1G"),
        (("boot", "hello", "--memory", "9" * 4000 + "G"), 2, "4 GiB"),
        (("boot", "hello", "stray"), 2, "stray"),
        (("list", "--", "x"), 2, "boot"),
        (("boot", "hello", "--memory", "4K"), 5, "memory"),
        (("boot", "hello", "--timeout", "-1"), 2, "seconds"),
        (("boot", "hello", "--trace-events", "sound"), 2, "hypercall, refusal"),
        (("boot", "hello", "--ramdisk", "no-such-file"), 2, "no-such-file"),
        (("boot", str(ROOT / "README.md")), 5, "README.md"),
        (("info", str(ROOT / "README.md")), 5, "README.md"),
        (("info", "no-such-file"), 2, "no-such-file"),
        (("disasm", str(ROOT / "README.md")), 5, "README.md"),
        (("build", "no-such-file.S", "-o", "out.elf"), 1, "no-such-file.S"),
        (("build", "x.S", "-o", "out.elf", "-D", "1x=2"), 2, "1x"),
    ],
)
def test_a_wrong_use_is_answered_with_a_line_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, out, err = _run(capsys, *arguments)
    assert (got, out) == (status, "")
    assert words in err
    assert len(err.splitlines()) == 1 or arguments[0] == "build"


@pytest.mark.parametrize(
    ("text", "size"),
    [("32M", 32 << 20), ("1G", 1 << 30), ("64", 64 << 20), ("128k", 128 << 10), ("8MB", 8 << 20)],
)
def test_memory_sizes(text: str, size: int) -> None:
    assert memory_size(text) == size


@pytest.mark.parametrize(("text", "value"), [("10", 10), ("0x10", 16), ("010", 8), ("0", 0)])
def test_numbers_are_written_as_in_c(text: str, value: int) -> None:
    assert number(text) == value


def test_a_definition_without_a_value_is_one() -> None:
    assert definition("DEBUG") == ("DEBUG", 1)
    assert definition("SIZE=0x20") == ("SIZE", 32)


def test_list_names_every_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "list")
    assert status == 0
    marks = {line.split()[0]: line.split()[1] for line in out.splitlines()}
    assert {"hello", "rings", "discontiguous", "crash"} <= marks.keys()
    marked = {name for name, mark in marks.items() if mark == "run"}
    assert {"grants", "net", "pingpong"} <= marked, "those that bring the files of several domains"
    assert marked == {name for name in marks if any(guest_kernels.folder_of(name).glob("*.cfg"))}


def test_what_follows_the_dashes_is_the_kernels_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["boot", "hello", "--memory", "8M", "--", "root=/dev/xvda", "-s", "two words"]) == 0
    assert "command line: root=/dev/xvda -s 'two words'\n" in capfd.readouterr().out


def test_lost_console_output_is_told() -> None:
    command = [sys.executable, "-m", "paravane.tools.cli", "boot", "hello"]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
        )
    assert result.returncode == 1
    # A guest that is still at work when that is noticed did not end either, which is told before.
    assert result.stderr.endswith("paravane: console output was lost: No space left on device\n")


def test_a_dump_that_cannot_be_written_does_not_hide_the_crash(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    dump = tmp_path / "none" / "dump"
    assert main(["boot", "crash", "--dump-on-crash", str(dump)]) == 3
    assert capfd.readouterr().err.endswith(f"paravane: {dump}: No such file or directory\n")


def test_a_dump_goes_to_a_file_as_well(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["boot", "crash", "--dump-on-crash", str(tmp_path / "dump")]) == 3
    assert (tmp_path / "dump").read_text() == capfd.readouterr().err
    assert "crash.S:" in (tmp_path / "dump").read_text()


def test_a_file_without_end_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 1 << 20)
    for command in (["boot", "/dev/zero"], ["info", "/dev/zero"], ["disasm", "/dev/zero"]):
        status, _, err = _run(capsys, *command)
        assert status == 5
        assert "1 MiB" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "a.S", "-o", "a.S"),
        ("build", "a.S", "-o", "link.S"),
        ("build", "a.S", "-o", "hard.S"),
        ("build", "a.S", "-o", "part.inc"),
        ("build", "a.S", "-o", "part.bin"),
        ("build", "a.S", "-o", "new.elf", "--listing", "a.S"),
        ("build", "a.S", "-o", "new.elf", "--listing", "new.elf"),
        ("build", "a.S", "-o", "new.elf", "--listing", "./new.elf"),
        ("boot", "a.S", "--trace", "a.S"),
        ("boot", "a.S", "--trace", "part.inc"),
        ("boot", "a.S", "--dump-on-crash", "a.S"),
        ("boot", "a.S", "--ramdisk", "disk", "--trace", "disk"),
        ("boot", "a.S", "--trace", "new", "--dump-on-crash", "new"),
    ],
)
def test_nothing_that_is_read_is_written(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.S").write_text(
        '.include "runtime.inc"\n.include "part.inc"\nXEN_NOTES a\nmain: ret\n.incbin "part.bin"\n'
    )
    (tmp_path / "part.inc").write_text("\n")
    (tmp_path / "part.bin").write_bytes(b"x")
    (tmp_path / "disk").write_bytes(b"x")
    (tmp_path / "link.S").symlink_to("a.S")
    (tmp_path / "hard.S").hardlink_to(tmp_path / "a.S")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    status, out, err = _run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert "would overwrite" in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_build_that_fails_leaves_the_old_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.S").write_text("_start: ret\n")
    output = tmp_path / "a.elf"
    output.write_bytes(b"good")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = _run(capsys, "build", str(tmp_path / "a.S"), "-o", str(output))
    assert (status, err) == (1, f"paravane: {output}: No space left on device\n")
    assert output.read_bytes() == b"good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.S", "a.elf"]


def test_a_written_file_is_like_one_written_in_place(tmp_path: Path) -> None:
    plain, new, kept, link = (tmp_path / name for name in ("plain", "new", "kept", "link"))
    plain.write_bytes(b"")
    kept.write_bytes(b"old")
    kept.chmod(0o640)
    link.symlink_to("kept")
    files.write_file(new, b"1")
    files.write_file(link, b"2")
    files.write_file(Path("/dev/null"), b"3")
    assert (new.read_bytes(), new.stat().st_mode) == (b"1", plain.stat().st_mode)
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"2", 0o640)
    assert link.is_symlink()
    with pytest.raises(OSError, match="No such file") as error:
        files.write_file(tmp_path / "none" / "x", b"")
    assert error.value.filename == str(tmp_path / "none" / "x")


@pytest.mark.parametrize(
    ("words", "line"),
    [(["a b"], "a b"), (["a", "b=c"], "a b=c"), (["sh", "-c", "echo $i"], "sh -c 'echo $i'")],
)
def test_one_word_is_a_whole_command_line_and_several_stay_words(
    words: list[str], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["boot", "hello", "--", *words]) == 0
    assert f"command line: {line}\n" in capfd.readouterr().out


def test_help_names_statuses_events_and_the_escape_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    status, out, _ = _run(capsys, "--help")
    assert status == 0
    assert {int(status) for status in Status} <= {
        int(line.split()[0]) for line in out.splitlines() if line[:6].strip().isdigit()
    }
    _, out, _ = _run(capsys, "boot", "--help")
    assert "Ctrl-]" in out
    assert "hypercall,refusal,trap,event" in out
    assert "64M, 65536K, 1G" in out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "--version")
    assert status == 0
    assert re.fullmatch(r"paravane \d+(\.\d+)+ \(Unicorn \d+(\.\d+)+\)\n", out)
    status, verbose, _ = _run(capsys, "--version", "-v")
    assert status == 0
    assert "engine: Unicorn " in verbose
    assert "survives its own deaths: " in verbose


@pytest.mark.parametrize("verb", list(VERBS))
def test_the_help_of_every_verb_explains_its_arguments_and_has_an_example(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = _run(capsys, verb, "--help")
    assert status == 0
    assert f"\n  paravane {verb}" in out
    for line in out.partition("\noptions:")[0].partition("arguments:\n")[2].splitlines():
        assert len(line.split()) > 2, f"an argument without an explanation: {line}"
    assert all(len(line) <= 100 for line in out.partition("example")[2].splitlines())


@pytest.mark.parametrize(
    ("left", "why"),
    [
        ({}, "No module named 'paravane.tools.streams'"),
        ({"streams.py": b"def claim("}, "'(' was never closed (streams.py, line 1)"),
        ({"streams.py": bytes(64)}, "source code string cannot contain null bytes"),
    ],
)
@pytest.mark.parametrize("stderr", ["a pipe", "closed", "full"])
def test_a_broken_installation_is_a_line(
    left: dict[str, bytes], why: str, stderr: str, tmp_path: Path
) -> None:
    """What an interrupted installation leaves: not the module that messages are written by, for one."""
    tools = tmp_path / "paravane" / "tools"
    tools.mkdir(parents=True)
    sources = {"../__init__.py": paravane, "__init__.py": paravane.tools, "cli.py": paravane.tools.cli}
    for name, module in sources.items():
        shutil.copy(str(module.__file__), tools / name)
    for name, contents in left.items():
        (tools / name).write_bytes(contents)
    command = [sys.executable, "-m", "paravane.tools.cli", "list"]
    redirected = {"a pipe": "", "closed": "2>&-", "full": "2>/dev/full"}[stderr]
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    expected = f"paravane: a part of it cannot be loaded: {why}"
    assert ended.stderr.startswith(expected if not redirected else "")
    assert ended.stderr.count("\n") == (0 if redirected else 1)


def _command(*arguments: str, stdout: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paravane", *arguments]
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
        stdout=stdout,
    )


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("boot", "--help"), ("--version",), ("list",), ("build", "a.S", "-o", "/dev/full")],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_status_1_for_every_verb(
    arguments: tuple[str, ...], unbuffered: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    (tmp_path / "a.S").write_text("_start: ret\n")
    with open("/dev/full", "wb") as full:
        ended = _command(*arguments, stdout=full.fileno())
    assert ended.returncode == 1
    assert ended.stderr.startswith("paravane: ")
    assert ended.stderr.count("\n") == 1
    assert "No space left on device" in ended.stderr


def test_a_trace_that_cannot_be_written_is_status_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = str(tmp_path / "none" / "trace")
    assert _run(capsys, "boot", "hello", "--trace", name) == (
        1, "", f"paravane: {name}: No such file or directory\n"
    )  # fmt: skip


ENDLESS = (
    "".join(f".macro m{n}\n" + f"m{n + 1}\n" * 8 + ".endm\n" for n in range(6)) + ".macro m6\n.endm\nm0\n"
)


@pytest.mark.parametrize(
    "arguments", [("slow.S",), ("fifo",), ("hello", "--ramdisk", "fifo"), ("hello", "--trace", "fifo")]
)
def test_the_time_given_counts_what_comes_before_the_guest(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Assembling, and opening a FIFO that nobody has at its other end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.S").write_text(ENDLESS)
    os.mkfifo(tmp_path / "fifo")
    ended = _command("boot", *arguments, "--timeout", "0.05", stdout=subprocess.DEVNULL)
    assert ended.returncode == Status.TIMEOUT
    assert ended.stderr == f"paravane: {arguments[0]} was not ready when the time given was used up\n"


def test_the_alarm_is_as_before_when_the_deadline_did_not_come() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with expiring(time.monotonic() + 1000):
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("arguments", [("--help",), ("boot", "no-such-kernel"), ("list",)])
def test_a_verb_loads_only_what_it_needs(arguments: tuple[str, ...]) -> None:
    """`list` and `--help` start no engine and no assembler."""
    report = (
        "import sys; from paravane.tools.cli import main; main(sys.argv[1:]); print([m for m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", report, *arguments], capture_output=True, text=True, check=True, timeout=300
    )
    assert ("'paravane.cpu.engine.library'" in ended.stdout) is (arguments[0] == "boot")
    assert "'paravane.asm'" not in ended.stdout
