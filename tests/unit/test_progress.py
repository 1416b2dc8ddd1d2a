"""How far a long work has come, on a terminal: there while it lasts, and nowhere else."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING

import pexpect
import pytest

from paravane import asm
from paravane.tools.progress import portion, telling
from tests.support.boot import HOST_TIMEOUT, paravane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ERASE = "\r\x1b[K"
COLUMNS = 40


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: what its user sees, and what programs have."""
    monkeypatch.setenv("TERM", "xterm")
    seen, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("4H", 24, COLUMNS, 0, 0))
    yield seen, program
    os.close(seen)
    os.close(program)


def read(fileno: int, pattern: str) -> str:
    """What comes, until it has `pattern` in it."""
    text = ""
    while not re.search(pattern, text):
        assert select.select([fileno], [], [], HOST_TIMEOUT)[0], text
        text += os.read(fileno, 1000).decode()
    return text


def rest(fileno: int) -> str:
    """What has come and was not read."""
    text = ""
    while select.select([fileno], [], [], 0)[0]:
        text += os.read(fileno, 1000).decode()
    return text


def test_a_line_is_drawn_anew_and_erased_at_the_end(terminal: tuple[int, int]) -> None:
    seen, program = terminal
    done = 0
    with telling(lambda: f"{done} of 2", fileno=program, after=0) as progress:
        assert progress.begun
        assert re.match(r"\r\x1b\[K0 of 2 \(\d+ s\)", read(seen, r"\)"))
        done = 1
        read(seen, r"1 of 2 \(\d+ s\)")
    assert rest(seen).endswith(ERASE)


def test_a_line_is_never_wider_than_the_terminal_nor_more_than_one(terminal: tuple[int, int]) -> None:
    seen, program = terminal
    with telling(lambda: "a\nb\x1b\u754c" + "x" * 500, fileno=program, after=0):
        line = read(seen, r"\)").split(ERASE)[1]
    assert re.fullmatch(r"a\\x0ab\\x1b\\u754cx+ \(\d+ s\)", line)
    assert len(line) == COLUMNS - 1


def test_work_that_is_over_soon_shows_nothing(terminal: tuple[int, int]) -> None:
    seen, program = terminal
    with telling(lambda: "work", fileno=program, after=HOST_TIMEOUT) as progress:
        assert progress.begun
    assert rest(seen) == ""


def test_the_line_makes_way_for_what_is_printed(terminal: tuple[int, int]) -> None:
    seen, program = terminal
    with telling(lambda: "work", fileno=program, after=0) as progress:
        read(seen, "work")
        with progress.hidden():
            before = rest(seen)
            os.write(program, b"printed")
            time.sleep(0.3)  # three times as long as until the next look
            assert before.endswith(ERASE)
            assert rest(seen) == "printed"
        read(seen, "work")


