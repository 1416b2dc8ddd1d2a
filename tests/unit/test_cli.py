"""The command line: every wrong use is one line that says what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from paravane.tools import files
from paravane.tools.arguments import definition, memory_size, number
from paravane.tools.cli import main

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
        ((), 2, "COMMAND"),
        (("fly",), 2, "fly"),
        (("boot",), 2, "IMAGE|NAME|SOURCE.S"),
        (("boot", "no-such-kernel"), 2, "paravane list"),
        (("boot", "hello", "--memory", "lots"), 2, "32M"),
        (("boot", "hello", "--memory", "0"), 2, "positive"),
        (("boot", "hello", "--memory", "64G"), 2, "4 GiB"),
        (("boot", "hello", "stray"), 2, "stray"),
        (("list", "--", "x"), 2, "boot"),
        (("boot", "hello", "--memory", "4K"), 5, "memory"),
        (("boot", "hello", "--timeout", "-1"), 2, "seconds"),
        (("boot", "hello", "--trace-events", "sound"), 2, "hypercall, exception"),
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
    assert {"hello", "rings", "discontiguous", "crash"} <= {line.split()[0] for line in out.splitlines()}


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
    assert result.stderr == "paravane: console output was lost: No space left on device\n"


def test_a_dump_that_cannot_be_written_does_not_hide_the_crash(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["boot", "crash", "--dump-on-crash", "/nonexistent/dump"]) == 3
    assert capfd.readouterr().err.endswith("paravane: /nonexistent/dump: No such file or directory\n")


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
