"""Runs by instruction count are a function of what went in: the same trace, however busy the host is."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest

from paravane import Machine, StopReason
from paravane.chosen import choose
from paravane.hypercalls import table
from paravane.machine import DETERMINISTIC_SLICE
from paravane.sched import POLICIES
from paravane.together import Guest
from paravane.tools.lines import Lines
from paravane.tools.trace_output import DirectSink, TraceOutput
from paravane.trace import Header
from paravane.trace.filters import parse
from paravane.trace.forms import FORMS
from paravane.trace.unpacker import Unpacker
from tests.support.boot import HOST_TIMEOUT, paravane
from tests.support.small_machines import SPIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paravane import DomainConfig, Image

EVENTS = "hypercall,refusal,trap,event,timer,schedule,grant,store,console,domain"
LONG = 40_000_000
"""Nanoseconds of system time."""


class Run(NamedTuple):
    """A run by the command, and the format of its trace."""

    arguments: tuple[str, ...]
    form: str


RUNS = {
    "events": Run(("boot", "events"), "text"),
    "events, FIFO": Run(("boot", "events", "-D", "FIFO=1"), "json"),
    "smp": Run(("boot", "smp"), "perfetto"),
    "pingpong": Run(("run", "pingpong"), "xentrace"),
    "domain0": Run(("boot", "domain0"), "text"),
}

DOMAINS = 16
MEMORY = 8 << 20
TOGETHER = [
    *map(Guest, ("clock", "storm", "events", "smp", "poll", "spin", "traps", "paging")),
    Guest("pingpong", cmdline="ping peer=10 balls=100"),
    Guest("pingpong", cmdline="pong peer=9 balls=100"),
    Guest("pingpong", cmdline="ping peer=12 balls=100 fifo"),
    Guest("pingpong", cmdline="pong peer=11 balls=100 fifo"),
]
"""The domains 1, 2, ...; the rest of the sixteen compute."""


BURSTS = """
import random, time
while True:
    until = time.monotonic() + random.uniform(0, 0.01)
    while time.monotonic() < until:
        pass
    time.sleep(random.uniform(0, 0.03))
"""
"""Somebody who computes all the time only has everything last longer, evenly."""


@pytest.fixture
def busy_host() -> Iterator[None]:
    """Two processes beside that take the processors away again and again, at times that nobody knows."""
    busy = [subprocess.Popen([sys.executable, "-c", BURSTS]) for _ in range(2)]
    yield
    for process in busy:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", RUNS)
def test_two_runs_by_the_command_leave_the_same_trace(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = RUNS[name]

    def traced(path: Path) -> bytes:
        options = ["--trace", str(path), "--trace-format", run.form, "--trace-events", "all"]
        done = paravane(*run.arguments, "--deterministic", *options)
        assert done.returncode == 0, done.stderr
        return path.read_bytes()

    quiet = traced(tmp_path / "quiet")
    request.getfixturevalue("busy_host")
    assert traced(tmp_path / "busy") == quiet
    assert len(quiet) > 20_000


@cache
def sixteen() -> list[tuple[Image, DomainConfig]]:
    """The kernels of all domains, and what these are to be."""
    guests = [*TOGETHER, *[Guest(SPIN, memory=MEMORY)] * (DOMAINS - len(TOGETHER))]
    chosen = [choose(guest.kernel, (), {}) for guest in guests]
    return [(one.image, guest.config(one)) for guest, one in zip(guests, chosen, strict=True)]


def traces(policy: str, folder: Path) -> dict[str, bytes]:
    """Of sixteen domains together, in every format."""
    folder.mkdir()
    size = Machine.size_for(*(config.memory for _, config in sixteen()))
    with (
        ExitStack() as files,
        Machine(size, slice_instructions=DETERMINISTIC_SLICE, policy=POLICIES[policy]()) as machine,
    ):
        for form in FORMS.values():
            file = files.enter_context((folder / form.name).open("wb"))
            sink = DirectSink(Lines(file.fileno()), Unpacker(form.writer(), table), Header())
            TraceOutput(sink, parse(EVENTS)).join(machine)
        for kernel, config in sixteen():
            machine.create(kernel, config)
        machine.platform.timers.timer("machine", "test", machine.interrupt).arm(LONG)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    return {form: (folder / form).read_bytes() for form in FORMS}


@pytest.mark.parametrize("policy", POLICIES)
def test_sixteen_domains_leave_the_same_trace_twice(
    policy: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    quiet = traces(policy, tmp_path / "quiet")
    request.getfixturevalue("busy_host")
    busy = traces(policy, tmp_path / "busy")
    assert [form for form in FORMS if busy[form] != quiet[form]] == []
    assert quiet["text"].count(b"\n") > 1000
