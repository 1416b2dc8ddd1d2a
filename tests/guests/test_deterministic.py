"""Runs by instruction count are a function of what went in: the same trace, however busy the host is."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, StopReason, guest_kernels, load_image
from paravane.asm import build
from paravane.machine import DETERMINISTIC_SLICE
from paravane.sched import POLICIES
from paravane.trace.text import line
from tests.support.boot import HOST_TIMEOUT
from tests.support.small_machines import SPIN, image

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = 4 << 20
DOMAINS = 16
LONG = 500_000_000
"""Nanoseconds of system time."""


@pytest.fixture
def busy_host() -> Iterator[None]:
    """Two processes beside that do nothing but compute."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for process in busy:
        process.kill()
        process.wait()


def trace(policy: str) -> list[str]:
    """Of sixteen domains together: a clock, one that storms at itself, both with neighbours that compute."""
    kernels = [load_image(build(guest_kernels.load(name).sources)) for name in ("clock", "storm")]
    lines: list[str] = []
    with Machine(
        Machine.size_for(*[MEMORY] * DOMAINS),
        slice_instructions=DETERMINISTIC_SLICE,
        policy=POLICIES[policy](),
    ) as machine:
        machine.trace.subscribe(lambda record: lines.append(line(record)))
        for number in range(DOMAINS):
            kernel = kernels[number] if number < len(kernels) else image(SPIN)
            machine.create(kernel, DomainConfig(f"d{number}", memory=MEMORY, weight=256 + number))
        machine.platform.timers.timer("machine", "test", machine.interrupt).arm(LONG)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    return lines


@pytest.mark.parametrize("policy", POLICIES)
def test_sixteen_domains_leave_the_same_trace_twice(policy: str, request: pytest.FixtureRequest) -> None:
    quiet = trace(policy)
    request.getfixturevalue("busy_host")
    assert trace(policy) == quiet
    assert len(quiet) > 1000