@pytest.mark.parametrize("why", ["no terminal", "TERM=dumb", "not wanted"])
def test_where_it_is_not_to_be_there_is_no_thread(
    why: str, terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, program = terminal
    reader, writer = os.pipe()
    if why == "TERM=dumb":
        monkeypatch.setenv("TERM", "dumb")
    fileno = writer if why == "no terminal" else program
    threads = set(threading.enumerate())
    with telling(lambda: "work", fileno=fileno, after=0, wanted=why != "not wanted") as progress:
        assert not progress.begun
        assert set(threading.enumerate()) <= threads
    os.close(writer)
    assert os.read(reader, 100) == b""
    os.close(reader)
    assert rest(seen) == ""


def test_a_terminal_that_is_stopped_or_gone_holds_nobody_up(terminal: tuple[int, int]) -> None:
    seen, program = terminal
    termios.tcflow(program, termios.TCOOFF)
    with telling(lambda: "work", fileno=program, after=0):
        time.sleep(0.3)
    termios.tcflow(program, termios.TCOON)
    assert rest(seen) == ""
    other, gone = pty.openpty()
    os.close(other)
    with telling(lambda: "work", fileno=gone, after=0):
        time.sleep(0.3)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.write(gone, b"x")
    os.close(gone)


def test_how_much_of_a_file_was_read(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(200))
    with path.open("rb", 0) as stream:
        assert portion(stream.fileno()) == ", 0 %"
        stream.read(99)
        assert portion(stream.fileno()) == ", 49 %"
        number = stream.fileno()
    path.write_bytes(b"")
    with path.open("rb") as stream:
        assert portion(stream.fileno()) == ""
    reader, writer = os.pipe()
    assert portion(reader) == ""
    os.close(reader)
    os.close(writer)
    assert portion(number) == ""


def test_the_assembler_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.S").write_text(".weak _start\n_start: nop\n")
    units: list[str] = []
    program = asm.assemble([tmp_path / "a.S"] * 2, begun=lambda unit: units.append(unit.name))
    assert units == [str(tmp_path / "a.S")] * 2
    assert program.inputs


def spawn(folder: Path, *arguments: str) -> pexpect.spawn[str]:
    """The command on a terminal of its own, in a folder: a path could be too long for the line."""
    return pexpect.spawn(
        sys.executable,
        ["-m", "paravane", *arguments],
        timeout=HOST_TIMEOUT,
        encoding="utf-8",
        cwd=str(folder),
        env={**os.environ, "TERM": "xterm"},
    )


def end(child: pexpect.spawn[str]) -> tuple[str, int | None]:
    """Wait for its end: what else it printed, and its status."""
    child.expect(pexpect.EOF)
    return child.before or "", child.wait()


@pytest.mark.slow
def test_reading_a_trace_is_told_on_a_terminal_until_it_is_read(tmp_path: Path) -> None:
    """From a pipe, which is as slow as the test wants it to be."""
    os.mkfifo(tmp_path / "fifo")
    trace = tmp_path / "run.jsonl"
    assert paravane("boot", "hello", "--trace", str(trace)).returncode == 0
    child = spawn(tmp_path, "trace", "fifo", "summary")
    child.expect_exact("waiting for fifo (")
    with (tmp_path / "fifo").open("wb") as writer:
        child.expect_exact(f"{ERASE}reading fifo (")
        writer.write(trace.read_bytes())
    child.expect(r"\r\x1b\[K(\d+) entries from 0")
    said, status = end(child)
    assert status == 0
    assert "reading" not in said


@pytest.mark.slow
def test_the_line_is_gone_when_a_command_is_interrupted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    child = spawn(tmp_path, "boot", "hello", "--ramdisk", "fifo")
    child.expect_exact("waiting for fifo (")
    child.sendintr()
    said, status = end(child)
    assert status == 130
    assert said.rpartition("^C")[2].split("waiting")[-1].endswith(ERASE)


@pytest.mark.slow
def test_a_test_says_how_many_are_done(tmp_path: Path) -> None:
    for name, body in (("a", "ret"), ("b", "jmp .")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.S").write_text(f'.include "runtime.inc"\nXEN_NOTES {name}\n.text\nmain: {body}\n')
        timeout = 5 if name == "b" else HOST_TIMEOUT
        (folder / "kernel.toml").write_text(f'description = "x"\ntimeout = {timeout}\n')
        (folder / "expected.txt").write_text("")
    child = spawn(tmp_path, "test", ".")
    child.expect(r"SUCCESS +a\S* .*\n")
    child.expect(r"\r\x1b\[K1 of 2 done: b\S* \(\d+ s\)")
    child.expect(r"\r\x1b\[KFAILURE +b\S* ")
    assert end(child)[1] == 1


@pytest.mark.slow
def test_nothing_is_told_to_a_pipe(tmp_path: Path) -> None:
    """The same pipe is waited for: longer than it would take on a terminal."""
    os.mkfifo(tmp_path / "fifo")
    trace = tmp_path / "run.jsonl"
    assert paravane("boot", "hello", "--trace", str(trace)).returncode == 0

    def write() -> None:
        with (tmp_path / "fifo").open("wb") as writer:
            time.sleep(1)
            writer.write(trace.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    done = paravane("trace", str(tmp_path / "fifo"), "summary")
    writer.join()
    assert (done.returncode, done.stderr) == (0, b"")
