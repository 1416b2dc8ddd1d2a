"""`--trace` and its options on the command line: which events, in which form, on a terminal and elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paravane.trace.forms import FORMS
from tests.support.boot import HOST_TIMEOUT, paravane

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = "hello"


def trace(*options: str) -> list[str]:
    """The lines on stderr of a boot that traces there."""
    result = paravane("boot", KERNEL, "--deterministic", "--trace", "-", *options)
    assert result.returncode == 0, result.stderr
    return result.stderr.decode().splitlines()


def on_terminal(**environment: str) -> bytes:
    """What a terminal that is stderr gets to see of a traced boot."""
    controller, follower = os.openpty()
    command = [sys.executable, "-m", "paravane", "boot", KERNEL, "--trace", "-", "--trace-events", "domain"]
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        env=known | {"TERM": "xterm"} | environment,
        timeout=HOST_TIMEOUT,
        check=True,
    )
    os.close(follower)
    shown = b""
    # A terminal whose other side is closed is read to its end and then fails.
    while b"poweroff" not in shown:
        shown += os.read(controller, 4096)
    os.close(controller)
    return shown


def test_without_a_list_it_is_what_the_guest_asks_and_gets() -> None:
    lines = trace()
    assert {line.split()[3] for line in lines} == {"hypercall", "event", "domain"}
    assert all(line.startswith("[") for line in lines)


def test_a_list_says_which_events() -> None:
    lines = trace("--trace-events", "hypercall:sched_op,domain:1,console")
    assert [line.split()[3] for line in lines if "sched_op.shutdown" in line] == ["hypercall"]
    assert {line.split()[3] for line in lines} == {"hypercall", "console"}


def test_a_format_that_is_asked_for_is_that_whatever_the_file_is_called(tmp_path: Path) -> None:
    first, *entries = trace("--trace-format", "json", "--trace-events", "domain")
    assert json.loads(first)["trace"] == 1
    assert [json.loads(entry)["name"] for entry in entries] == ["built", "shut down"]
    for form in FORMS.values():
        named, asked = tmp_path / f"trace{form.suffixes[0]}", tmp_path / "trace"
        for path, *options in ((named,), (asked, "--trace-format", form.name)):
            result = paravane("boot", KERNEL, "--deterministic", "--trace", str(path), *map(str, options))
            assert result.returncode == 0, result.stderr
        assert named.read_bytes() == asked.read_bytes() != b""


@pytest.mark.parametrize("option", [("--trace-events", "trap"), ("--trace-format", "json")])
def test_options_of_a_trace_that_goes_nowhere_are_answered(option: tuple[str, str]) -> None:
    result = paravane("boot", KERNEL, *option)
    assert result.returncode == 2
    assert b"--trace says where the trace goes" in result.stderr
    assert result.stdout == b""


def test_a_terminal_gets_colours_unless_they_are_not_wanted() -> None:
    assert b"\x1b[1mbuilt: hello\x1b[0m" in on_terminal()
    assert b"\x1b" not in on_terminal(NO_COLOR="1")
    assert b"\x1b" not in on_terminal(TERM="dumb")
