"""`boot --watch-sources`: what it takes for a change, and that it builds, boots, complains and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING

import pytest

from paravane.tools.watch import changed, stamps, without_option
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KERNEL = '.include "runtime.inc"\nXEN_NOTES watched\n.text\nmain:\n.include "say.inc"\nret\n'


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["boot", "a.S", "--watch-sources"], ["boot", "a.S"]),
        (["boot", "--watch-s", "a.S", "--", "--watch-sources"], ["boot", "a.S", "--", "--watch-sources"]),
        (["boot", "a.S", "--trace", "-", "--watch-sources"], ["boot", "a.S", "--trace", "-"]),
        (["boot", "a.S", "--watch", "x", "--watch-sources"], ["boot", "a.S", "--watch", "x"]),
    ],
)
def test_a_boot_gets_all_but_the_option(given: list[str], left: list[str]) -> None:
    assert without_option(given) == left


def test_a_change_is_another_content_another_file_or_none(tmp_path: Path) -> None:
    path, missing = tmp_path / "a.S", tmp_path / "b.S"
    path.write_text("one")
    before = stamps({path, missing})
    assert not changed(before)
    path.write_text("longer")
    assert changed(before)
    before = stamps({path, missing})
    missing.touch()
    assert changed(before)
    before = stamps({path})
    path.unlink()
    assert changed(before)


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A watched kernel whose included file is there to be changed; console and messages in one stream."""
    (tmp_path / "kernel.S").write_text(KERNEL)
    (tmp_path / "say.inc").write_text('PRINT "first\\n"\n')
    # Nobody imports what happens to lie in the folder.
    (tmp_path / "signal.py").write_text("raise SystemExit('not this one')\n")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "paravane", "boot", "kernel.S", "--watch-sources"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


def say(folder: Path, text: str) -> None:
    """Change the included file at once: half a change would be built as well, or none of it yet."""
    (folder / "next").write_text(text)
    (folder / "next").replace(folder / "say.inc")


def lines_to(stream: IO[str] | None, end: str) -> list[str]:
    """Lines up to one that has `end` in it."""
    assert stream is not None
    found: list[str] = []
    for line in stream:
        found.append(line.rstrip("\n"))
        if end in line:
            return found
    raise AssertionError(f"{end!r} never came: {found}")


@pytest.mark.slow
def test_it_boots_again_after_changes_and_waits_after_errors(
    watching: subprocess.Popen[str], tmp_path: Path
) -> None:
    said = lines_to(watching.stdout, "waiting for a change")
    assert said[0] == "first"
    assert said[-1] == "paravane: status 0; waiting for a change of kernel.S, Ctrl-C ends it"
    say(tmp_path, 'PRNT "second\\n"\n')
    said = lines_to(watching.stdout, "nothing was built")
    assert any("say.inc:1:1: error: " in line for line in said)
    say(tmp_path, 'PRINT "third\\n"\n')
    assert lines_to(watching.stdout, "waiting for a change")[-2] == "third"
    say(tmp_path, "1: jmp 1b\n")
    # A guest that runs for ever is ended by the next change.
    say(tmp_path, 'PRINT "fourth\\n"\n')
    assert "fourth" in lines_to(watching.stdout, "waiting for a change")
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=HOST_TIMEOUT) == 130


@pytest.mark.slow
def test_a_signal_ends_the_guest_as_well(watching: subprocess.Popen[str], tmp_path: Path) -> None:
    lines_to(watching.stdout, "waiting for a change")
    say(tmp_path, 'PRINT "spinning\\n"\n1: jmp 1b\n')
    lines_to(watching.stdout, "spinning")
    watching.terminate()
    # The end of the stream: nobody holds it any more, so no guest is left.
    assert watching.stdout is not None
    watching.stdout.read()
    assert watching.wait(timeout=HOST_TIMEOUT) == 130
